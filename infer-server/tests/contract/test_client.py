"""A client made of the document calls every operation."""

import http.client
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from conftest import HANGS_AFTER_S, Server, operations

# Where the example is one of another server, what this one takes.
BODIES = {"adapter": {"path": None}}
# Parameters as clients write them.
QUERIES = {"simulate_policy": {"policy": "s3-fifo(small=0.2)", "capacity": "128MiB"}}
# Streams without an end: `test_events` reads their beginning.
ENDLESS = {"all_events", "all_events_v1"}


@pytest.fixture(scope="module")
def client(model_server: Server, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The package that openapi-python-client makes."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_bytes(model_server.ask("GET", "/openapi.json").body)
    # The generator knows few types of text by name; nobody reads the code, so nothing formats it.
    (folder / "config.yml").write_text(
        "content_type_overrides:\n  application/openmetrics-text: text/plain\npost_hooks: []\n"
    )
    generator = Path(sys.executable).with_name("openapi-python-client")
    made = [generator, "generate", "--path", folder / "openapi.json", "--output-path", folder / "accel_client"]
    done = subprocess.run(
        [*made, "--meta", "none", "--fail-on-warning", "--config", folder / "config.yml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    return importlib.import_module("accel_client")


def functions(client: ModuleType) -> dict[str, ModuleType]:
    """The module of each operation by its name."""
    api = importlib.import_module(f"{client.__name__}.api")
    found = {}
    for group in pkgutil.iter_modules(api.__path__):
        package = importlib.import_module(f"{api.__name__}.{group.name}")
        for module in pkgutil.iter_modules(package.__path__):
            found[module.name] = importlib.import_module(f"{package.__name__}.{module.name}")
    return found


def model_of(function, example: object) -> object:
    """`example` as the client's own types have it."""
    annotation = inspect.signature(function).parameters["body"].annotation
    kinds = typing.get_args(annotation) or (annotation,)
    for kind in kinds:
        if hasattr(kind, "from_dict") and isinstance(example, dict):
            try:
                body = kind.from_dict(example)
            except (KeyError, TypeError, ValueError):
                continue
            if body.to_dict() == example:
                return body
    raise AssertionError(f"no type of {kinds} holds {example}")


def test_every_operation(client: ModuleType, model_server: Server) -> None:
    caller = client.Client(base_url=model_server.url, timeout=HANGS_AFTER_S)
    modules = functions(client)
    job = model_server.ask("POST", "/v1/jobs", {"evictions": {"num_layers": 4}}).json()["id"]
    called = set()
    # Jobs are stopped last, as others are looked at.
    ordered = sorted(operations(model_server.document()), key=lambda found: found[1] == "DELETE")
    for path, method, operation in ordered:
        name = operation["operationId"]
        called.add(name)
        if name in ENDLESS:
            continue
        call = modules[name].sync_detailed
        positional = [job] if "{id}" in path else []
        body = {}
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            example = BODIES.get(name) or content.get("example") or {"items": ["red: "], "labels": ["0", "1"]}
            body = {"body": model_of(call, example)}
        given = QUERIES.get(name.removesuffix("_v1"), {})
        answer = call(*positional, client=caller, **body, **given)
        assert answer.status_code in (200, 202, 204), f"{method} {path}: {answer.content.decode()}"
        assert answer.status_code == 204 or answer.parsed is not None, f"{method} {path}: {answer.content[:1000]}"
    assert called == set(modules)


def test_refusals_are_types_too(client: ModuleType, server: Server) -> None:
    models = importlib.import_module("accel_client.models")
    caller = client.Client(base_url=server.url, timeout=HANGS_AFTER_S)
    modules = functions(client)
    nothing = models.TraceRequest.from_dict({"num_layers": 0})
    refusal = modules["simulate_policy"].sync(client=caller, body=nothing)
    problem = modules["simulate_policy_v1"].sync(client=caller, body=nothing)
    assert refusal.error == problem.detail and refusal.detail[0].loc == problem.errors[0].loc == ["body", "num_layers"]
    assert problem.status == 422


def test_events(server: Server) -> None:
    for path in ("/events", "/v1/events"):
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=HANGS_AFTER_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
        server.ask("POST", "/v1/jobs", {"evictions": {}})
        assert answer.readline().startswith(b"event: ")
        connection.close()
