"""Tables of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from . import _native

__all__ = ["Table"]

_SHOWN_ROWS = 20
# What people look at first; the others are there.
_SHOWN = (
    "policy",
    "capacity_bytes",
    "seed",
    "hits",
    "misses",
    "hit_ratio",
    "byte_hit_ratio",
    "gap_closed",
    "miss_bytes",
    "evictions",
    "total_ms",
    "stall_ms",
    "energy_low_j",
    "error",
)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


class Table:
    """Rows as columns of one type each.

    Any library that knows Arrow's PyCapsule interface reads it as it is: ``polars.DataFrame(table)``,
    ``pyarrow.table(table)``, ``duckdb.from_arrow(pyarrow.table(table))``. Without any of them, ``table["misses"]`` is a
    column and ``list(table)`` are the rows. Values that there are not are None.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _native.Table) -> None:
        self._native = native

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self._native.names

    def __len__(self) -> int:
        return len(self._native)

    def __getitem__(self, column: str) -> list[Any]:
        return self._native.column(column)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.columns
        for row in zip(*(self[name] for name in names), strict=True):
            yield dict(zip(names, row, strict=True))

    def to_dict(self) -> dict[str, list[Any]]:
        """The columns by their names."""
        return {name: self[name] for name in self.columns}

    def to_pandas(self) -> Any:
        """A pandas DataFrame; whole numbers with gaps stay whole (pandas' own nullable types)."""
        import pandas

        def column(name: str) -> Any:
            values = self[name]
            kinds = {type(value) for value in values if value is not None}
            if None in values and kinds and kinds <= {int, bool}:
                return pandas.array(values, dtype="boolean" if kinds == {bool} else "UInt64")
            return values

        return pandas.DataFrame({name: column(name) for name in self.columns})

    def write_parquet(self, path: str | PathLike[str]) -> None:
        """Writes the table as a Parquet file."""
        Path(path).write_bytes(self._native.to_parquet())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table by Arrow's PyCapsule interface."""
        return self._native.__arrow_c_stream__(requested_schema)

    def _shown(self) -> tuple[list[str], list[list[object]]]:
        """The columns and rows that are shown: those that tell rows apart, and the figures."""
        columns = {name: self[name] for name in self.columns}
        before = self.columns.index("policy") if "policy" in columns else len(columns)
        axes = [name for name in self.columns[:before] if name != "key"]
        names = axes + [name for name in _SHOWN if name in columns and any(x is not None for x in columns[name])]
        names = names or self.columns
        rows = [[columns[name][row] for name in names] for row in range(min(len(self), _SHOWN_ROWS))]
        return names, rows

    def _left_out(self) -> str:
        more = len(self) - _SHOWN_ROWS
        rows = f"{more:,} more rows; " if more > 0 else ""
        return f"{rows}{len(self):,} rows x {len(self.columns)} columns"

    def __repr__(self) -> str:
        names, rows = self._shown()
        cells = [names, *[[_text(value) for value in row] for row in rows]]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        return "\n".join([*lines, f"[{self._left_out()}]"])

    def _repr_html_(self) -> str:
        names, rows = self._shown()
        return html_table(names, rows, self._left_out())


def html_table(names: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """A table as HTML, for notebooks."""

    def cell(value: object) -> str:
        side = "right" if isinstance(value, int | float) and not isinstance(value, bool) else "left"
        return f'<td style="text-align:{side}">{escape(_text(value))}</td>'

    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(caption)}</p>"
