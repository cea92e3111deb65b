"""What is refused says so in JSON, in the shape of its path."""

import pytest

from conftest import KEY, Server


def check_problem(answer, status: int, path: str) -> None:
    assert answer.status == status and answer.headers["content-type"] == "application/problem+json", answer
    problem = answer.json()
    assert (problem["type"], problem["status"], problem["instance"]) == ("about:blank", status, path)
    assert problem["title"] and isinstance(problem["detail"], str) and problem["detail"] == problem["error"]
    assert isinstance(problem["errors"], list)


def check_refusal(answer, status: int) -> None:
    assert answer.status == status and answer.headers["content-type"] == "application/json", answer
    assert set(answer.json()) == {"error", "detail"} and isinstance(answer.json()["detail"], list)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/simulate", b"{", 422),
        ("POST", "/simulate", {"num_layers": 0}, 422),
        ("POST", "/generate-trace", b" " * ((16 << 20) + 1), 413),
        ("GET", "/simulate", None, 405),
        ("GET", "/nothing", None, 404),
        ("GET", "/jobs/x", None, 404),
    ],
)
def test_both_shapes(server: Server, method: str, path: str, body: object, status: int) -> None:
    check_refusal(server.ask(method, path, body), status)
    check_problem(server.ask(method, f"/v1{path}", body), status, f"/v1{path}")


def test_places_are_told(server: Server) -> None:
    old, new = (server.ask("POST", path, {"num_layers": 0}).json() for path in ("/simulate", "/v1/simulate"))
    assert old["detail"] == new["errors"] and old["error"] == new["detail"]
    assert old["detail"][0]["loc"] == ["body", "num_layers"] and old["detail"][0]["input"] == "0"


def test_a_method_that_is_not_taken_says_which_are(server: Server) -> None:
    answer = server.ask("PUT", "/v1/jobs/x", {})
    check_problem(answer, 405, "/v1/jobs/x")
    assert answer.headers["allow"] == "GET,HEAD,DELETE"


def test_names_that_are_no_text(server: Server) -> None:
    check_problem(server.ask("GET", "/v1/jobs/%FF"), 404, "/v1/jobs/%FF")


def test_without_the_key(guarded_server: Server) -> None:
    for path in ("/v1/info", "/info"):
        answer = guarded_server.ask("GET", path, headers={"authorization": "Bearer wrong"})
        assert answer.headers["www-authenticate"] == "Bearer"
        check_problem(answer, 401, path) if path.startswith("/v1") else check_refusal(answer, 401)
    assert guarded_server.ask("GET", "/v1/info", headers={"authorization": f"Bearer {KEY}"}).status == 200
