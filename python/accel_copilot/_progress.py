"""How far long work is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[[int, int, str], object]
"""Hears what is done, the total, and what comes next."""

Progress: TypeAlias = bool | Callback | None
"""None: a bar by tqdm where it is installed and somebody looks; True: a bar; False: silence; or a callback."""


def _tqdm() -> Any:
    with warnings.catch_warnings():
        # Without widgets it draws by letters, which is no worry of whoever runs a cell.
        warnings.simplefilter("ignore")
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
    return tqdm


def _somebody_looks() -> bool:
    """At a terminal, or in a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def heard(progress: Progress, unit: str) -> Iterator[Callback | None]:
    """A callback that draws a bar, the given one, or none."""
    if progress is False:
        yield None
        return
    if callable(progress):
        yield progress
        return
    tqdm = _tqdm() if progress or _somebody_looks() else None
    if tqdm is None:
        yield None
        return
    # Short work shows nothing.
    bar = tqdm(total=None, unit=unit, unit_scale=True, leave=False, delay=0.5)

    def tell(done: int, total: int, what: str) -> None:
        if bar.total != total:
            bar.total = total
        bar.set_description_str(what, refresh=False)
        bar.update(done - bar.n)

    try:
        yield tell
    finally:
        bar.close()
