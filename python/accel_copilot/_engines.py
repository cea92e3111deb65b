"""Engines that exist, each behind the same few calls: hand a task over, wait for some, take what came out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from concurrent import futures
from functools import lru_cache
from typing import Any, Protocol

from . import _native
from ._errors import AccelError, EngineError, VersionError, field_error
from ._options import Path
from ._progress import Callback

# A task takes about so long: each costs an engine some milliseconds (docs/sweeps.md).
_TASK_S = 0.1
# Tasks for each worker that wait or run: none waits for the driver.
_AHEAD = 3
# Cells of a part, and how long one is put off, as for `accel sweep`.
_PART_CELLS = 100
_PART_S = 30.0


@lru_cache(maxsize=4)
def _sweep(text: str, folder: str) -> _native.Sweep:
    """A worker reads a sweep once."""
    return _native.Sweep(text=text, folder=folder)


def work(version: str, text: str, folder: str, groups: list[list[str]]) -> tuple[bytes, float]:
    """What a worker does: its cells' rows as the content of a Parquet file, and the seconds that it took."""
    if version != version_here():
        message = f"this worker has {version_here()}, the sweep was started by {version}"
        cure = "Install the same version of accel-copilot on every worker"
        raise VersionError(f"{message}. {cure}", problem=message, cure=cure)
    return _sweep(text, folder).work(groups)


def version_here() -> str:
    """Which program makes the numbers."""
    return _native.engine()


class Engine(Protocol):
    """What an adapter offers; a task is what its ``submit`` returns."""

    def workers(self) -> int:
        """How many tasks run at once."""

    def submit(self, *arguments: object) -> Any:
        """Hands :func:`work` with its arguments over."""

    def wait(self, tasks: Iterable[Any]) -> Iterable[Any]:
        """Those of ``tasks`` that are done, once one is; none where it took a while."""

    def result(self, task: Any) -> tuple[bytes, float]:
        """What came out, or the exception."""

    def cancel(self, tasks: Iterable[Any]) -> None:
        """Nobody waits for these any more."""


# How long to wait before signals are looked for again.
_TICK_S = 0.2


class Pool:
    """A ``concurrent.futures.Executor``: processes, threads, MPI (mpi4py), loky, or a cluster's."""

    def __init__(self, executor: futures.Executor) -> None:
        self.executor = executor

    def workers(self) -> int:
        return getattr(self.executor, "_max_workers", None) or os.cpu_count() or 1

    def submit(self, *arguments: object) -> futures.Future[tuple[bytes, float]]:
        return self.executor.submit(work, *arguments)  # type: ignore[arg-type]

    def wait(self, tasks: Iterable[Any]) -> Iterable[Any]:
        return futures.wait(tasks, _TICK_S, futures.FIRST_COMPLETED).done

    def result(self, task: futures.Future[tuple[bytes, float]]) -> tuple[bytes, float]:
        return task.result()

    def cancel(self, tasks: Iterable[Any]) -> None:
        for task in tasks:
            task.cancel()


class Dask:
    """A ``dask.distributed.Client``."""

    def __init__(self, client: Any, retries: int) -> None:
        self.client = client
        self.retries = retries

    def workers(self) -> int:
        return sum(self.client.nthreads().values()) or 1

    def submit(self, *arguments: object) -> Any:
        return self.client.submit(work, *arguments, pure=False, retries=self.retries)

    def wait(self, tasks: Iterable[Any]) -> Iterable[Any]:
        import distributed

        # Its types are unknown where it is not installed, and unfinished where it is.
        wait: Any = distributed.wait
        try:
            found: Iterable[Any] = wait(list(tasks), timeout=_TICK_S, return_when="FIRST_COMPLETED").done
        except (TimeoutError, futures.TimeoutError):
            return ()
        return found

    def result(self, task: Any) -> tuple[bytes, float]:
        found: tuple[bytes, float] = task.result()
        return found

    def cancel(self, tasks: Iterable[Any]) -> None:
        self.client.cancel(list(tasks))


