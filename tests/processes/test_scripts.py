"""The scripts, run as a person or a CI runs them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import until
from tests.support.service import environment, settings_in

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "script" / "server"
SCRIPTS = [*sorted((ROOT / "script").iterdir()), ROOT / ".ci" / "run"]

needs_venv = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="script/server would install .venv first: run script/test instead"
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_executed_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(
    ("output", "expected"), [("Python 3.8.18", "is Python 3.8; Python 3.11 or newer is needed"), ("?", "does not run")]
)
def test_the_environment_refuses_an_unfit_python_and_says_why(tmp_path: Path, output: str, expected: str) -> None:
    fake = tmp_path / "old python"
    fake.write_text(f"#!/bin/sh\necho '{output}'\n")
    fake.chmod(0o755)
    script = ROOT / "script" / "environment"
    done = subprocess.run([script], env={**os.environ, "PYTHON": str(fake)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert str(fake) in done.stderr
    assert expected in done.stderr


@needs_venv
def test_the_server_starts_nothing_when_its_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run([SERVER], env=_environment(tmp_path, port), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_venv
def test_the_server_prints_lines_that_work_and_sigterm_stops_all_of_it(tmp_path: Path) -> None:
    with _server(tmp_path) as server:
        until(lambda: "Ctrl-C stops it" in server.printed())
        answers = [_bash(line) for line in server.printed().splitlines() if line.startswith("curl ")]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert server.family() == []
    assert [expected in answer for expected, answer in zip(EXPECTED, answers, strict=True)] == [True] * 3, answers


EXPECTED = ['"upserted_docs":1', '"text":"Ships sail the seven seas."', '"ok":true']


@needs_venv
@pytest.mark.parametrize(
    ("victim", "message"),
    [("app_v1.py", "the API died (signal 9); stopping the worker too"), ("worker.py", "the worker died (signal 9)")],
)
def test_when_one_process_dies_the_server_stops_the_other(
    tmp_path: Path, victim: str, message: str, remote: dict[str, Any]
) -> None:
    with _server(tmp_path, **remote) as server:
        until(lambda: len(server.running("app_v1.py") + server.running("worker.py")) == 2)
        server.running(victim)[0].kill()
        assert server.process.wait(60) == 1
        assert message in server.printed()
        assert server.family() == []


class Server:
    """A running script/server, all that it started, and what it said so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def printed(self) -> str:
        text = self.log.read_text()
        assert self.process.poll() is None or "stopping" in text, text
        return text

    def family(self) -> list[psutil.Process]:
        """Every living process of its session, also one that has lost its parent."""
        return [process for process in psutil.process_iter() if _is_alive_in(self.process.pid, process)]

    def running(self, word: str) -> list[psutil.Process]:
        return [process for process in self.family() if re.search(rf"python\S* .*{re.escape(word)}", _command(process))]


@contextmanager
def _server(folder: Path, **changed: Any) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with started(SERVER, folder / "server.log", _environment(folder, port, **changed)) as server:
        yield server


@contextmanager
def started(script: Path, log: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Ends with the test, however that ends."""
    with log.open("wb") as out:
        process = subprocess.Popen([script], env=environment, stdout=out, stderr=out, start_new_session=True)
    server = Server(process, log)
    try:
        yield server
    finally:
        while family := server.family():
            family[0].kill()
            process.poll()
        process.wait()


def _is_alive_in(session: int, process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    return False


def _environment(folder: Path, port: int, **changed: Any) -> dict[str, str]:
    return {**environment(settings_in(folder, **changed)), "PORT": str(port)}


def _bash(line: str) -> str:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60).stdout


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_the_promises_can_be_run_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "test_persistence.py", "-k", "health"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
