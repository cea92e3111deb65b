"""What the document allows is answered, and what it forbids is refused: `schemathesis.toml` states the exceptions."""

import subprocess
import sys
from pathlib import Path

from conftest import Server

HERE = Path(__file__).parent


def test_the_server_does_what_the_document_says(server: Server, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    run = [program, "--config-file", HERE / "schemathesis.toml", "run", f"{server.url}/openapi.json"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
