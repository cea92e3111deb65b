"""Many experiments at once: on this machine or on whatever engine has workers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from . import _native
from ._engines import on_engine
from ._errors import field_error
from ._options import Path
from ._progress import Progress, heard
from ._table import Table

__all__ = ["simulate_batch", "sweep"]


def _open(grid: Path | Mapping[str, Any]) -> _native.Sweep:
    if isinstance(grid, Mapping):
        return _native.Sweep(text=json.dumps(grid))
    return _native.Sweep(grid=grid)


def sweep(
    grid: Path | Mapping[str, Any],
    *,
    out: Path | None = None,
    engine: Any = None,
    shard: str = "1/1",
    retries: int = 4,
    progress: Progress = None,
) -> Table:
    """Runs a recipe along axes, and gives one table with a row for each cell and policy.

    ``grid`` is a file (JSON, TOML, YAML) or a dict: ``{"recipe": {...}, "axes": [{"/seed": [1, 2, 3]}, ...]}``; see
    docs/sweeps.md. ``out`` is the folder that keeps the rows as Parquet files: what is there is not run again, so the same
    call goes on where it was stopped, as ``accel sweep`` does. With a ``shard`` such as ``"2/8"`` only that part is run;
    the table has all that is in ``out``.

    ``engine`` is a ``concurrent.futures.Executor``, a ``dask.distributed.Client``, or the module ``ray``; without one, all
    processors of this machine work. Workers need this package at the same version, and the files that the recipes name in
    the same folder. A task whose worker dies is tried ``retries`` times more.
    """
    held = _open(grid)
    with heard(progress, "cells") as callback:
        if engine is None:
            if out is None:
                return Table(held.rows(shard, 0, callback))
            held.run(out, shard, 0, callback)
            return Table(held.table(out))
        if out is not None:
            on_engine(engine, held, out, shard, retries, callback)
            return Table(held.table(out))
        with tempfile.TemporaryDirectory(prefix="accel-sweep-") as folder:
            on_engine(engine, held, folder, shard, retries, callback)
            return Table(held.table(folder))


def _recipes(table: Any, column: str) -> list[str]:
    """The recipes of a table, as texts."""
    names: Sequence[str]
    if isinstance(table, Mapping):
        values: Any = table.get(column)
    elif hasattr(table, "column_names"):
        values = table.column(column).to_pylist() if column in table.column_names else None
    elif hasattr(table, "columns"):
        values = table[column] if column in list(table.columns) else None
    elif isinstance(table, Sequence) and not isinstance(table, str | bytes):
        values = table
    elif hasattr(table, "schema"):
        names = table.schema.names
        values = table.column(names.index(column)).to_pylist() if column in names else None
    else:
        cure = f"Give a data frame with a column {column}, or a list of recipes"
        raise field_error("table", f"a {type(table).__name__}", "it cannot be read", cure)
    if values is None:
        cure = "Name the column that holds recipes (JSON, or links of the page): recipe="
        raise field_error("table", "given", f"it has no column {column}", cure)
    return [json.dumps(value) if isinstance(value, Mapping) else str(value) for value in values]


def _like(table: Any, found: Table) -> Any:
    """The rows as the kind of table that was given."""
    library, kind = type(table).__module__.split(".")[0], type(table).__name__
    if library == "pandas":
        return found.to_pandas()
    if library == "polars":
        import polars

        return polars.DataFrame(found)
    if library == "pyarrow":
        import pyarrow

        rows = pyarrow.table(found)
        return rows.combine_chunks().to_batches()[0] if kind == "RecordBatch" and len(rows) else rows
    if isinstance(table, Mapping):
        return found.to_dict()
    return found


def simulate_batch(table: Any, *, recipe: str = "recipe", folder: Path = "") -> Any:
    """Runs the recipes of a table and gives their rows, as the kind of table that was given.

    Made for ``map_batches`` (Ray Data, polars), ``mapInArrow`` (Spark) and ``map_partitions`` (Dask): the columns are the
    same whatever the rows. ``recipe`` names the column that holds recipes as JSON or as links, such as the column
    ``recipe`` of a sweep. A row for each recipe and policy, in that order; a recipe that comes twice is run once. One that
    cannot be run is a row with ``error``. Files that recipes name are looked for in ``folder``.
    """
    held = _native.Sweep.of_recipes(_recipes(table, recipe), folder)
    # Whoever maps has a task for each processor.
    return _like(table, Table(held.rows("1/1", 1)))
