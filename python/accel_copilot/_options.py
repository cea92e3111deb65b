"""From arguments to a recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, runtime_checkable

from . import _native
from ._errors import field_error
from ._progress import Callback


@runtime_checkable
class ArrowStream(Protocol):
    """Whatever gives its rows by Arrow's PyCapsule interface: data frames of polars, pandas and pyarrow, and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A capsule with an Arrow stream."""


Size: TypeAlias = int | float | str
"""Bytes as a whole number or as a text such as ``"64MiB"``; a number below 1 is a share of the bytes of all tensors."""

Path: TypeAlias = str | PathLike[str]

TraceLike: TypeAlias = _native.Trace | Path | ArrowStream | Mapping[str, Any]
"""A trace that was read, a file, a data frame, or a dict of columns."""

Policies: TypeAlias = str | Sequence[str]
"""Names of policies, such as ``["lru", "s3-fifo(small=0.2)"]`` or ``"lru,fifo"``; ``"all"`` for all of them."""

Model: TypeAlias = Path | Mapping[str, Any]
"""A preset's name, a file (``config.json``, ONNX, a SCALE-Sim topology), or a configuration as a dict."""

Device: TypeAlias = str | Mapping[str, Any]
"""A device's name, or its figures as a dict."""


class Options(TypedDict, total=False):
    """Fields of a recipe; ``accel_copilot.options()`` says what each is for."""

    task: str
    prompt_tokens: int
    decode_tokens: int
    batch_size: int
    steps: int
    requests: str
    weight_dtype: str
    kv_dtype: str
    parallel: str
    fusion: str
    serving: str
    read_as: str
    tiling: str
    tile_bytes: Size
    dataflow: str
    convolution: str
    optimizer: str
    zipf: float
    stickiness: float
    routing_log: str
    num_layers: int
    reuse_probability: float
    synthetic_batch_size: int
    seq_length: int
    pattern: str
    max_tensors_per_layer: int
    member: str
    admission: str
    watermark: float
    pinned: str | Sequence[str]
    shares: str | Sequence[str]
    scored_by: str
    prefetch_depth: int
    warmup: int | float
    accesses: int
    interval: int
    ignore_size: bool
    sample: str | float
    seed: int


class Curve(TypedDict, total=False):
    """At which capacities a curve is measured."""

    points: int
    capacities: list[int]


Recipe: TypeAlias = dict[str, Any]
"""An experiment, as ``accel recipe`` prints it."""

Part: TypeAlias = Literal["model", "synthetic", "file"]


def text_of(value: object) -> str:
    """A value as the fields of recipes and the command line write it."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ",".join(text_of(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def sizes(capacity: Size | Sequence[Size] | None) -> list[str]:
    """Capacities as texts."""
    if capacity is None:
        return []
    if isinstance(capacity, str):
        return [part.strip() for part in capacity.split(",")]
    if isinstance(capacity, int | float):
        return [text_of(capacity)]
    texts = [text_of(one) for one in capacity]
    if not texts:
        raise field_error("capacity", "[]", "there is no memory to run in", 'Give a size such as "64MiB"')
    return texts


def names_of(policies: Policies) -> list[str]:
    """The names of policies; a comma within parentheses belongs to a name."""
    if not isinstance(policies, str):
        return [str(policy) for policy in policies]
    if policies.strip() == "all":
        return [row["name"] for row in json.loads(_native.listing("policies"))]
    names, depth, start = [], 0, 0
    for at, letter in enumerate(policies):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            names.append(policies[start:at])
            start = at + 1
    return [name.strip() for name in [*names, policies[start:]]]


def recipe_of(recipe: str | Path | Mapping[str, Any]) -> tuple[Recipe, str]:
    """A recipe from a dict, JSON, a link or a file, and the folder in which its files lie."""
    folder = ""
    if isinstance(recipe, Mapping):
        text = json.dumps(recipe)
    elif isinstance(recipe, str) and (recipe.lstrip().startswith("{") or "r=" in recipe):
        text = recipe
    else:
        with open(recipe, encoding="utf-8") as file:
            text = file.read()
        folder = os.path.dirname(os.fspath(recipe))
    found: Recipe = json.loads(_native.parse_recipe(text))
    return found, folder


def _is_pandas(trace: object) -> bool:
    return type(trace).__module__.split(".")[0] == "pandas"


def _column(column: Any) -> Any:
    """A column that has one value after the other in memory, in the machine's byte order."""
    flags, dtype = getattr(column, "flags", None), getattr(column, "dtype", None)
    if getattr(dtype, "kind", "") in ("m", "M"):
        return column.astype("int64")
    if dtype is not None and not getattr(dtype, "isnative", True):
        return column.astype(dtype.newbyteorder("="))
    # Arrays of numpy that are a view on others.
    if flags is not None and hasattr(flags, "c_contiguous") and not flags.c_contiguous:
        return column.copy()
    return column


