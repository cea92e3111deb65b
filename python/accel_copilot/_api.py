"""Single experiments."""

from __future__ import annotations

import inspect
import json
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Unpack

from . import _native
from ._errors import field_error
from ._options import (
    Device,
    Model,
    Options,
    Path,
    Policies,
    Recipe,
    Size,
    TraceLike,
    build,
    recipe_of,
    sizes,
    trace_of,
)
from ._progress import Progress, heard
from ._results import Curves, Recommendation, Result

__all__ = [
    "bounds",
    "curve",
    "devices",
    "kernel",
    "make_trace",
    "models",
    "options",
    "policies",
    "read_trace",
    "recommend",
    "run",
    "scenarios",
    "simulate",
]


def read_trace(
    trace: TraceLike, *, format: str | None = None, columns: str | None = None, progress: Progress = None
) -> _native.Trace:
    """Reads a trace once, to be used several times.

    ``trace`` is a path (the format is detected: ``accel list formats``), a data frame that gives an Arrow stream (polars,
    pandas, pyarrow), or a dict of columns (numpy arrays, Arrow arrays, lists). Ids are whole numbers of any width or texts.
    Columns are detected by their names (``obj_id``, ``key``, ``id``; ``obj_size``, ``size``, ``bytes``; ``time``), or
    chosen as for ``accel --columns``: ``columns="obj-id-col=key,obj-size-col=length"``.
    """
    with heard(progress, "B") as callback:
        return trace_of(trace, format, columns, callback)


def make_trace(
    *,
    model: Model | None = None,
    synthetic: str | None = None,
    scenario: str | None = None,
    capacity: Size | None = None,
    progress: Progress = None,
    **options: Unpack[Options],
) -> _native.Trace:
    """Makes the trace of a model, of the random workload or of a scenario; tiles are made for ``capacity``."""
    recipe = build(
        trace=None,
        model=model,
        synthetic=synthetic,
        scenario=scenario,
        device=None,
        policies=None,
        bounds=None,
        options=options,
    )
    if capacity is not None:
        recipe = _with_fields(recipe, capacity_bytes=sizes(capacity)[0])
    with heard(progress, "accesses") as callback:
        return _native.trace_of_recipe(json.dumps(recipe), "", callback)


def _with_fields(recipe: Recipe, **fields: str) -> Recipe:
    found: Recipe = json.loads(_native.with_fields(json.dumps(recipe), list(fields.items())))
    return found


def simulate(
    trace: TraceLike | None = None,
    *,
    model: Model | None = None,
    synthetic: str | None = None,
    scenario: str | None = None,
    capacity: Size | Sequence[Size] | None = None,
    policies: Policies | None = None,
    device: Device | None = None,
    bounds: bool | None = None,
    format: str | None = None,
    columns: str | None = None,
    progress: Progress = None,
    **options: Unpack[Options],
) -> Result:
    """Plays a trace through eviction policies: hits, misses, bytes, and time and energy where a device counts them.

    ``trace`` is what :func:`read_trace` takes; or name a ``model`` (preset, file or dict), a ``synthetic`` workload or a
    ``scenario``. ``capacity`` is a size, or several: ``["64MiB", 0.1, 2**30]``. ``bounds`` encloses the best schedule
    (as long as a dozen policies; off for traces, on for models). ``sample="32768objects"`` or ``sample=0.01`` runs
    samples of a trace's objects, with intervals in the table (``miss_ratio_low``). The other options are fields of the
    recipe: see :func:`options`.

    >>> simulate({"id": [1, 2, 1, 3, 1]}, capacity=2, policies="lru")["lru"]["misses"]
    3
    """
    recipe = build(
        trace=trace,
        model=model,
        synthetic=synthetic,
        scenario=scenario,
        device=device,
        policies=policies,
        bounds=bounds,
        options=options,
    )
    capacities = sizes(capacity)
    with heard(progress, "accesses") as callback:
        held = None if trace is None else trace_of(trace, format, columns, callback, options.get("member"))
        found = _native.run(json.dumps(recipe), held, "", capacities, "reports", callback)
    return Result(*found)


