"""An OpenAI-compatible chat server on loopback that records requests and answers, or fails, as configured."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

MAX_TOKENS = 2000
USAGE = {"prompt_tokens": 120, "completion_tokens": 9, "total_tokens": 129}


class ChatServer:
    """*requests* are the bodies of all requests. *moods* are the failures of the next ones, one each.

    A stream has an event per character, so that every marker is split. *has_disconnected* is set when a client closes
    the connection before the end of its answer.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer = "Cats sleep [1]."
        self.moods: list[str] = []
        self.has_disconnected = Event()
        self.url = ""

    @property
    def prompt(self) -> str:
        """The last prompt, all messages joined."""
        return "\n".join(message["content"] for message in self.requests[-1]["messages"])


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    served = ChatServer()
    handler = type("Handler", (_ChatHandler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class _ChatHandler(BaseHTTPRequestHandler):
    served: ChatServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.served.requests.append(request)
        self.served.keys.append(self.headers["Authorization"])
        mood = self.served.moods.pop(0) if self.served.moods else "well"
        assert self.path == "/v1/chat/completions"
        if mood in _REFUSALS:
            self._send(*_REFUSALS[mood], {"Retry-After": "3600"} if mood == "busy for an hour" else {})
        elif mood == "repeats the key":
            refusal = f"bad request, {'so ' * 55}{self.headers['Authorization']} said"
            self._send(400, {"error": {"message": refusal}})
        elif mood == "silent":
            self._until_disconnected()
        elif mood in _BODIES:
            self._raw("application/json", _BODIES[mood], length=len(_BODIES[mood]) + 7 * (mood == "cut whole"))
        elif request.get("stream") and mood != "whole all the same":
            self._stream(mood)
        else:
            message = {"role": "assistant", "content": self.served.answer}
            reason = "length" if mood == "cut at max_tokens" else "stop"
            self._send(200, {"choices": [{"message": message, "finish_reason": reason}], "usage": USAGE})

    def log_message(self, *_: object) -> None:
        pass

    def _stream(self, mood: str) -> None:
        self._raw("text/event-stream; charset=utf-8", b": hello\r\n\r\n")
        if mood == "endless":
            self._until_disconnected(token="a [1] ")
            return
        for token in self.served.answer:
            self._event({"choices": [{"delta": {"content": token}, "finish_reason": None}], "usage": None})
        if mood == "cut stream":
            return
        if mood == "error inside":
            self._event({"error": {"message": "out of memory"}})
        elif mood == "garbage inside":
            self.wfile.write(b"data: {oh\n\n")
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def _until_disconnected(self, token: str = "") -> None:
        """Continues until the client closes the connection, which is detected even without writing."""
        for _ in range(MAX_TOKENS):
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            try:
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    break
                if token:
                    self._event({"choices": [{"delta": {"content": token}}]})
            except OSError:
                break
        else:
            return
        self.served.has_disconnected.set()

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\r\n\r\n".encode())
        self.wfile.flush()

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self._raw("application/json", content, status=status, length=len(content), headers=headers)

    def _raw(
        self,
        kind: str,
        content: bytes,
        *,
        status: int = 200,
        length: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


_REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "down": (503, {"error": {"message": "down for maintenance"}}),
    "busy": (429, {"error": {"message": "too many requests"}}),
    "busy for an hour": (429, {"error": {"message": "too many requests"}}),
    "wrong key": (401, {"error": {"message": "Incorrect API key provided: sk-very-secret"}}),
    "no such model": (404, {"error": {"message": "no such model"}}),
    "elsewhere": (302, {}),
}

_BODIES: dict[str, bytes] = {
    "garbage": b"<html>It works!</html>",
    "no object": b"[1, 2]",
    "no choices": b'{"choices": []}',
    "wrong choices": b'{"choices": ["yes"]}',
    "null": b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}',
    "deep": b"[" * 100_000,
    "error with 200": b'{"error": {"message": "out of memory"}}',
    "cut whole": b'{"choices": [',
    "huge": b" " * (9 << 20),
}
