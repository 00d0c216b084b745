"""A reranker on loopback, with the API of TEI or of Cohere; the score of a text is the number at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class RerankingServer:
    """*requests* records every body. *answers* replaces the answer, which waits until *may_answer* is set."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.status = 200
        self.answers: Any = None
        self.may_answer = Event()
        self.may_answer.set()
        self.has_request = Event()
        self.url = ""


def number_of(text: str) -> float:
    return float(text.split()[-1].strip("."))


@contextmanager
def reranking_server() -> Iterator[RerankingServer]:
    served = RerankingServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.requests.append({"path": self.path, **body})
            served.tokens.append(self.headers.get("Authorization"))
            served.has_request.set()
            served.may_answer.wait(30)
            self._answer(served.status, _answer(body) if served.answers is None else served.answers)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, body: object) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has timed out

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.may_answer.set()
            server.shutdown()
            thread.join()


def _answer(body: dict[str, Any]) -> Any:
    """Returns scores, best first, as both servers do."""
    name = "score" if "texts" in body else "relevance_score"
    texts = body.get("texts") or body["documents"]
    scored = sorted(enumerate(texts), key=lambda each: -number_of(each[1]))
    items = [{"index": index, name: number_of(text)} for index, text in scored]
    return items if "texts" in body else {"id": "1", "results": items, "meta": {}}
