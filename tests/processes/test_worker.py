"""A worker ends every job one way or the other, and says so."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

import pytest

from domain import Json
from errors import ServiceError
from handlers import Handler
from job_lease import Lease
from runtime.parts import Runtime
from tests.support.processes import PATIENCE_SECONDS, api_process, process, until, worker_process
from tests.support.prose import prose
from tests.support.service import PLACE, Service
from worker import Worker


class Hiccup(ServiceError):
    """Something that may go better next time."""


def failing(times: int, error: Exception) -> Mapping[str, Handler]:
    left = [times]

    def handler(_runtime: Runtime, _lease: Lease) -> Json:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return {"tries": times + 1}

    return {"rebuild_index": handler}


def queued_rebuild(service: Service) -> str:
    service.upsert("cats", "Cats sleep.")
    return str(service.post("/v1/index/rebuild", PLACE)["job_id"])


def run(service: Service, handlers: Mapping[str, Handler]) -> None:
    worker = Worker(service.runtime, handlers, name="test")
    while worker.run_one():
        pass


def test_a_job_that_fails_for_a_while_is_tried_until_it_succeeds(service: Service) -> None:
    job_id = queued_rebuild(service)
    run(service, failing(2, Hiccup("not now")))
    job = service.job(job_id)
    assert (job["status"], job["attempts"], job["result"], job["error"]) == ("completed", 3, {"tries": 3}, None)


def test_a_job_that_always_fails_ends_failed_with_its_error(service: Service) -> None:
    job_id = queued_rebuild(service)
    run(service, failing(99, RuntimeError("broken for good")))
    job = service.job(job_id)
    assert (job["status"], job["attempts"]) == ("failed", service.settings.job_max_attempts)
    assert job["error"].startswith("RuntimeError inside the service")
    assert "broken for good" not in str(job)


def test_a_job_that_fails_after_it_was_cancelled_is_cancelled(service: Service) -> None:
    job_id = service.batch({"doc": "Cats sleep."}, async_mode=True)["job_id"]

    def cancelled_then_broken(_runtime: Runtime, _lease: Lease) -> Json:
        service.post(f"/v1/jobs/{job_id}/cancel", {})
        raise Hiccup("not now")

    run(service, {"ingest_docs": cancelled_then_broken})
    assert service.job(job_id)["status"] == "cancelled"
    service.work()
    assert service.hit_ids("cats") == []


def test_rebuilds_that_cannot_write_do_not_pile_up(service: Service) -> None:
    service.batch({f"doc-{number}": f"Text number {number}." for number in range(5)})
    service.settings.index_dir.write_text("a file where the folder should be")
    for number in range(5):
        service.delete(f"doc-{number}")
        service.worker.run_one()
    assert service.get("/v1/queue/stats")["pending"] <= 1


def test_a_failed_batch_tells_its_documents_why(service: Service) -> None:
    job_id = service.batch({"doc": "Cats sleep."}, async_mode=True)["job_id"]
    worker = Worker(service.runtime, {}, name="older")
    assert worker.run_one()
    assert service.job(job_id)["status"] == "failed"
    doc = service.doc("doc")
    assert doc["status"] == "failed"
    assert "has no handler for jobs of type 'ingest_docs'" in doc["error"]


def test_a_job_that_kills_its_workers_is_given_up(service: Service) -> None:
    job_id = queued_rebuild(service)
    with service.restarted(job_lease_seconds=0.01, job_max_attempts=2) as fatal:
        for _ in range(2):
            assert fatal.runtime.queue.claim("dies at once") is not None
            time.sleep(0.05)
        fatal.work()
        job = fatal.job(job_id)
    assert job["status"] == "failed"
    assert "2 workers died" in job["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_finishes_its_job_and_exits_well(remote_service: Service, number: int) -> None:
    with worker_process(remote_service.settings.model_copy(update={"worker_stop_seconds": PATIENCE_SECONDS})) as worker:
        job_id = remote_service.batch({f"doc-{n}": prose(n) for n in range(40)}, async_mode=True)["job_id"]
        until(lambda: remote_service.job(job_id)["status"] == "running")
        worker.send_signal(number)
        assert worker.wait(PATIENCE_SECONDS) == 0
    assert remote_service.job(job_id)["status"] == "completed"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5])
def test_a_worker_that_is_stopped_while_its_model_loads_exits_well(service: Service, seconds: float) -> None:
    """Even where closing does not wait for the model, as it does not for one that takes long."""
    impatient = "import services.index.embedding as e; e.CLOSING_SECONDS = 0.0; import worker; worker.main()"
    command = ["-c", impatient, "--poll-interval", "0.05"]
    with process(command, service.settings) as worker:
        until(lambda: service.runtime.operations.workers.present() != [])
        time.sleep(seconds)
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0


def test_an_idle_worker_is_seen_finds_a_new_job_by_itself_and_says_goodbye(remote_service: Service) -> None:
    with worker_process(remote_service.settings, poll_interval=0.2):
        until(lambda: remote_service.runtime.operations.workers.present() != [])
        job_id = remote_service.batch({"doc": "Cats sleep."}, async_mode=True)["job_id"]
        until(lambda: remote_service.job(job_id)["status"] not in ("pending", "running"))
        assert remote_service.job(job_id)["status"] == "completed"
    assert remote_service.runtime.operations.workers.present() == []


def test_a_cancelled_running_batch_keeps_what_was_published(remote_service: Service) -> None:
    with worker_process(remote_service.settings.model_copy(update={"job_lease_seconds": 0.5})):
        job_id = remote_service.batch({f"doc-{n:03d}": prose(n, 60) for n in range(100)}, async_mode=True)["job_id"]
        until(lambda: 0 < remote_service.job(job_id)["progress"] < 100)
        remote_service.post(f"/v1/jobs/{job_id}/cancel", {})
        until(lambda: remote_service.job(job_id)["status"] == "cancelled")
    docs = remote_service.get("/v1/docs", {**PLACE, "limit": 1000})["data"]
    by_status = {status: [d for d in docs if d["status"] == status] for status in ("ready", "failed")}
    assert len(by_status["ready"]) + len(by_status["failed"]) == 100
    assert by_status["ready"]
    assert all(doc["error"] == "Cancelled on request." for doc in by_status["failed"])
    assert remote_service.problems() == []


def test_two_apis_and_a_worker_see_each_other_in_the_next_request(remote_service: Service) -> None:
    settings = remote_service.settings
    with api_process(settings) as one, api_process(settings) as two, worker_process(settings):
        for number in range(10):
            one.upsert("doc", f"Text number {number}.")
            assert [chunk["text"] for chunk in two.search("text")] == [f"Text number {number}."]
            two.delete("doc")
            assert one.search("text") == []
        job = one.batch({f"doc-{n}": prose(n) for n in range(20)})
        assert two.wait(job)["status"] == "completed"
        assert len(one.search("winter", top_k=30)) == 20
    assert remote_service.problems() == []
