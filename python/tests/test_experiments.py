"""Traces in, experiments out."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy
import pandas
import polars
import pyarrow
import pytest

import accel_copilot as accel
from accel_copilot import _progress

POLICIES = ["lru", "fifo", "s3-fifo", "sieve", "ml-reuse"]


def simulated(trace: Any, **options: Any) -> list[tuple[Any, ...]]:
    result = accel.simulate(trace, capacity=["64kB", 0.2], policies=POLICIES, **options)
    names = [name for name in result.table.columns if name not in ("recipe", "warnings")]
    return list(zip(*(result.table[name] for name in names), strict=True))


def test_every_kind_of_trace_gives_the_numbers_of_the_file(
    columns: dict[str, list[int]], trace_csv: Path, tmp_path: Path
) -> None:
    wanted = simulated(trace_csv)
    assert len(wanted) == 10
    ids, sizes = columns["obj_id"], columns["obj_size"]
    for kind in ["int16", "uint16", "int32", "uint32", "int64", "uint64", ">i8"]:
        arrays = {"obj_id": numpy.array(ids, kind), "obj_size": numpy.array(sizes, kind)}
        assert simulated(arrays) == wanted, kind
    text = [str(key) for key in ids]
    frame = pandas.DataFrame({"obj_id": text, "obj_size": sizes})
    table = pyarrow.table(columns)
    frame_of_floats = pandas.DataFrame({"obj_id": ids, "obj_size": numpy.array(sizes, "float64")})
    parquet = tmp_path / "t.parquet"
    polars.DataFrame(columns).write_parquet(parquet)
    views = numpy.array([ids, sizes]).T
    for trace in [
        columns,
        {"obj_id": text, "obj_size": sizes},
        {"obj_id": numpy.array(text), "obj_size": numpy.array(sizes)},
        {"obj_id": numpy.array(text, object), "obj_size": polars.Series(sizes)},
        {"obj_id": views[:, 0], "obj_size": views[:, 1]},
        {"obj_id": pyarrow.array(text).dictionary_encode(), "obj_size": pyarrow.chunked_array([sizes[:7], sizes[7:]])},
        pandas.DataFrame(columns),
        frame,
        frame_of_floats,
        polars.DataFrame(columns),
        polars.DataFrame({"obj_id": text, "obj_size": sizes}),
        polars.DataFrame({"obj_id": text, "obj_size": sizes}, schema_overrides={"obj_id": polars.Categorical}),
        polars.concat([polars.DataFrame(columns)[:9], polars.DataFrame(columns)[9:]], rechunk=False),
        table,
        table.to_batches(max_chunksize=1_000)[0] if len(table) <= 1_000 else table,
        pyarrow.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=777)),
        parquet,
        accel.read_trace(trace_csv),
        accel.read_trace(columns),
    ]:
        assert simulated(trace) == wanted, type(trace)


def test_columns_are_chosen_and_ages_count() -> None:
    frame = {"at": [0, 5, 20, 21], "what": ["a", "a", "a", "b"], "bytes": [1, 1, 1, 1], "lives": [10, None, None, None]}
    columns = "time-col=at,obj-id-col=what,obj-size-col=bytes,ttl-col=lives"
    result = accel.simulate(polars.DataFrame(frame), columns=columns, capacity=10, policies="lru")
    assert (result["lru"]["hits"], result["lru"]["expired"]) == (1, 1)
    days = pandas.date_range("2026-01-01", periods=3)
    by_day = accel.read_trace({"time": days.to_numpy(), "id": [1, 2, 1]})
    assert (by_day.accesses, by_day.tensors) == (3, 2)
    blocks = accel.read_trace({"id": [1, 2], "p": [None, "1"]}, columns="id=id,parent=p")
    assert blocks.tensors == 2


@pytest.mark.parametrize(
    ("trace", "options", "field", "message"),
    [
        ({"x": [1]}, {}, None, "no column is named as an object's id"),
        ({"id": [1, None]}, {}, None, "record 1: id is missing"),
        ({"id": [1.5]}, {}, None, "its values are of type Float64"),
        ({"id": [1], "size": [-1]}, {}, None, "record 0: size is negative"),
        ({"id": [1], "size": [0.5]}, {}, None, "record 0: size is 0.5"),
        ({"id": [1, 2], "size": [3]}, {}, 'trace["size"]', "id is 2 long"),
        ({"id": [object()]}, {}, 'trace["id"]', "its values cannot be read"),
        ({"id": numpy.array([[1, 2]])}, {}, None, "its values are of type"),
        ({"id": []}, {}, None, "the trace has no accesses"),
        (7, {}, "trace", "it cannot be read"),
        (None, {}, "the workload", "there must be one"),
        ({"id": [1]}, {"model": "gpt2-large"}, "the workload", "there must be one"),
        ({"id": [1]}, {"capacity": "64 parsecs"}, "capacity_bytes", "the unit is not one of"),
        ({"id": [1]}, {"capacity": 0}, "capacity_bytes", ""),
        ({"id": [1]}, {"capacity": []}, "capacity", "no memory to run in"),
        ({"id": [1]}, {"policies": ["mru2"]}, None, "no such policy"),
        ({"id": [1]}, {"admission": "sometimes"}, "admission", ""),
        ({"id": [1]}, {"warm_up": 3}, "warm_up", "there is no such option"),
        ({"id": [1]}, {"columns": "obj-id-col=key"}, None, "key"),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(trace: Any, options: dict[str, Any], field: str | None, message: str) -> None:
    with pytest.raises((accel.FieldError, accel.InputError)) as caught:
        accel.simulate(trace, **options)
    error = caught.value
    assert message in str(error), str(error)
    assert error.cure and error.problem
    assert isinstance(error, ValueError)
    if field is not None:
        assert isinstance(error, accel.FieldError) and error.field == field
    # As it travels from a worker.
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.cure) == (type(error), str(error), error.cure)


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        accel.read_trace(tmp_path / "no.csv")
    broken = tmp_path / "t.csv"
    broken.write_text("time,obj_id,obj_size\n0,1,many\n")
    with pytest.raises(accel.InputError) as caught:
        accel.simulate(broken)
    assert caught.value.place.startswith("line 2") and caught.value.input.endswith("t.csv")


def test_a_model_on_a_device() -> None:
    result = accel.simulate(
        model="gpt2-large",
        prompt_tokens=32,
        decode_tokens=2,
        capacity="32MiB",
        policies=["lru", "belady"],
        device="a100-80",
    )
    lru, belady = result["lru"], result["belady"]
    assert lru["misses"] >= belady["misses"] >= result.bounds["misses"]["lower"]
    assert lru["device"] == "a100-80"
    assert lru["total_ms"] > 0 and lru["energy_low_j"] > 0
    assert result.link.startswith("r=")
    again = accel.run(result.link)
    assert again["lru"]["misses"] == lru["misses"]
    assert again.explanation and again.outcomes[0]["charts"]
    assert accel.run(result.recipe)["lru"]["misses"] == lru["misses"]
    config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2, "n_positions": 128, "vocab_size": 1000}
    small = accel.simulate(model=config, capacity="64kB", policies="lru", bounds=False)
    assert small.bounds is None and small["lru"]["misses"] > 0


def test_a_file_of_an_archive(trace_csv: Path, tmp_path: Path) -> None:
    other = tmp_path / "a.csv"
    other.write_text("obj_id,obj_size\n1,2\n")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(other, "a.csv")
        archive.add(trace_csv, "b.csv")
    first = accel.simulate(tmp_path / "t.tar", policies="lru")
    second = accel.simulate(tmp_path / "t.tar", policies="lru", member="b.csv")
    assert (first.trace["accesses"], second.trace["accesses"]) == (1, 20_000)


def test_a_recipe_finds_its_file_beside_it(trace_csv: Path, tmp_path: Path) -> None:
    recipe = {"workload": {"file": {"name": trace_csv.name}}, "policies": ["lru"], "bounds": False}
    beside = trace_csv.parent / "recipe.json"
    beside.write_text(json.dumps(recipe))
    wanted = accel.simulate(trace_csv, policies="lru")["lru"]["misses"]
    assert accel.run(beside)["lru"]["misses"] == wanted
    assert accel.run(recipe, trace=trace_csv)["lru"]["misses"] == wanted


def test_curves_and_bounds(columns: dict[str, list[int]]) -> None:
    curves = accel.curve(columns, policies=["lru", "s3-fifo"], points=8)
    assert set(curves.table["policy"]) == {"lru", "s3-fifo"} and len(curves) == 16
    for capacity, ratio in zip(curves.table["capacity_bytes"][:8], curves.table["miss_ratio"][:8], strict=True):
        alone = accel.simulate(columns, capacity=capacity, policies="lru")["lru"]
        assert alone["miss_ratio"] == pytest.approx(ratio)
    assert curves["lru"]["smallest"] and curves.bounds is not None
    some = accel.curve(columns, policies="lru", capacities=["64kB", 100_000, 0.5], bounds=False)
    assert some.bounds is None and some.table["capacity_bytes"][:2] == [64_000, 100_000]
    with pytest.raises(accel.FieldError, match="depends on the capacity"):
        accel.curve(model="gpt2-large", capacities=[0.5])
    found = accel.bounds(columns, capacity="64kB")
    assert [bounds["admission"] for bounds in found["bounds"]] == ["always", "bypass"]
    assert all(
        bounds["misses"]["lower"] <= bounds["misses"]["upper"] <= found["lru"]["objects"] for bounds in found["bounds"]
    )
    assert len(accel.bounds(columns, capacity="64kB", admission="bypass")["bounds"]) == 1


def saxpy(n: int, a: float, x: list[float], y: list[float]) -> None:
    for i in range(n):
        y[i] = a * x[i] + y[i]


def test_kernels() -> None:
    code = "void f(int n, float *x) { for (int i = 0; i < n; i++) x[i] = 2.0f * x[i]; }"
    report = accel.kernel(code, defines={"n": 1000}, language="c")
    assert report["features"]["num_loops"] == 1 and report["latency_ms"] > 0
    of_function = accel.kernel(saxpy, defines={"n": 1000}, shapes=["x: f32[n]", "y: f32[n]"])
    assert of_function["function"] == "saxpy"
    with pytest.raises(accel.AccelError):
        accel.kernel("void f( {")


def test_what_has_a_name() -> None:
    assert {"lru", "s3-fifo"} <= {row["name"] for row in accel.policies()}
    assert "mistral-7b" in {row["name"] for row in accel.models()}
    assert "h100-sxm" in {row["name"] for row in accel.devices()}
    assert len(accel.scenarios()) > 3
    result = accel.simulate(scenario=accel.scenarios()[0]["name"], policies="lru", bounds=False)
    assert result["lru"]["accesses"] > 0


def test_the_options_are_those_of_recipes() -> None:
    from accel_copilot._options import Options

    assert set(Options.__annotations__) == {row["name"] for row in accel.options()}


def test_tables_enter_every_library(columns: dict[str, list[int]]) -> None:
    table = accel.simulate(columns, capacity="64kB", policies=POLICIES).table
    rows = list(table)
    assert polars.DataFrame(table).rows(named=True) == rows
    assert pyarrow.table(table).to_pylist() == rows
    frame = table.to_pandas()
    assert list(frame["misses"]) == table["misses"] and str(frame["misses"].dtype) in ("UInt64", "int64")
    html = table._repr_html_()
    assert "<th>misses</th>" in html and "s3-fifo" in html
    assert "s3-fifo" in repr(table)
    with pytest.raises(KeyError):
        table["no such column"]


def test_a_table_is_written_as_parquet(columns: dict[str, list[int]], tmp_path: Path) -> None:
    table = accel.simulate(columns, capacity="64kB", policies=POLICIES).table
    table.write_parquet(tmp_path / "t.parquet")
    assert polars.read_parquet(tmp_path / "t.parquet").rows(named=True) == list(table)


def test_ctrl_c_stops_a_run() -> None:
    """The exception comes, and long before the run would have ended (by minutes)."""
    script = """
