"""A stand-in for vLLM, for trying the server without a GPU: what `--remote-kind vllm` asks of it, one token per byte.

Its answers are made up: a label's log probability depends on the prompt and the label, and on nothing that was learned.
"""

import json
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def log_prob(prompt: list[int], label: int) -> float:
    """Of 64 labels, each has at most a hundredth: they never sum past one."""
    chance = zlib.crc32(bytes(prompt) + bytes([label])) % 1000
    return -5.0 - chance / 500


class StandIn(BaseHTTPRequestHandler):
    """Answers `/v1/models`, `/tokenize` and `/v1/completions`."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: object) -> None:
        """Sends `body` as JSON."""
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        """Says which model there is."""
        known = self.path == "/v1/models"
        self.answer(200 if known else 404, {"object": "list", "data": [{"id": "stand-in"}]} if known else {})

    def do_POST(self) -> None:
        """Turns text into tokens, or gives the log probabilities that were asked for."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self.answer(200, {"tokens": list(body["prompt"].encode())})
        elif self.path == "/v1/completions":
            labels = body.get("logprob_token_ids") or body.get("allowed_token_ids") or []
            rows = [{f"token_id:{label}": log_prob(prompt, label) for label in labels} for prompt in body["prompt"]]
            choices = [{"index": i, "logprobs": {"top_logprobs": [row]}} for i, row in enumerate(rows)]
            self.answer(200, {"choices": choices})
        else:
            self.answer(404, {"message": "no such page"})


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8080), StandIn).serve_forever()