def run(recipe: str | Path | Mapping[str, Any], *, trace: TraceLike | None = None, progress: Progress = None) -> Result:
    """Runs a recipe (a dict, JSON, a file, or a link copied from the page) with everything that the page shows.

    ``trace`` stands for the file that the recipe names; without it the file lies beside that of the recipe.
    """
    found, folder = recipe_of(recipe)
    with heard(progress, "accesses") as callback:
        held = None if trace is None else trace_of(trace, None, None, callback)
        outcome = _native.run(json.dumps(found), held, folder, [], "all", callback)
    return Result(*outcome)


def curve(
    trace: TraceLike | None = None,
    *,
    model: Model | None = None,
    synthetic: str | None = None,
    scenario: str | None = None,
    policies: Policies | None = None,
    points: int | None = None,
    capacities: Sequence[Size] | None = None,
    bounds: bool | None = None,
    format: str | None = None,
    columns: str | None = None,
    progress: Progress = None,
    **options: Unpack[Options],
) -> Curves:
    """How misses fall as memory grows: LRU exactly at every capacity, the others at ``points`` or ``capacities``.

    ``bounds`` encloses the best schedule at each; on, unless a ``sample`` is run.
    """
    if bounds is None:
        bounds = options.get("sample") is None
    recipe = build(
        trace=trace,
        model=model,
        synthetic=synthetic,
        scenario=scenario,
        device=None,
        policies=policies,
        bounds=bounds,
        options=options,
    )
    grid: dict[str, Any] = recipe.get("curve") or {}
    if points is not None:
        grid["points"] = points
    with heard(progress, "accesses") as callback:
        held = None if trace is None else trace_of(trace, format, columns, callback, options.get("member"))
        if capacities is not None:
            grid["capacities"] = [_bytes_of(text, held) for text in sizes(capacities)]
        recipe["curve"] = grid
        table, text, _ = _native.run(json.dumps(recipe), held, "", [], "curves", callback)
    return Curves(recipe, table, text)


def _bytes_of(text: str, trace: _native.Trace | None) -> int:
    """A capacity in bytes; a share needs a trace that is at hand."""
    try:
        share = float(text)
    except ValueError:
        share = 1.0
    if 0 < share < 1:
        if trace is None:
            cure = "Give bytes, or leave capacities out: points= spreads them over the bytes of all tensors"
            raise field_error("capacities", text, "the trace of a model depends on the capacity", cure)
        return max(1, round(share * trace.unique_bytes))
    recipe: Recipe = json.loads(_native.with_fields(_native.template("file"), [("capacity_bytes", text)]))
    found: int = recipe["memory"]["capacity_bytes"]
    return found


def bounds(
    trace: TraceLike | None = None,
    *,
    model: Model | None = None,
    synthetic: str | None = None,
    scenario: str | None = None,
    capacity: Size | None = None,
    format: str | None = None,
    columns: str | None = None,
    progress: Progress = None,
    **options: Unpack[Options],
) -> dict[str, Any]:
    """How good any policy could be at ``capacity``: what ``accel bounds --json`` prints.

    For both modes of admission, unless ``admission=`` names one.
    """
    recipe = build(
        trace=trace,
        model=model,
        synthetic=synthetic,
        scenario=scenario,
        device=None,
        policies=None,
        bounds=None,
        options=options,
    )
    size = None if capacity is None else sizes(capacity)[0]
    with heard(progress, "accesses") as callback:
        held = None if trace is None else trace_of(trace, format, columns, callback, options.get("member"))
        text = _native.bounds(json.dumps(recipe), held, "", size, "admission" in options, callback)
    found: dict[str, Any] = json.loads(text)
    return found