class Ray:
    """The module ``ray``, once it is connected."""

    def __init__(self, ray: Any, retries: int) -> None:
        self.ray = ray
        self.work = ray.remote(num_cpus=1, max_retries=retries)(work)

    def workers(self) -> int:
        return int(self.ray.cluster_resources().get("CPU", 1)) or 1

    def submit(self, *arguments: object) -> Any:
        return self.work.remote(*arguments)

    def wait(self, tasks: Iterable[Any]) -> Iterable[Any]:
        tasks = list(tasks)
        done: list[Any]
        done, _ = self.ray.wait(tasks, num_returns=1, timeout=_TICK_S)
        return done

    def result(self, task: Any) -> tuple[bytes, float]:
        try:
            found: tuple[bytes, float] = self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            # Ours came from there.
            raise (error.cause if isinstance(error.cause, AccelError) else error) from None
        return found

    def cancel(self, tasks: Iterable[Any]) -> None:
        for task in tasks:
            self.ray.cancel(task, force=False)


def engine_of(engine: Any, retries: int) -> Engine:
    """The adapter of an engine."""
    if isinstance(engine, futures.Executor):
        return Pool(engine)
    if getattr(engine, "__name__", "") == "ray":
        return Ray(engine, retries)
    if hasattr(engine, "submit") and hasattr(engine, "nthreads"):
        return Dask(engine, retries)
    cure = "Give a concurrent.futures.Executor, a dask.distributed.Client, or the module ray"
    raise field_error("engine", f"a {type(engine).__name__}", "it is no engine that is known", cure)


class Batches:
    """Cells in tasks of about the same time, by trace."""

    def __init__(self, groups: list[list[str]]) -> None:
        self.groups = deque(deque(group) for group in groups)
        self.total = sum(map(len, groups))
        # Grows from one cell on: nobody knows yet how long one takes.
        self.size = 1

    def __bool__(self) -> bool:
        return bool(self.groups)

    def next(self) -> list[list[str]]:
        """The next cells, at most `size` of them."""
        batch: list[list[str]] = []
        room = self.size
        while self.groups and room:
            group = self.groups[0]
            batch.append([group.popleft() for _ in range(min(room, len(group)))])
            room -= len(batch[-1])
            if not group:
                self.groups.popleft()
        return batch

    def took(self, cells: int, seconds: float) -> None:
        """A task took so long: the next ones are to take a tenth of a second."""
        fitting = max(1, int(cells * _TASK_S / max(seconds, 1e-6)))
        self.size = min(fitting, 2 * self.size)


class Parts:
    """Rows that came and are not written yet."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.waiting: list[bytes] = []
        self.cells = 0
        self.since = time.monotonic()

    def add(self, content: bytes, cells: int) -> None:
        self.waiting.append(content)
        self.cells += cells
        if self.cells >= _PART_CELLS or time.monotonic() - self.since >= _PART_S:
            self.write()

    def write(self) -> None:
        waiting, self.waiting, self.cells, self.since = self.waiting, [], 0, time.monotonic()
        if waiting:
            _native.keep(self.out, waiting)


def on_engine(engine: Any, held: _native.Sweep, out: Path, shard: str, retries: int, callback: Callback | None) -> None:
    """Runs what is left of a sweep on an engine, and writes it to the folder ``out``."""
    adapter = engine_of(engine, retries)
    batches, parts = Batches(held.todo(out, shard)), Parts(out)
    again: deque[tuple[list[list[str]], int]] = deque()
    running: dict[Any, tuple[list[list[str]], int]] = {}
    done = 0
    # Workers may run elsewhere in the file system.
    folder = os.path.abspath(held.folder)
    try:
        while batches or again or running:
            ahead = max(1, _AHEAD * adapter.workers())
            while (batches or again) and len(running) < ahead:
                batch, tries = again.popleft() if again else (batches.next(), 0)
                running[adapter.submit(version_here(), held.text, folder, batch)] = (batch, tries)
            for task in adapter.wait(running):
                batch, tries = running.pop(task)
                try:
                    content, seconds = adapter.result(task)
                except (AccelError, futures.BrokenExecutor):
                    raise
                except Exception as error:
                    if tries >= retries:
                        raise _lost(error, tries + 1) from error
                    again.append((batch, tries + 1))
                    continue
                cells = sum(map(len, batch))
                batches.took(cells, seconds)
                parts.add(content, cells)
                done += cells
                if callback is not None:
                    callback(done, batches.total, "cells")
    except futures.BrokenExecutor as error:
        raise _lost(error, 1) from error
    finally:
        # What came stays, whatever ended it.
        adapter.cancel(running)
        parts.write()


def _lost(error: Exception, tries: int) -> EngineError:
    problem = f"a task was lost {tries} times: {type(error).__name__}: {error}"
    cure = "See the engine's log; the same call goes on with what is left, where it names a folder with out="
    return EngineError(f"{problem}. {cure}", problem=problem, cure=cure)
