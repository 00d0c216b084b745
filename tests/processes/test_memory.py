"""A process that may take so much memory and no more refuses what does not fit, and goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.processes.test_worker import failing, queued_rebuild, run
from tests.support.processes import api_process
from tests.support.service import PLACE, Service, settings_in


def test_a_request_that_takes_too_much_memory_is_answered_503_and_the_api_lives(tmp_path: Path) -> None:
    lists = b'{"documents": [' + b"[]," * 15_000_000 + b"[]]}"  # 45 MB, and twenty times that as objects
    with api_process(settings_in(tmp_path, memory_limit_mb=1000, max_body_mb=512), is_fresh=True) as api:
        refused = api.client.post("/v1/docs/upsert/batch", content=lists)
        assert refused.status_code == 503, refused.text
        assert "MEMORY_LIMIT_MB" in refused.json()["detail"]
        assert "retry-after" in refused.headers
        api.upsert("doc", "Cats sleep.")
        assert api.client.post("/v1/search", json={**PLACE, "query": "cats"}).json()["chunks"][0]["doc_id"] == "doc"


def test_a_job_that_takes_too_much_memory_ends_failed_and_says_so(service: Service) -> None:
    job_id = queued_rebuild(service)
    run(service, failing(99, MemoryError()))
    job = service.job(job_id)
    assert (job["status"], job["error"]) == (
        "failed",
        "This needs more memory than the worker has, or may take (MEMORY_LIMIT_MB).",
    )


def test_a_process_may_open_as_many_files_as_the_system_lets_it() -> None:
    program = (
        "import resource as r; from runtime.memory import allow_open_files; "
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard)); allow_open_files(); "
        "assert r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
