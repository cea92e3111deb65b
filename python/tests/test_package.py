"""The package as such: its types, its notebook, and that it needs nothing."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import accel_copilot as accel

HERE = Path(__file__).parent
CONFIG = HERE.parent / "pyproject.toml"


def passes(*arguments: str | Path) -> None:
    ran = subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_types() -> None:
    """The stubs of the native part are those of what is there, and the rest agrees with them."""
    passes("mypy.stubtest", "accel_copilot._native", "--mypy-config-file", CONFIG, "--ignore-disjoint-bases")
    passes("mypy", "--config-file", CONFIG, HERE.parent / "accel_copilot")


def test_the_notebook_runs() -> None:
    """Every cell, in order, without an error."""
    notebook = nbformat.read(HERE.parent / "examples" / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=None).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    html = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert len(html) == 3 and all("<table>" in text for text in html)


def test_docstrings() -> None:
    """Everything says what it is, and the examples are right."""
    assert all(getattr(accel, name).__doc__ for name in accel.__all__ if not name.startswith("__"))
    for module in ["accel_copilot", "accel_copilot._api", "accel_copilot._results"]:
        found = doctest.testmod(importlib.import_module(module))
        assert found.attempted > 0 and found.failed == 0


def test_a_fresh_interpreter_needs_no_other_package() -> None:
    """Where nothing but the package can be imported, it gives its first result."""
    package = Path(accel.__file__).parent.parent
    script = f"""
import sys
sys.path.insert(0, {str(package)!r})
import accel_copilot as accel
assert accel.simulate({{"id": [1, 2, 1, 3, 1]}}, capacity=2, policies="lru")["lru"]["hits"] == 2
assert not {{"numpy", "pandas", "polars", "pyarrow", "tqdm"}} & set(sys.modules), "more is imported than is needed"
"""
    # -I -S: no site-packages, no paths of the environment.
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_version_is_that_of_the_wheel() -> None:
    try:
        installed = importlib.metadata.version("accel-copilot")
    except importlib.metadata.PackageNotFoundError:
        return
    assert accel.__version__ == installed