import accel_copilot as accel, numpy
ids = numpy.random.default_rng(1).integers(0, 2_000_000, 20_000_000)
trace = accel.read_trace({"id": ids})
def heard(done, total, what):
    print("at work", flush=True)
try:
    accel.simulate(trace, capacity=0.5, policies=["arc", "lirs", "lrb", "gdsf"], bounds=True, progress=heard)
    print("done", flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    said = process.stdout.read().split("\n")
    assert "stopped" in said and "done" not in said
    process.wait()


def test_others_run_meanwhile(columns: dict[str, list[int]]) -> None:
    """The interpreter is free while the engine works: a callback of another thread's run is heard between ours."""
    ticks: list[float] = []
    ended = threading.Event()

    def tick() -> None:
        while not ended.is_set():
            ticks.append(time.monotonic())
            ended.wait(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    before = len(ticks)
    accel.simulate(columns, capacity=0.3, policies="all", bounds=True)
    during = len(ticks) - before
    ended.set()
    thread.join()
    assert during > 0


def test_progress_is_heard(columns: dict[str, list[int]]) -> None:
    heard: list[tuple[int, int, str]] = []
    accel.simulate(columns, capacity=0.5, policies="lru", progress=lambda *at: heard.append(at))
    done, total, _ = heard[-1]
    assert done == total > 0

    def stop(done: int, total: int, what: str) -> None:
        raise RuntimeError("enough")

    ids = numpy.random.default_rng(1).integers(0, 200_000, 4_000_000)
    with pytest.raises(RuntimeError, match="enough"):
        accel.simulate({"id": ids}, capacity=0.5, policies="all", progress=stop)


def test_a_bar_by_tqdm(columns: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import tqdm

    bars: list[Any] = []

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            bars.append(self)

    monkeypatch.setattr(_progress, "_tqdm", lambda: Bar)
    accel.simulate(columns, capacity=0.5, policies="lru", progress=True)
    (bar,) = bars
    assert bar.n == bar.total > 0 and bar.desc
    accel.simulate(columns, capacity=0.5, policies="lru", progress=False)
    assert len(bars) == 1


def test_samples_say_how_sure_they_are() -> None:
    draw = numpy.random.default_rng(3)
    trace = accel.read_trace({"id": draw.zipf(1.2, 200_000) % 60_000, "size": numpy.full(200_000, 512)})
    exact = accel.simulate(trace, capacity=0.2, policies="s3-fifo")
    sampled = accel.simulate(trace, capacity=0.2, policies="s3-fifo", sample="8192objects")
    row = sampled["s3-fifo"]
    assert row["miss_ratio_low"] <= row["miss_ratio"] <= row["miss_ratio_high"]
    assert abs(row["miss_ratio"] - exact["s3-fifo"]["miss_ratio"]) < 0.02
    assert exact.sampled is None and sampled.sampled is not None
    assert sampled.sampled["objects"] == 8192 and len(sampled.sampled["control"]) == 1
    assert any("samples of 8,192 of" in text for text in sampled.warnings)
    curves = accel.curve(trace, policies=["lru"], points=4, sample="8192objects")
    assert curves.sampled is not None and len(curves.sampled["estimates"]) == 4
    with pytest.raises(accel.FieldError) as error:
        accel.simulate(trace, capacity=0.2, policies="lru", sample=0.01)
    assert error.value.field == "sample" and "8192" in str(error.value)
    with pytest.raises(accel.FieldError, match="a model has few tensors"):
        accel.simulate(model="gpt2-large", capacity="1GB", bounds=False, sample=0.5)


def test_notebooks_show_charts(columns: dict[str, list[int]]) -> None:
    for shown in [
        accel.simulate(columns, capacity="64kB", policies=POLICIES)._repr_html_(),
        accel.curve(columns, policies=["lru", "fifo"], points=3)._repr_html_(),
    ]:
        assert "<table>" in shown and "<svg xmlns=" in shown and shown.rstrip().endswith("</svg>")
        assert "<script" not in shown and "var(--" not in shown


def test_designs_are_recommended(columns: dict[str, list[int]]) -> None:
    found = accel.recommend(columns, goal="capacity", hits=0.9, policies=["lru", "s3-fifo"])
    assert 1 <= len(found) <= 5 and found[0]["capacity_bytes"] <= found[len(found) - 1]["capacity_bytes"]
    best = found[0]
    again = accel.run(best["recipe"], trace=columns)
    assert again[best["policy"]]["miss_bytes"] == best["miss_bytes"] >= found.left["miss_bytes"]
    assert found.baseline["policy"] == "lru" and found.tried[1].startswith("capacities: ")
    assert found.headline in found._repr_html_() and best["policy"] in repr(found)
    timed = accel.recommend(model="gpt2-large", capacity="256MiB", policies=["lru"], prompt_tokens=8, decode_tokens=2)
    assert timed[0]["time_ms"] <= timed.baseline["time_ms"]
    with pytest.raises(accel.FieldError) as error:
        accel.recommend(columns, goal="energy")
    assert error.value.field == "goal"
