"""An OpenAI-compatible embeddings server on loopback: real vectors of the bundled model, and a record of requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from engines.embedders.base import Embedder

PROBE = "dimension"  # the remote embedder's first text, from which it learns the dimension


class EmbeddingServer:
    """*texts* records every text, in order. Texts that contain *refused* are answered with 400."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.texts: list[str] = []
        self.refused: str | None = None
        self.is_down = False
        self.url = ""


@contextmanager
def embedding_server(embedder: Embedder) -> Iterator[EmbeddingServer]:
    served = EmbeddingServer(embedder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
            if served.is_down:
                self._answer(503, {"error": {"message": "down for maintenance"}})
            elif served.refused and any(served.refused in text for text in texts):
                self._answer(400, {"error": {"message": "this text is refused"}})
            else:
                served.texts += [text for text in texts if text != PROBE]
                vectors = embedder.embed_documents(texts)
                data = [{"index": n, "embedding": vector.tolist()} for n, vector in enumerate(vectors)]
                self._answer(200, {"data": data, "model": request["model"]})

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, body: dict[str, object]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
