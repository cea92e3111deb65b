"""Sweeps: on this machine, in shards and on engines that exist, also when something dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow
import pytest

import accel_copilot as accel
from accel_copilot import _engines
from conftest import figures, grid

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def wanted() -> list[tuple[Any, ...]]:
    """The 800 rows of one process."""
    rows = figures(accel.sweep(grid(), progress=False))
    assert len(rows) == 800
    return rows


@pytest.fixture
def grid_file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(grid()))
    return path


def test_rows_are_those_of_single_runs(wanted: list[tuple[Any, ...]]) -> None:
    table = accel.sweep(grid(models=1, capacities=2, seeds=2), progress=False)
    assert len(table) == 16 and not any(table["error"])
    for row in list(table)[::5]:
        alone = accel.run(row["recipe"])[row["policy"]]
        names = ["hits", "misses", "miss_bytes", "evictions", "total_ms", "energy_low_j", "capacity_bytes", "seed"]
        assert [row[name] for name in names] == [alone[name] for name in names]


SHARD = """
import sys
import accel_copilot as accel
tell = lambda done, total, what: print(done, total, what, flush=True)
accel.sweep(sys.argv[1], out=sys.argv[2], shard=sys.argv[3], progress=tell)
"""


def shard(grid_file: Path, out: Path, part: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SHARD, str(grid_file), str(out), part]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_two_shards_one_of_which_is_killed(grid_file: Path, tmp_path: Path, wanted: list[tuple[Any, ...]]) -> None:
    out = tmp_path / "out"
    first, second = shard(grid_file, out, "1/2"), shard(grid_file, out, "2/2")
    assert second.stdout is not None and second.stdout.readline()
    second.kill()
    second.communicate()
    first.communicate()
    assert first.returncode == 0
    again = shard(grid_file, out, "2/2")
    again.communicate()
    assert again.returncode == 0
    assert figures(accel.sweep(grid_file, out=out, progress=False)) == wanted
    # What every library reads is the same, whatever the order of the parts.
    assert len(polars.read_parquet(out / "*.parquet").unique("key")) == 800
    assert len(pandas.read_parquet(out)) >= 800


@pytest.mark.parametrize("kind", ["fork", "spawn", "threads"])
def test_executors(kind: str, tmp_path: Path, wanted: list[tuple[Any, ...]]) -> None:
    executor = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context(kind))
    heard: list[tuple[int, int, str]] = []
    with executor:
        table = accel.sweep(grid(), engine=executor, progress=lambda *at: heard.append(at))
        assert figures(table) == wanted
    assert heard[-1] == (200, 200, "cells")


def test_cells_travel_together_once_it_is_known_how_little_time_one_takes() -> None:
    batches = _engines.Batches([["a"], ["b", "c", "d"], ["e"], ["f"]])
    assert batches.next() == [["a"]]
    batches.took(1, 0.001)
    assert batches.next() == [["b", "c"]]
    batches.took(2, 0.002)
    assert batches.next() == [["d"], ["e"], ["f"]]
    assert not batches
    batches.took(4, 4.0)
    assert batches.size == 1


def test_a_pool_whose_worker_dies_is_gone_on_with(tmp_path: Path, wanted: list[tuple[Any, ...]]) -> None:
    executor = ProcessPoolExecutor(2, mp_context=get_context("spawn"))

    def kill(done: int, total: int, what: str) -> None:
        # All of them: a pool gives up once one is gone.
        for process in executor._processes.values():
            process.kill()

    with pytest.raises(accel.EngineError, match="the same call goes on with what is left"):
        accel.sweep(grid(), out=tmp_path / "out", engine=executor, progress=kill)
    executor.shutdown()
    parts = list((tmp_path / "out").glob("part-*.parquet"))
    assert len(parts) == 1
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as another:
        assert figures(accel.sweep(grid(), out=tmp_path / "out", engine=another, progress=False)) == wanted


class Flaky(ThreadPoolExecutor):
    """Loses every third task."""

    count = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        self.count += 1
        if self.count % 3 == 0:
            return super().submit(self.lose)
        return super().submit(work, *arguments, **options)

    def lose(self) -> None:
        raise ConnectionError("the network is gone")


class Lost(Flaky):
    """Loses all of them."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        return ThreadPoolExecutor.submit(self, self.lose)


