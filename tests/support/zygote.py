"""Starts app_v1.py, worker.py and manage.py without importing anything. The zygote, one process per run of the tests,
has imported all that they need, and forks for every start.

    process = forked(["worker.py", "--poll-interval", "0.1"], environment, cwd=ROOT)

What it starts is a child of the tests' process, not of the zygote: it is waited for, killed and stopped as any other.
It differs from a fresh start in what Python itself reads while it starts (its options and PYTHON* variables), and in
the name of its main module. The zygote has one thread, no files and no connections, since only that may be forked.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).parents[2]
ENTRIES = {"app_v1.py": "main", "worker.py": "main", "manage.py": "app"}
IMPORTED_LATE = ("alembic.command", "sqlalchemy.dialects.postgresql.psycopg", "uvicorn.lifespan.on", "uvloop")
MESSAGE_BYTES = 1 << 17

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


class ForkedProcess:
    """What tests use of subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                has_ended, _, _ = select.select([descriptor], [], [], timeout)
            finally:
                os.close(descriptor)
            if not has_ended:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def can_fork(program: str) -> bool:
    return sys.platform == "linux" and (program == "-c" or Path(program).name in ENTRIES)


def forked(
    arguments: Sequence[str], environment: Mapping[str, str], *, cwd: Path, stdout: int = 1, stderr: int = 2
) -> ForkedProcess:
    """Starts Python with *arguments*: the path of one of ENTRIES, or -c and a program, and what that is given."""
    request = {"arguments": list(arguments), "environment": dict(environment), "cwd": str(cwd)}
    return _zygote().fork(json.dumps(request).encode(), [0, stdout, stderr])


class _Zygote:
    """The tests' side of it."""

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.support.zygote", str(theirs.fileno())]
            self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        self.lock = Lock()

    def fork(self, request: bytes, descriptors: list[int]) -> ForkedProcess:
        with self.lock, _adopting_orphans():
            socket.send_fds(self.connection, [request], descriptors)
            pid, has_parent = self.connection.recv(MESSAGE_BYTES), self.connection.recv(MESSAGE_BYTES)
        assert pid and has_parent, "the zygote ended: why is on its stderr"
        return ForkedProcess(int(pid))

    def close(self) -> None:
        self.connection.close()
        self.process.wait()


@functools.cache
def _zygote() -> _Zygote:
    zygote = _Zygote()
    atexit.register(zygote.close)
    return zygote


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Meanwhile the children of a child that ends become this process's."""
    assert ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(_SUBREAPER, 0, 0, 0, 0)


def serve(connection: socket.socket) -> Callable[[], Any]:
    """Forks for each request. Returns in each new process, with what it has to run."""
    with connection:
        while True:
            request, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 3)
            if not request:
                sys.exit()
            if _fork(connection):
                break
            for each in descriptors:
                os.close(each)
    return _main_of(json.loads(request), descriptors)


def _fork(connection: socket.socket) -> bool:
    """Forks twice, so that the new process is an orphan, which the tests' process adopts. Returns True in it."""
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "threads do not survive a fork"
    is_adopted, holds_back = os.pipe()
    if middle := os.fork():
        os.waitpid(middle, 0)
        connection.send(b"adopted")
        os.close(holds_back)
        os.close(is_adopted)
        return False
    os.close(holds_back)
    if pid := os.fork():
        connection.send(str(pid).encode())
        os._exit(0)
    os.read(is_adopted, 1)
    os.close(is_adopted)
    return True


def _main_of(request: dict[str, Any], descriptors: list[int]) -> Callable[[], Any]:
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    if sys.argv[0] == "-c":
        return functools.partial(exec, sys.argv.pop(1), {"__name__": "__main__"})
    name = Path(sys.argv[0]).name
    sys.modules["__main__"] = sys.modules[name.removesuffix(".py")]
    main: Callable[[], Any] = getattr(sys.modules["__main__"], ENTRIES[name])
    return main


def _import_all() -> None:
    for name in ENTRIES:
        importlib.import_module(name.removesuffix(".py"))
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _import_all()
    serve(socket.socket(fileno=int(sys.argv[1])))()
