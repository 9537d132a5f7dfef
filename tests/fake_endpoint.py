"""A chat-completions endpoint on the loopback interface: knows the tiny corpus, misbehaves as it is told."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import tiny

Trouble = tuple[int, dict[str, str], bytes] | str  # a whole reply, or "cut": half an answer, or "nonsense": no HTTP


@dataclass
class Server:
    """What it was asked (bodies and headers of all requests), and the prompts that it answered in full."""

    url: str = ""
    logprobs: bool = True
    sure: float = 0.9
    say: Callable[[str, int], str] = lambda prompt, number: label_of(prompt)
    trouble: Callable[[int], Trouble | None] = lambda number: None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["messages"][-1]["content"]
        self.answered.append(prompt)
        said = self.say(prompt, self.answered.count(prompt))
        choice: dict[str, Any] = {"message": {"content": said}, "finish_reason": "stop"}
        if body.get("logprobs") and self.logprobs:
            other = next((label for label in tiny.LABELS if label != said), "?")
            top = [{"token": said, "logprob": math.log(self.sure)}]
            top.append({"token": other, "logprob": math.log(1 - self.sure)})
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}


def label_of(prompt: str) -> str:
    """The label of a tiny text, as the corpus makes it."""
    words = prompt.rpartition("Text: ")[2].split()
    good = words[-1] in tiny._GOOD
    return "good" if good != ("not" in words) else "bad"


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    """A running server."""
    server, lock = Server(**settings), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                server.bodies.append(body)
                server.headers.append(dict(self.headers))
                number = len(server.bodies)
            trouble = server.trouble(number)
            with lock:
                content = b"" if trouble else json.dumps(server.reply(body)).encode()
            if trouble == "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices"')
                return
            if trouble == "nonsense":
                self.wfile.write(b"what?\r\n\r\n")
                return
            status, headers, content = trouble or (200, {}, content)  # type: ignore[misc]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *given: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_port}/v1"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
