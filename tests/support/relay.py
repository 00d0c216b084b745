"""A TCP proxy in front of Postgres, whose connection a test can cut at a chosen statement."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

from sqlalchemy import URL, make_url


class Relay(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: URL) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.behind = (url.host, url.port)
        self.url = url.set(port=self.server_address[1]).render_as_string(hide_password=False)
        self.is_cut = False
        self._signs: list[bytes] = []
        self._lock = Lock()

    def cut_after(self, *signs: bytes) -> None:
        """Cuts once all *signs* were sent in this order; the server's answer to the last one is lost."""
        self._signs, self.is_cut = list(signs), False

    def is_due(self, content: bytes) -> bool:
        with self._lock:
            while self._signs and self._signs[0] in content:
                _, _, content = content.partition(self._signs.pop(0))
                if not self._signs:
                    self.is_cut = True
                    return True
        return False


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        self.is_deaf = False
        with socket.create_connection(self.server.behind) as server:
            answers = Thread(target=self._answer, args=(server,), daemon=True)
            answers.start()
            with suppress(OSError):
                while content := self.request.recv(1 << 16):
                    self.is_deaf = self.is_deaf or self.server.is_due(content)
                    server.sendall(content)
                server.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _answer(self, server: socket.socket) -> None:
        """Hands answers on, until one comes to the last sign: the server has executed it, and nobody is to know."""
        with suppress(OSError):
            while (content := server.recv(1 << 16)) and not self.is_deaf:
                self.request.sendall(content)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(url: str) -> Iterator[Relay]:
    with Relay(make_url(url)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
