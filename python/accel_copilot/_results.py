"""What experiments come to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from . import _native
from ._options import Recipe
from ._table import Table, html_table

__all__ = ["Curves", "Recommendation", "Result"]

# A chart of more bars is no picture.
_MOST_BARS = 40


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
    def sampled(self) -> dict[str, Any] | None:
        """How sure the figures are at the first capacity, where they are those of samples.

        Estimates with intervals, and LRU over the whole trace beside LRU over the samples.
        """
        found: dict[str, Any] | None = self.outcomes[0]["sampled"]
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
        chart = _native.chart(self._text) if len(self) <= _MOST_BARS else ""
        return words + self.table._repr_html_() + chart

    def __repr__(self) -> str:
        return "\n".join(filter(None, [repr(self.table), self.explanation]))


class Curves:
    """How misses fall as memory grows, one curve for each policy."""

    __slots__ = ("_curves", "_text", "recipe", "sampled", "table", "trace")

    recipe: Recipe
    """The experiment."""
    trace: dict[str, int]
    """Accesses, tensors and bytes of the trace."""
    table: Table
    """Policy, capacity, and misses as shares of accesses and of bytes."""
    sampled: dict[str, Any] | None
    """How sure they are, where they are those of samples."""

    def __init__(self, recipe: Recipe, native: _native.Table, text: str) -> None:
        outcome: dict[str, Any] = json.loads(text)[0]
        self.recipe = recipe
        self.table = Table(native)
        self.trace = outcome["trace"]
        self.sampled = outcome["sampled"]
        self._curves: dict[str, Any] = outcome["curve"]
        self._text = text

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
        return html_table(names, rows, "Miss ratios by capacity.") + _native.chart(self._text)

    def __repr__(self) -> str:
        policies = ", ".join(curve["policy"] for curve in self._curves["curves"])
        return f"Curves({policies}; {len(self)} points)"


class Recommendation:
    """Designs for a goal, the best first: policy, admission, prefetch depth, tile and capacity, with what each costs."""

    __slots__ = ("_found", "headline", "what_is_left")

    headline: str
    """The best design in a sentence."""
    what_is_left: str
    """What the bounds say no schedule could be below, in words."""

    def __init__(self, text: str, headline: str, what_is_left: str) -> None:
        self._found: dict[str, Any] = json.loads(text)
        self.headline = headline
        self.what_is_left = what_is_left

    @property
    def designs(self) -> list[dict[str, Any]]:
        """The best designs; the ``recipe`` of each runs with :func:`accel_copilot.run`."""
        found: list[dict[str, Any]] = self._found["designs"]
        return found

    @property
    def baseline(self) -> dict[str, Any]:
        """LRU as everything else was given, to compare with."""
        found: dict[str, Any] = self._found["baseline"]
        return found

    @property
    def left(self) -> dict[str, Any]:
        """What no schedule is below at the capacity of the first design: bytes, and time where a device counts it."""
        found: dict[str, Any] = self._found["left"]
        return found

    @property
    def tried(self) -> list[str]:
        """What was tried, in words."""
        return [f"{self._found['tried']} designs, {self._found['enough']} of them enough", *self._found["space"]]

    def __getitem__(self, place: int) -> dict[str, Any]:
        """The design at a place: the best is 0."""
        return self.designs[place]

    def __len__(self) -> int:
        return len(self.designs)

    def _rows(self) -> tuple[list[str], list[list[object]]]:
        names = ["policy", "admission", "capacity_bytes", "prefetch_depth", "tile_bytes"]
        names += ["hit_ratio", "miss_bytes", "time_ms"]
        named = [(str(place + 1), design) for place, design in enumerate(self.designs)]
        named.append(("LRU as given", self.baseline))
        return ["design", *names], [[place, *(design[name] for name in names)] for place, design in named]

    def _repr_html_(self) -> str:
        names, rows = self._rows()
        return f"<p>{escape(self.headline)}</p>" + html_table(names, rows, self.what_is_left)

    def __repr__(self) -> str:
        names, rows = self._rows()
        lines = [", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in rows]
        return "\n".join([self.headline, *lines, self.what_is_left])
