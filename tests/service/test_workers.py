"""Who works here: workers sign on, beat and sign off, and health minds jobs that nobody works on."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from database.dialects import epoch_now
from database.engine import Database
from models import Job, WorkerRow, utc_now
from tests.support.plans import executed
from tests.support.processes import until, worker_process
from tests.support.service import Service, open_service, settings_in

SILENCE = 60.0


def make_old(database: Database, *, job_seconds: float = 0, worker_seconds: float = 0) -> None:
    """The jobs have waited, and the workers were last seen, that long ago."""
    with database.write() as session:
        session.execute(update(Job).values(run_after=Job.run_after - job_seconds))
        session.execute(update(Job).where(Job.lease_until.is_not(None)).values(lease_until=epoch_now() - job_seconds))
        session.execute(update(WorkerRow).values(seen_at=utc_now() - timedelta(seconds=worker_seconds)))


def test_health_fails_once_jobs_have_waited_and_no_worker_was_seen(service: Service) -> None:
    with service.restarted(worker_silence_seconds=SILENCE) as watched:
        database, workers = watched.runtime.database, watched.runtime.operations.workers
        health = watched.get("/v1/health")
        assert (health["ok"], health["workers_ok"], health["workers"]) == (True, True, []), "no job waits"
        watched.batch({"doc": "Cats sleep."}, async_mode=True)
        assert watched.get("/v1/health")["ok"], "it has only begun to wait"
        make_old(database, job_seconds=90)
        problem = "1 job has waited for 90 s, and no worker was seen in that time: start one with python worker.py"
        health = watched.get("/v1/health", expect=503)
        assert (health["jobqueue_ok"], health["workers_ok"]) == (True, False)
        assert health["problems"][0].startswith(problem)

        workers.beat("w", doing="rebuild_index")
        health = watched.get("/v1/health")
        [worker] = health["workers"]
        assert (health["ok"], worker["name"], worker["doing"]) == (True, "w", "rebuild_index")
        assert worker["pid"] and worker["host"] and worker["version"]
        make_old(database, worker_seconds=70)  # killed: it says nothing more
        assert "waited for 70 s" in watched.get("/v1/health", expect=503)["problems"][0]

        workers.beat("w")
        workers.sign_off("w")
        health = watched.get("/v1/health")
        assert (health["ok"], health["workers"]) == (True, []), "a restart is no silence"
        watched.work()
        make_old(database, worker_seconds=70)
        assert watched.get("/v1/health")["ok"], "no job waits"


def test_a_job_that_a_dead_worker_holds_waits_too(service: Service) -> None:
    with service.restarted(worker_silence_seconds=SILENCE) as watched:
        watched.batch({"doc": "Cats sleep."}, async_mode=True)
        assert watched.runtime.queue.claim("dies at once") is not None
        assert watched.get("/v1/health")["ok"]
        make_old(watched.runtime.database, job_seconds=75)
        assert "1 job has waited for 75 s" in watched.get("/v1/health", expect=503)["problems"][0]


def test_health_reads_no_job_while_a_worker_lives(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, worker_silence_seconds=SILENCE)) as watched:
        watched.runtime.operations.workers.beat("w")
        with executed() as seen:
            for _ in range(3):
                watched.get("/v1/health")
        assert seen.texts
        assert not [statement for statement in seen.texts if " jobs" in statement]
        watched.batch({"doc": "Cats sleep."}, async_mode=True)
        make_old(watched.runtime.database, job_seconds=90, worker_seconds=90)
        with executed() as seen:
            for _ in range(3):
                watched.get("/v1/health", expect=503)
        assert seen.texts and seen.walks() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_stopped_signs_off_and_one_that_is_killed_falls_silent(
    remote_service: Service, number: int
) -> None:
    workers = remote_service.runtime.operations.workers
    with worker_process(remote_service.settings) as process:
        until(lambda: workers.present() != [])
        assert (workers.present()[0].pid, workers.is_any_alive()) == (process.pid, True)
        process.send_signal(number)
        process.wait()
        assert len(workers.present()) == (1 if number == signal.SIGKILL else 0)
    make_old(remote_service.runtime.database, worker_seconds=40)
    assert not workers.is_any_alive()
