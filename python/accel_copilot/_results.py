"""What experiments come to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from . import _native
from ._options import Recipe
from ._table import Table, html_table

__all__ = ["Curves", "Result"]


class Result:
    """What an experiment came to: a table with a row for each policy (and capacity), and what is behind it.

    >>> import accel_copilot
    >>> result = accel_copilot.simulate({"id": [1, 2, 1, 3, 1]}, capacity=2, policies=["lru", "fifo"])
    >>> result["lru"]["hits"]
    2
    """

    __slots__ = ("_outcomes", "_text", "recipe", "table")

    recipe: Recipe
    """The experiment."""
    table: Table
    """A row for each policy, and for each capacity where there are several."""

    def __init__(self, native: _native.Table, text: str, recipe: str) -> None:
        self.recipe = json.loads(recipe)
        self.table = Table(native)
        self._text = text
        self._outcomes: list[dict[str, Any]] | None = None

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """All that is known, as the command line's JSON has it: one for each capacity."""
        if self._outcomes is None:
            self._outcomes = json.loads(self._text)
        return self._outcomes

    @property
    def trace(self) -> dict[str, int]:
        """Accesses, tensors and bytes of the trace."""
        found: dict[str, int] = self.outcomes[0]["trace"]
        return found

    @property
    def bounds(self) -> dict[str, Any] | None:
        """How good any policy could be at the first capacity, where that was asked for."""
        found: dict[str, Any] | None = self.outcomes[0]["bounds"]
        return found

    @property
    def explanation(self) -> str:
        """What it means, in words; empty where only figures were asked for."""
        first = self.outcomes[0]
        return " ".join(filter(None, [first["headline"], *first["explanation"]]))

    @property
    def warnings(self) -> list[str]:
        """What one should know about the trace."""
        found: list[str] = self.outcomes[0]["warnings"]
        return found

    @property
    def link(self) -> str:
        """The fragment that opens the experiment in the page: put it behind the page's address and ``#``."""
        return _native.fragment(json.dumps(self.recipe))

    def __getitem__(self, policy: str) -> dict[str, Any]:
        """The figures of a policy; at the first capacity where there are several."""
        for row in self.table:
            if row["policy"] == policy:
                return row
        raise KeyError(policy)

    def __len__(self) -> int:
        return len(self.table)

    def _repr_html_(self) -> str:
        words = f"<p>{escape(self.explanation)}</p>" if self.explanation else ""
        return words + self.table._repr_html_()

    def __repr__(self) -> str:
        return "\n".join(filter(None, [repr(self.table), self.explanation]))


class Curves:
    """How misses fall as memory grows, one curve for each policy."""

    __slots__ = ("_curves", "recipe", "table", "trace")

    recipe: Recipe
    """The experiment."""
    trace: dict[str, int]
    """Accesses, tensors and bytes of the trace."""
    table: Table
    """Policy, capacity, and misses as shares of accesses and of bytes."""

    def __init__(self, recipe: Recipe, native: _native.Table, outcome: dict[str, Any]) -> None:
        self.recipe = recipe
        self.table = Table(native)
        self.trace = outcome["trace"]
        self._curves: dict[str, Any] = outcome["curve"]

    @property
    def curves(self) -> dict[str, Any]:
        """The curves and the bounds, as ``accel curve --json`` prints them."""
        return self._curves

    @property
    def bounds(self) -> dict[str, Any] | None:
        """What any policy could do at each capacity, where that was asked for."""
        found: dict[str, Any] | None = self._curves["bounds"]
        return found

    def __getitem__(self, policy: str) -> dict[str, Any]:
        """The curve of a policy, with its knee and the smallest capacities for some shares of the hits."""
        for curve in self._curves["curves"]:
            if curve["policy"] == policy:
                found: dict[str, Any] = curve
                return found
        raise KeyError(policy)

    def __len__(self) -> int:
        return len(self.table)

    def _wide(self) -> tuple[Sequence[str], list[list[object]]]:
        """A row for each capacity, a column for each policy."""
        policies = [curve["policy"] for curve in self._curves["curves"]]
        ratios: dict[int, dict[str, float]] = {}
        for row in self.table:
            ratios.setdefault(row["capacity_bytes"], {})[row["policy"]] = row["miss_ratio"]
        rows: list[list[object]] = [
            [capacity, *(at.get(policy) for policy in policies)] for capacity, at in sorted(ratios.items())
        ]
        return ["capacity_bytes", *policies], rows

    def _repr_html_(self) -> str:
        names, rows = self._wide()
        return html_table(names, rows, "Miss ratios by capacity.")

    def __repr__(self) -> str:
        policies = ", ".join(curve["policy"] for curve in self._curves["curves"])
        return f"Curves({policies}; {len(self)} points)"
