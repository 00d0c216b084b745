"""A peer's process that speaks HTTP on a port of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.peers.base import Unavailable
from bench.processes import disk_bytes
from bench.server import start, stop

START_SECONDS = 120.0
GLANCE_SECONDS = 0.01


@dataclass
class HttpProcess:
    """*command* makes the command line from the port, which stays the same after a restart."""

    folder: Path
    command: Callable[[int], Sequence[str]]
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Returns once the port takes connections."""
        self.data.mkdir(exist_ok=True)
        log = self.folder / "server.log"
        self.process = start(self.command(self.port), self.variables, log)
        give_up = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise Unavailable(f"it does not start:\n{log.read_text()[-1000:]}")
            time.sleep(GLANCE_SECONDS)

    @contextmanager
    def running(self) -> Iterator[Self]:
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None

    def pids(self) -> list[int]:
        return [] if self.process is None else [self.process.pid]

    def settle(self) -> None:
        """Nothing is left behind by default."""

    def disk(self) -> int:
        return disk_bytes(self.data)


def uvicorn(python: str, app: str, *options: str) -> Callable[[int], Sequence[str]]:
    """A connection may idle for an hour, since peers wait for each other's turns."""
    arguments = ["-m", "uvicorn", app, *options, "--host", "127.0.0.1", "--timeout-keep-alive", "3600", "--port"]
    return lambda port: [python, *arguments, str(port)]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex(("127.0.0.1", port)) == 0