def test_lost_tasks_are_tried_again(wanted: list[tuple[Any, ...]]) -> None:
    with Flaky(2) as executor:
        assert figures(accel.sweep(grid(), engine=executor, progress=False)) == wanted
    with Lost(2) as executor, pytest.raises(accel.EngineError, match="lost 3 times: ConnectionError"):
        accel.sweep(grid(), engine=executor, retries=2, progress=False)


def test_a_worker_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _engines.version_here()
    monkeypatch.setattr(_engines, "version_here", lambda: "accel-core 0.0.1, results 0")
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        pytest.raises(accel.VersionError) as caught,
    ):
        accel.sweep(grid(), engine=executor, progress=False)
    assert here in str(caught.value) and "0.0.1" in str(caught.value)
    assert caught.value.cure == "Install the same version of accel-copilot on every worker"


def test_a_worker_with_another_file_is_refused(trace_csv: Path, tmp_path: Path) -> None:
    name = trace_csv.name
    for folder in ["here", "there"]:
        (tmp_path / folder).mkdir()
    (tmp_path / "here" / name).write_text(trace_csv.read_text())
    (tmp_path / "there" / name).write_text("obj_id,obj_size\n1,2\n")
    recipe = {"workload": {"file": {"name": name}}, "policies": ["lru"], "bounds": False}
    sweep = {"recipe": recipe, "axes": [{"/memory/capacity_bytes": ["64kB", "1MB"]}]}
    (tmp_path / "here" / "grid.json").write_text(json.dumps(sweep))

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
            version, text, _, groups = arguments
            return super().submit(work, version, text, str(tmp_path / "there"), groups)

    with Elsewhere(1) as executor, pytest.raises(accel.InputError, match="another file on this worker"):
        accel.sweep(tmp_path / "here" / "grid.json", engine=executor, progress=False)
    with ThreadPoolExecutor(1) as executor:
        table = accel.sweep(tmp_path / "here" / "grid.json", engine=executor, progress=False)
    misses = [accel.simulate(trace_csv, capacity=size, policies="lru")["lru"]["misses"] for size in ["64kB", "1MB"]]
    assert table["misses"] == misses


def test_dask_with_a_worker_killed(tmp_path: Path, wanted: list[tuple[Any, ...]]) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        assert figures(accel.sweep(grid(), engine=client, progress=False)) == wanted
        killed: list[int] = []

        def kill(done: int, total: int, what: str) -> None:
            if not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        table = accel.sweep(grid(), out=tmp_path / "out", engine=client, progress=kill)
        assert killed and figures(table) == wanted


