"""Servers on free ports: one without a model, one with a tiny one, and one that wants a key."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The server's program, as `cargo xtask contract` built it.
SERVER = os.environ["ACCEL_SERVER"]
KEY = "a-key-of-the-tests"
# No request of these tests takes longer: by then it hangs.
HANGS_AFTER_S = 300


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Server:
    """A running server."""

    url: str

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Sends `body` as JSON; bytes as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | (headers or {})
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=HANGS_AFTER_S) as answer:
                return Answer(answer.status, lower(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            return Answer(answer.code, lower(answer.headers), answer.read())

    def document(self) -> dict:
        """Its OpenAPI document."""
        return self.ask("GET", "/openapi.json").json()


def lower(headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def serve(*arguments: str, **environment: str) -> Iterator[Server]:
    """A server on a free port, until the block ends."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ACCEL_", "RUST_LOG"))}
    command = [SERVER, "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=inherited | environment)
    log = iter(process.stderr)
    said = []
    for line in log:
        said.append(line)
        if found := re.search(r"listening on (http://\S+)", line):
            break
    else:
        pytest.fail("the server does not start:\n" + "".join(said))
    # Nobody reads on, and a full pipe would stop it.
    threading.Thread(target=lambda: sys.stderr.writelines(log), daemon=True).start()
    try:
        yield Server(found.group(1))
    finally:
        process.terminate()
        process.wait(HANGS_AFTER_S)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One without a model: the heuristic scores."""
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with a tiny model of random weights, which reads longer prompts than its file says."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "adapters").mkdir()
    model = bytearray((ROOT / "tests/fixtures/mistral/f32.gguf").read_bytes())
    key = b"llama.context_length"
    # The type of the value (4 = u32), then the value.
    at = model.index(key) + len(key) + 4
    model[at : at + 4] = (4096).to_bytes(4, "little")
    (folder / "tiny.gguf").write_bytes(model)
    with serve("--model", str(folder / "tiny.gguf"), "--adapters", str(folder / "adapters")) as server:
        # The model is loaded behind the first questions.
        for _ in range(HANGS_AFTER_S * 10):
            if server.ask("GET", "/info").json()["state"] == "ready":
                break
            threading.Event().wait(0.1)
        yield server


@pytest.fixture(scope="session")
def guarded_server() -> Iterator[Server]:
    """One that wants a key."""
    with serve(ACCEL_API_KEY=KEY) as server:
        yield server


@pytest.fixture(scope="session")
def document(server: Server) -> dict:
    """The OpenAPI document of the server without a model."""
    return server.document()


def operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    """Path, method and description of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation
