"""Real processes on a real port, for tests of crashes and of several processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from settings import Settings
from tests.support.postgres import free_port
from tests.support.service import PLACE, environment

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180.0


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS, *, pause: float = 0.05) -> None:
    """Waits until *condition* holds; fails after *seconds*. Polling takes CPU time from what is waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(pause)


class Api:
    """A client of one API process."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
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
def api_process(settings: Settings) -> Iterator[Api]:
    port = free_port()
    with process([sys.executable, "app_v1.py", "--port", str(port)], settings) as running:
        api = Api(port, running)
        with api.client:
            until(lambda: _is_ready(api))
            yield api


@contextmanager
def worker_process(settings: Settings, *options: str, poll_interval: float = 0.1) -> Iterator[subprocess.Popen[bytes]]:
    with process([sys.executable, "worker.py", "--poll-interval", str(poll_interval), *options], settings) as worker:
        yield worker


@contextmanager
def process(command: list[str], settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process, which is stopped when the block is left."""
    running = subprocess.Popen(command, cwd=ROOT, env=environment(settings))
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _is_ready(api: Api) -> bool:
    """Is the model loaded? With AUTH_MODE=keys health does not say, and the first request that needs it waits."""
    try:
        return bool(api.client.get("/v1/health").json().get("model", "ready") == "ready")
    except httpx.TransportError:
        return False
