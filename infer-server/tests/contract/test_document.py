"""The OpenAPI document is one, and says what a client must know."""

from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from conftest import KEY, Server, operations

# What everyone may ask.
PUBLIC = {"/health/live", "/health/ready"}


def test_it_is_valid(document: dict) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document, cls=OpenAPIV31SpecValidator)


def test_every_answer_is_described(document: dict) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            assert response["description"], f"{method} {path}: {status}"
            assert status == "204" or response["content"], f"{method} {path}: {status}"
            if status.startswith("4") or (status.startswith("5") and path not in PUBLIC):
                kind = "application/problem+json" if path.startswith("/v1/") else "application/json"
                assert list(response["content"]) == [kind], f"{method} {path}: {status}"


def test_every_operation_has_a_name_of_its_own(document: dict) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_the_prototypes_endpoints_are_by_version_too(document: dict) -> None:
    for path in ["/generate-trace", "/predict-schedule", "/simulate", "/validate-trace", "/predict-compile"]:
        assert path in document["paths"] and f"/v1{path}" in document["paths"]


def test_parameters_lie_where_they_are_read(document: dict) -> None:
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            wanted = "path" if f"{{{parameter['name']}}}" in path else "query"
            assert parameter["in"] == wanted, f"{method} {path}: {parameter['name']}"


def test_a_key_is_asked_for_where_it_is_wanted(guarded_server: Server) -> None:
    document = guarded_server.document()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, method, operation in operations(document):
        assert ("security" in operation) == (path not in PUBLIC), f"{method} {path}"
    assert guarded_server.ask("GET", "/info").status == 401
    # What Authorize in /docs sends.
    assert guarded_server.ask("GET", "/info", headers={"authorization": f"Bearer {KEY}"}).status == 200


def test_a_key_may_be_left_out_where_none_is_wanted(document: dict) -> None:
    for path, _, operation in operations(document):
        assert path in PUBLIC or {} in operation["security"]
