"""Real processes on a real port, for tests of crashes and of several processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from settings import Settings
from tests.support.postgres import free_port
from tests.support.service import PLACE, environment
from tests.support.zygote import ForkedProcess, can_fork, forked

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180.0
Process = subprocess.Popen[bytes] | ForkedProcess


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS, *, pause: float = 0.05) -> None:
    """Waits until *condition* holds; fails after *seconds*. Polling takes CPU time from what is waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(pause)


class Api:
    """A client of one API process."""

    def __init__(self, port: int, process: Process) -> None:
        self.process = process
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upsert(self, doc_id: str, text: str) -> Any:
        return self.post("/v1/docs/upsert", {**PLACE, "doc_id": doc_id, "text": text})

    def batch(self, docs: dict[str, str]) -> str:
        items = [{**PLACE, "doc_id": doc_id, "text": text} for doc_id, text in docs.items()]
        job_id: str = self.post("/v1/docs/upsert/batch", {"docs": items, "async_mode": True})["job_id"]
        return job_id

    def delete(self, doc_id: str) -> Any:
        return self.client.delete(f"/v1/docs/{doc_id}", params=PLACE).raise_for_status().json()

    def search(self, query: str, top_k: int = 5, **more: Any) -> list[dict[str, Any]]:
        request = {**PLACE, "query": query, "top_k": top_k, **more}
        chunks: list[dict[str, Any]] = self.post("/v1/search", request)["chunks"]
        return chunks

    def job(self, job_id: str) -> Any:
        return self.get(f"/v1/jobs/{job_id}")

    def wait(self, job_id: str) -> Any:
        until(lambda: self.job(job_id)["status"] not in ("pending", "running"))
        return self.job(job_id)


@contextmanager
def api_process(settings: Settings, *, is_fresh: bool = False) -> Iterator[Api]:
    port = free_port()
    with process(["app_v1.py", "--port", str(port)], settings, is_fresh=is_fresh) as running:
        api = Api(port, running)
        with api.client:
            until(lambda: _is_ready(api))
            yield api


@contextmanager
def worker_process(settings: Settings, *options: str, poll_interval: float = 0.1) -> Iterator[Process]:
    with process(["worker.py", "--poll-interval", str(poll_interval), *options], settings) as worker:
        yield worker


@contextmanager
def process(arguments: Sequence[str], settings: Settings, *, is_fresh: bool = False) -> Iterator[Process]:
    """Runs Python, stopped when the block is left."""
    running = started(arguments, environment(settings), is_fresh=is_fresh)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def finished(
    arguments: Sequence[str], variables: Mapping[str, str], *, is_fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs Python to its end, and returns what it printed."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        running = started(arguments, variables, stdout=stdout.fileno(), stderr=stderr.fileno(), is_fresh=is_fresh)
        try:
            code = running.wait(PATIENCE_SECONDS)
        finally:
            running.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


def started(
    arguments: Sequence[str], variables: Mapping[str, str], *, stdout: int = 1, stderr: int = 2, is_fresh: bool = False
) -> Process:
    """Starts Python in ROOT with these arguments: forked from the zygote where that is possible, unless *is_fresh*."""
    if can_fork(arguments[0]) and not is_fresh:
        return forked(arguments, variables, cwd=ROOT, stdout=stdout, stderr=stderr)
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=dict(variables), stdout=stdout, stderr=stderr)


def _is_ready(api: Api) -> bool:
    """Is the model loaded? With AUTH_MODE=keys health does not say, and the first request that needs it waits."""
    try:
        return bool(api.client.get("/v1/health").json().get("model", "ready") == "ready")
    except httpx.TransportError:
        return False