def test_ray_with_two_nodes_one_of_which_is_killed(tmp_path: Path, wanted: list[tuple[Any, ...]]) -> None:
    """In a network of its own: Ray listens on all interfaces."""
    alone = ["unshare", "--map-root-user", "--net", "--"]
    try:
        able = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("SKIPPED LOUDLY: no network namespace (unshare) for Ray: it listens on all interfaces otherwise")
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_gcs_server_request_timeout_seconds": "120",
        # Its workers are polite by default, and wait for whatever else a machine does.
        "RAY_worker_niceness": "0",
        # Half a minute less until the node is known to be gone.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    script = [sys.executable, str(HERE / "on_ray.py"), str(tmp_path)]
    ran = subprocess.run([*alone, *script], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-4_000:] + ran.stderr[-4_000:]
    for name in ["whole", "killed"]:
        # Here everything is done already.
        assert figures(accel.sweep(grid(), out=tmp_path / name, progress=False)) == wanted
    assert "one raylet is gone" in ran.stdout


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"axes": [{"/memory/size": [1]}]}, "axis /memory/size"),
        ({"axes": [{"/seed": []}]}, "the axis is empty"),
        ({"axes": [{"/seed": ["x"]}]}, "axis /seed"),
        ({"axes": [{"/seed": [1]}, {"/seed": [2]}]}, "two axes have this pointer"),
        ({"axes": [{"/seed": {"from": 1, "to": 1000000000, "points": 1000000000}}]}, "axis /seed, points"),
        ({"axis": []}, "unknown field `axis`"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said(sweep: dict[str, Any], message: str) -> None:
    with pytest.raises(accel.FieldError) as caught:
        accel.sweep({"recipe": {"workload": {"synthetic": {}}}, **sweep})
    assert message in str(caught.value) and caught.value.cure


def test_folders_that_are_not_ours(grid_file: Path, tmp_path: Path) -> None:
    small = grid(models=1, capacities=2, seeds=1)
    accel.sweep(small, out=tmp_path / "out", progress=False)
    with pytest.raises(accel.InputError, match="of another sweep"):
        accel.sweep({"recipe": small["recipe"], "axes": [{"/seed": [99]}]}, out=tmp_path / "out", progress=False)
    part = next((tmp_path / "out").glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(accel.InputError, match="move it away") as caught:
        accel.sweep(small, out=tmp_path / "out", progress=False)
    assert caught.value.input == str(part)
    with pytest.raises(accel.FieldError, match="it is no engine"):
        accel.sweep(small, engine=7)
    with pytest.raises(accel.FieldError, match="it is no part of a whole"):
        accel.sweep(small, shard="3/2")
    with pytest.raises(FileNotFoundError):
        accel.sweep(tmp_path / "no.json")


def test_cells_that_fail_are_rows(tmp_path: Path) -> None:
    sweep = {
        "recipe": {"workload": {"synthetic": {}}, "policies": ["lru"], "bounds": False},
        "axes": [{"/memory/capacity_bytes": [0, "64MB"]}],
    }
    table = accel.sweep(sweep, progress=False)
    assert table["misses"][0] is None and "capacity_bytes is 0" in table["error"][0] and table["misses"][1] > 0
    with ThreadPoolExecutor(2) as executor:
        assert figures(accel.sweep(sweep, engine=executor, progress=False)) == figures(table)


def test_batches_of_recipes_in_every_kind_of_table() -> None:
    table = accel.sweep(grid(models=1, capacities=2, seeds=2), progress=False)
    axes = ["model"]
    wanted = [row for row in zip(*(table[n] for n in table.columns if n not in [*axes, "seconds"]), strict=True)]

    def rows(table: accel.Table) -> list[tuple[Any, ...]]:
        return figures(table)

    frame = polars.DataFrame(table)
    found = accel.simulate_batch(frame)
    assert isinstance(found, polars.DataFrame) and found.drop("seconds").rows() == wanted
    of_pandas = accel.simulate_batch(table.to_pandas())
    assert isinstance(of_pandas, pandas.DataFrame) and list(of_pandas["misses"]) == table["misses"]
    arrow = pyarrow.table(table)
    assert accel.simulate_batch(arrow).drop_columns("seconds").to_pylist() == frame.drop("model", "seconds").to_dicts()
    batch = accel.simulate_batch(arrow.to_batches()[0])
    assert isinstance(batch, pyarrow.RecordBatch) and batch.num_rows == 16
    assert accel.simulate_batch({"r": table["recipe"]}, recipe="r")["misses"] == table["misses"]
    lists = accel.simulate_batch([accel.simulate(synthetic="MLP", policies="lru").recipe, "no recipe"])
    assert lists["misses"][0] > 0 and lists["misses"][1] is None and "recipe" in lists["error"][1]
    empty = accel.simulate_batch(frame[:0])
    assert empty.columns == found.columns and empty.is_empty() and empty.schema == found.schema
    with pytest.raises(accel.FieldError, match="it has no column"):
        accel.simulate_batch(frame, recipe="no such column")


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, wanted: list[tuple[Any, ...]], grid_file: Path) -> None:
    out = tmp_path / "out"
    process = shard(grid_file, out, "1/1")
    assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode != 0 or len(list(out.glob("part-*.parquet"))) > 0
    assert figures(accel.sweep(grid_file, out=out, progress=False)) == wanted