def recommend(
    trace: TraceLike | None = None,
    *,
    model: Model | None = None,
    synthetic: str | None = None,
    scenario: str | None = None,
    goal: Literal["time", "energy", "capacity"] = "time",
    capacity: Size | Sequence[Size] | None = None,
    hits: float = 0.9,
    stall: float | None = None,
    policies: Policies | None = None,
    device: Device | None = None,
    format: str | None = None,
    columns: str | None = None,
    progress: Progress = None,
    **options: Unpack[Options],
) -> Recommendation:
    """Which design to build for a goal: policy, admission, prefetch depth, tile and capacity, found by trying them.

    The least ``"time"``, ``"energy"``, or ``"capacity"`` that is enough: one with ``hits`` of the best hit rate of all
    designs. Designs that wait for DRAM for more than the share ``stall`` of their time are left out. Each ``capacity`` is
    tried; for the least capacity twelve of them where none are given.
    """
    recipe = build(
        trace=trace,
        model=model,
        synthetic=synthetic,
        scenario=scenario,
        device=device,
        policies=policies,
        bounds=None,
        options=options,
    )
    wanted = json.dumps({"goal": goal, "hits": hits, "stall": stall})
    capacities = sizes(capacity)
    with heard(progress, "designs") as callback:
        held = None if trace is None else trace_of(trace, format, columns, callback, options.get("member"))
        if capacities and (held is not None or not capacities[0].startswith("0.")):
            # LRU, with which designs are compared, runs in the first memory.
            recipe["memory"]["capacity_bytes"] = _bytes_of(capacities[0], held)
        found = _native.recommend(json.dumps(recipe), held, "", wanted, capacities, callback)
    return Recommendation(*found)


def kernel(
    source: str | PathLike[str] | Callable[..., object],
    *,
    defines: Mapping[str, int] | None = None,
    shapes: Sequence[str] = (),
    device: Device | None = None,
    function: str | None = None,
    language: str | None = None,
    element: str | None = None,
    opt_level: str | None = None,
    probability: float | None = None,
    progress: Progress = None,
) -> dict[str, Any]:
    """Predicts what source code costs: loops, FLOPs, cache misses, time and energy; what ``accel kernel --json`` prints.

    ``source`` is the code, a file, or a Python function. ``defines`` are values of parameters (``{"N": 1024}``),
    ``shapes`` those of arrays (``["a: f32[M,K]"]``).
    """
    if callable(source):
        code = textwrap.dedent(inspect.getsource(source))
        language, function = language or "python", function or getattr(source, "__name__", None)
    elif isinstance(source, PathLike) or os.path.isfile(source):
        with open(source, encoding="utf-8") as file:
            code = file.read()
    else:
        code = source
    request = {
        "code": code,
        "defines": dict(defines or {}),
        "shapes": list(shapes),
        "device": dict(device) if isinstance(device, Mapping) else device,
        "function": function,
        "language": language,
        "element": element,
        "opt_level": opt_level,
        "probability": probability,
    }
    request = {name: value for name, value in request.items() if value is not None}
    with heard(progress, "steps") as callback:
        found: dict[str, Any] = json.loads(_native.kernel(json.dumps(request), callback))
    return found


def models() -> list[dict[str, Any]]:
    """Models that have a name: what ``model=`` takes."""
    found: list[dict[str, Any]] = json.loads(_native.listing("models"))
    return found


def policies() -> list[dict[str, Any]]:
    """Policies, what they know, and their parameters."""
    found: list[dict[str, Any]] = json.loads(_native.listing("policies"))
    return found


def devices() -> list[dict[str, Any]]:
    """Devices that have a name: what ``device=`` takes, with the sources of their figures."""
    found: list[dict[str, Any]] = json.loads(_native.listing("devices"))
    return found


def scenarios() -> list[dict[str, Any]]:
    """Questions with their experiments: what ``scenario=`` takes."""
    found: list[dict[str, Any]] = json.loads(_native.listing("scenarios"))
    return found


def options() -> list[dict[str, str]]:
    """The options of :func:`simulate` and the others: name, the part of a recipe that has it, and what it is for."""
    return [{"name": name, "part": part, "about": about} for name, part, about in _native.field_names()]
