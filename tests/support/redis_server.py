"""A real Redis for the tests, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support.processes import until


@dataclass(frozen=True)
class RedisServer:
    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Yields a server without persistence, which is killed afterwards."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs the program redis-server: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--loglevel",
        "warning",
    ]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    server = RedisServer(f"redis://127.0.0.1:{port}/0", process)
    try:
        until(lambda: _answers(server.url), seconds=20)
        yield server
    finally:
        server.kill()


def _answers(url: str) -> bool:
    try:
        with closing(Redis.from_url(url)) as client:
            return bool(client.ping())
    except RedisError:
        return False
