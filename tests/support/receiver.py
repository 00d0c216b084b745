"""A receiver of webhooks: a real server on loopback that keeps what it gets, and answers as a test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple


class Message(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def number(self) -> int:
        return int(self.json["data"]["event_id"])


Answer = Callable[[BaseHTTPRequestHandler, Message], None]


def answering(status: int, body: bytes = b"", **headers: str) -> Answer:
    def send(handler: BaseHTTPRequestHandler, _message: Message) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


TAKEN = answering(204)


class Receiver:
    """*answer* may be changed at any time."""

    def __init__(self, answer: Answer, port: int) -> None:
        self.answer = answer
        self._messages: list[Message] = []
        self._lock = Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message = Message(self.path, headers, body)
                with receiver._lock:
                    receiver._messages.append(message)
                self.close_connection = True
                receiver.answer(self, message)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.port = int(self.http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def messages(self) -> list[Message]:
        with self._lock:
            return list(self._messages)


@contextmanager
def receiving(answer: Answer = TAKEN, *, port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(answer, port)
    thread = Thread(target=receiver.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.http.shutdown()
        thread.join(10)
        receiver.http.server_close()
