"""What the tests share."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

SEED = 7


def requests(count: int, objects: int) -> dict[str, list[int]]:
    """Requests to objects, popular and less so, whose sizes differ."""
    draw = random.Random(SEED)
    ids = [min(draw.randrange(objects) for _ in range(3)) for _ in range(count)]
    return {"obj_id": ids, "obj_size": [1_000 + key * 7919 % 9_000 for key in ids]}


@pytest.fixture(scope="session")
def columns() -> dict[str, list[int]]:
    return requests(20_000, 500)


@pytest.fixture(scope="session")
def trace_csv(columns: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same requests as a file."""
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    rows = zip(columns["obj_id"], columns["obj_size"], strict=True)
    path.write_text("obj_id,obj_size\n" + "".join(f"{key},{size}\n" for key, size in rows))
    return path


def figures(table: Any) -> list[tuple[Any, ...]]:
    """The rows of a table, without the time that each took."""
    names = [name for name in table.columns if name not in ("seconds",)]
    return list(zip(*(table[name] for name in names), strict=True))


def grid(models: int = 4, capacities: int = 10, seeds: int = 5) -> dict[str, Any]:
    """The recipes of docs/sweeps.md: models x capacities x seeds under four policies."""
    names = ["llama-3.2-1b", "mistral-7b", "gpt2-large", "gemma-2b"]
    return {
        "recipe": {
            "workload": {"model": {"prompt_tokens": 64, "decode_tokens": 8}},
            "policies": ["lru", "fifo", "s3-fifo", "random"],
            "bounds": False,
        },
        "axes": [
            {"/workload/model/model": names[:models]},
            {"/memory/capacity_bytes": {"from": "64MiB", "to": "1GiB", "points": capacities}},
            {"/seed": list(range(1, seeds + 1))},
        ],
    }