def trace_of(
    trace: TraceLike, format: str | None, columns: str | None, callback: Callback | None, member: str | None = None
) -> _native.Trace:
    """The trace that is meant; ``member`` is the file of an archive."""
    if isinstance(trace, _native.Trace):
        return trace
    if isinstance(trace, str | PathLike):
        if member is not None:
            recipe = json.loads(_native.template("file"))
            source = {"name": os.fspath(trace), "format": format, "columns": columns, "member": member}
            recipe["workload"]["file"] = {key: value for key, value in source.items() if value is not None}
            return _native.trace_of_recipe(json.dumps(recipe), "", callback)
        return _native.read_trace(trace, format, columns, callback)
    if isinstance(trace, Mapping):
        values = [_column(column) for column in trace.values()]
        return _native.trace_of_columns([str(name) for name in trace], values, columns, callback)
    if _is_pandas(trace):
        frame: Any = trace
        # pandas gives Arrow streams only where pyarrow is installed.
        return trace_of({str(name): frame[name].to_numpy() for name in frame.columns}, format, columns, callback)
    if hasattr(trace, "__arrow_c_stream__") or hasattr(trace, "__arrow_c_array__"):
        return _native.trace_of_stream(trace, columns, callback)
    cure = "Give a file, a data frame (polars, pandas, pyarrow) or a dict of columns"
    raise field_error("trace", f"a {type(trace).__name__}", "it cannot be read", cure)


def model_of(model: Model) -> object:
    """The model as recipes hold it."""
    if isinstance(model, Mapping):
        return dict(model)
    if isinstance(model, PathLike) or os.path.isfile(model):
        return json.loads(_native.model_of_file(model))
    return model


def build(
    *,
    trace: TraceLike | None,
    model: Model | None,
    synthetic: str | None,
    scenario: str | None,
    device: Device | None,
    policies: Policies | None,
    bounds: bool | None,
    options: Mapping[str, Any],
) -> Recipe:
    """The recipe that the arguments describe; a trace has its place in it, no more."""
    sources = {"trace": trace, "model": model, "synthetic": synthetic, "scenario": scenario}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        cure = "Give a trace, or one of model=, synthetic= and scenario="
        raise field_error("the workload", " and ".join(given) or "missing", "there must be one", cure)
    recipe: Recipe
    fields: list[tuple[str, str]] = [(name, text_of(value)) for name, value in options.items() if value is not None]
    if scenario is not None:
        recipe = json.loads(_native.scenario(scenario))
    elif model is not None:
        recipe = json.loads(_native.template("model"))
        recipe["workload"]["model"]["model"] = model_of(model)
    elif synthetic is not None:
        recipe = json.loads(_native.template("synthetic"))
        fields.insert(0, ("model_type", synthetic))
    else:
        recipe = json.loads(_native.template("file"))
        name = os.fspath(trace) if isinstance(trace, str | PathLike) else "trace"
        recipe["workload"]["file"]["name"] = name
    if device is not None:
        physical = {"device": dict(device) if isinstance(device, Mapping) else device}
        recipe.setdefault("memory", {})["cost"] = {"physical": physical}
    if policies is not None:
        recipe["policies"] = names_of(policies)
    if bounds is not None:
        recipe["bounds"] = bounds
    found: Recipe = json.loads(_native.with_fields(json.dumps(recipe), fields))
    return found
