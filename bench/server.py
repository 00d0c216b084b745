"""The service for benchmarks: a real uvicorn process on a free port, and a lean client.

The process runs as the README starts it, access log included. It ends with its ``with`` block, also on
Ctrl-C and on SIGTERM.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from settings import Settings

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 15.0
ANSWER_SECONDS = 60.0

_LISTENS = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class KeepAliveClient:
    """One kept-alive connection. It costs 0.05 ms a request, where http.client and httpx cost 0.2 to 1 ms."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self.exchange(request("POST", path, body)))

    def get(self, path: str) -> Any:
        return json.loads(self.exchange(request("GET", path)))

    def exchange(self, content: bytes) -> bytes:
        """Sends a request built by request(); returns the body of the response. Raises unless its status is 2xx."""
        self._socket.sendall(content)
        head, _, body = self._received(b"").partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        while len(body) < int(length[1]):
            body = self._received(body)
        assert head.startswith(b"HTTP/1.1 2"), head + body
        return body

    def _received(self, before: bytes) -> bytes:
        got = self._socket.recv(1 << 18)
        if not got:
            raise ConnectionError("The server closed the connection.")
        return before + got


def request(method: str, path: str, body: Any = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@contextmanager
def client(port: int) -> Iterator[KeepAliveClient]:
    opened = KeepAliveClient(port)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def served(settings: Settings, folder: Path, *, app: str = "app_v1:app") -> Iterator[int]:
    """Yields the port of a server with these settings and a loaded model. Its log is a file in *folder*."""
    command = ["-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0"]
    with running(command, settings, folder / "server.log") as process:
        port = _port(process, folder / "server.log")
        with client(port) as session:
            _until(lambda: session.get("/v1/health")["model"] == "ready", "the model to be loaded")
        yield port


@contextmanager
def running(arguments: Sequence[str], settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of the service."""
    process = start([sys.executable, *arguments], environment(settings), log)
    try:
        yield process
    finally:
        stop(process)


def start(command: Sequence[str], variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own: only this process gets Ctrl-C, and then stops it."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment(settings: Settings) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "INDEX_DIR": str(settings.index_dir),
        "INDEX_EXACT_UP_TO": str(settings.index_exact_up_to),
        "EMBED_MODEL_NAME": settings.embed_model_name,
        "CHUNK_TOKENS": str(settings.chunk_tokens),
        "MIN_FREE_DISK_MB": "0",
    }


def stop_on_sigterm() -> None:
    """Makes SIGTERM leave every ``with`` block, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def p50_and_p95(values: Sequence[float]) -> str:
    return f"{percentile(values, 50):.2f} / {percentile(values, 95):.2f}"


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    ports: list[str] = []

    def is_listening() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with {process.returncode}:\n{log.read_text()}")
        ports[:] = _LISTENS.findall(log.read_text())
        return bool(ports)

    _until(is_listening, "the server to listen")
    return int(ports[0])


def _until(condition: Any, purpose: str) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"Waited {START_SECONDS:.0f} s for {purpose}.")
        time.sleep(0.05)
