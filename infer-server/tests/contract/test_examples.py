"""Every example of the document is one that the server takes."""

from urllib.parse import urlencode

import pytest

from conftest import Server, operations


def examples(document: dict, schema: dict) -> list:
    """Those of a schema, and of what it refers to."""
    if "$ref" in schema:
        return examples(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    return schema.get("examples", []) + ([schema["example"]] if "example" in schema else [])


def bodies(document: dict, operation: dict) -> list:
    content = operation["requestBody"]["content"]["application/json"]
    given = [content["example"]] if "example" in content else []
    return given + [example for example in examples(document, content["schema"]) if example not in given]


def by_fields(document: dict, operation: dict) -> list:
    """A body made of the examples of its fields, where it has none as a whole."""
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    fields = document["components"]["schemas"][name].get("properties", {})
    return [{field: schema["example"] for field, schema in fields.items() if "example" in schema}]


def test_every_body(model_server: Server) -> None:
    document = model_server.document()
    for path, method, operation in operations(document):
        if "requestBody" not in operation:
            continue
        sent = bodies(document, operation) or by_fields(document, operation)
        assert sent and sent != [{}], f"{method} {path} has no example"
        for body in sent:
            if path == "/v1/adapter":
                # It names a folder, and this server has none of that name.
                assert model_server.ask(method, path, body).status == 422
                body = {"path": None}
            answer = model_server.ask(method, path, body)
            assert answer.status in (200, 202), f"{method} {path} {body}: {answer.body.decode()}"


def test_every_parameter(server: Server, document: dict) -> None:
    for path, method, operation in operations(document):
        given = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
        for parameter in given:
            of_schema = examples(document, parameter["schema"])
            sent = ([parameter["example"]] if "example" in parameter else []) + of_schema
            assert sent, f"{method} {path}: {parameter['name']} has no example"
            for value in sent:
                # Long enough for every test of a trace.
                body = {"num_layers": 48}
                answer = server.ask(method, f"{path}?{urlencode({parameter['name']: value})}", body)
                assert answer.status == 200, f"{method} {path} {value}: {answer.body.decode()}"


@pytest.mark.parametrize("path", ["/generate-trace", "/simulate", "/v1/validate-trace", "/v1/evictions"])
def test_nothing_asks_for_the_defaults(server: Server, document: dict, path: str) -> None:
    assert document["paths"][path]["post"]["requestBody"]["required"] is False
    nothing, defaults = server.ask("POST", path, b""), server.ask("POST", path, {})
    assert nothing.status == 200 and nothing.body == defaults.body
