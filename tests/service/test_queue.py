"""The queue's verbs, and what they promise when workers die, stall or race."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Event, Thread

import pytest
from sqlalchemy import select, update

from database.engine import Database
from domain import JobStatus
from errors import JobCancelled, LostLease, WorkerStopping
from job_lease import Claim
from job_queue import JobQueue
from migrations.upgrade import bring_up_to_date
from models import EmbeddingVersion, Job, Project, Team, utc_now
from tests.support.processes import until
from tests.support.service import end_leases

LEASE_SECONDS = 1.5


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database.open(database_url) as database:
        bring_up_to_date(database)
        yield database


@pytest.fixture
def queue(database: Database) -> JobQueue:
    return JobQueue(database, lease_seconds=LEASE_SECONDS, max_attempts=3, retry_seconds=0.0)


def tenant(database: Database, name: str) -> Project:
    with database.write() as session:
        if session.get(EmbeddingVersion, "v") is None:
            session.add(EmbeddingVersion(name="v", model="m", is_remote=False, dimension=3))
        team = Team(name=name)
        session.add(team)
        session.flush()
        project = Project(team_id=team.id, id=1, name="p", embedding_version="v")
        session.add(project)
        return project


def ask(queue: JobQueue, project: Project, count: int = 1, **more: str) -> list[str]:
    with queue.database.write() as session:
        return [
            queue.create_job(session, "test", {"n": n}, project=project, dedupe_key=more.get("dedupe_key"))
            for n in range(count)
        ]


def lease_until(database: Database) -> float:
    with database.read() as session:
        return session.scalars(select(Job.lease_until)).one() or 0.0


def claimed(queue: JobQueue, worker: str = "w") -> Claim:
    claim = queue.claim(worker)
    assert claim is not None
    return claim


def finish(queue: JobQueue, claim: Claim) -> None:
    with queue.finish(claim, JobStatus.COMPLETED, result={}):
        pass


def status(queue: JobQueue, job_id: str) -> str:
    return queue.get(job_id)[0].status


def test_a_job_of_a_transaction_that_fails_does_not_exist(queue: JobQueue, database: Database) -> None:
    project = tenant(database, "a")
    with pytest.raises(RuntimeError, match="no"), database.write() as session:
        queue.create_job(session, "test", {}, project=project, dedupe_key=None)
        raise RuntimeError("no")
    assert queue.claim("w") is None


def test_four_workers_and_hundreds_of_jobs_each_job_once(database: Database) -> None:
    projects = [tenant(database, name) for name in "abc"]
    asking = JobQueue(database, lease_seconds=30, max_attempts=3, retry_seconds=0)
    expected = [job for number in range(200) for job in ask(asking, projects[number % 3])]
    done: list[str] = []

    def work(name: str) -> None:
        queue = JobQueue(database, lease_seconds=30, max_attempts=3, retry_seconds=0)
        while (claim := queue.claim(name)) is not None:
            with queue.finish(claim, JobStatus.COMPLETED, result={"worker": name}):
                done.append(claim.job_id)

    workers = [Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Counter(done) == Counter(expected)
    assert asking.stats() == {"pending": 0, "running": 0, "completed": 200, "failed": 0, "cancelled": 0}


def test_a_silent_workers_job_is_taken_over_and_its_late_word_is_refused(queue: JobQueue, database: Database) -> None:
    ask(queue, tenant(database, "a"))
    slow = claimed(queue, "slow")
    assert queue.claim("other") is None
    end_leases(database)
    heir = claimed(queue, "other")
    assert (heir.job_id, heir.attempt) == (slow.job_id, 2)
    for late_word in (
        lambda: finish(queue, slow),
        lambda: queue.renew(slow),
        lambda: queue.retry(slow, "late"),
        lambda: queue.give_back(slow),
    ):
        with pytest.raises(LostLease):
            late_word()
    finish(queue, heir)
    assert status(queue, heir.job_id) == "completed"


def test_what_a_lost_step_wrote_is_not_kept(queue: JobQueue, database: Database) -> None:
    ask(queue, tenant(database, "a"))
    slow = claimed(queue, "slow")
    end_leases(database)
    claimed(queue, "other")
    with pytest.raises(LostLease), queue.step(slow, progress=50, result={}) as session:
        session.add(Team(name="written too late"))
    with database.read() as session:
        assert session.scalar(select(Team).where(Team.name == "written too late")) is None


def test_a_heartbeat_holds_the_job_longer_than_its_lease(queue: JobQueue, database: Database) -> None:
    ask(queue, tenant(database, "a"))
    with queue.lease(claimed(queue), Event()) as lease:
        end_leases(database)
        ended = lease_until(database)
        until(lambda: lease_until(database) > ended)
        assert queue.claim("other") is None
        lease.check()


def test_a_job_cancelled_while_it_runs_learns_of_it(queue: JobQueue, database: Database) -> None:
    [job_id] = ask(queue, tenant(database, "a"))
    with queue.lease(claimed(queue), Event()) as lease:
        with database.write() as session:
            has_ended, job = queue.cancel(session, job_id)
            assert (has_ended, job.status) == (False, "running")
        with pytest.raises(JobCancelled):
            until(lambda: bool(lease.check()))  # type: ignore[func-returns-value]


def test_a_stopping_worker_gives_its_job_back_without_losing_a_try(queue: JobQueue, database: Database) -> None:
    ask(queue, tenant(database, "a"))
    stopping = Event()
    claim = claimed(queue)
    with queue.lease(claim, stopping) as lease:
        stopping.set()
        with pytest.raises(WorkerStopping):
            lease.check()
    queue.give_back(claim)
    assert claimed(queue, "next").attempt == 1


def test_tenants_take_turns_however_long_one_queue_is(queue: JobQueue, database: Database) -> None:
    busy, calm = tenant(database, "busy"), tenant(database, "calm")
    ask(queue, busy, 20)
    ask(queue, calm, 3)
    order = []
    for _ in range(6):
        claim = claimed(queue)
        order.append(claim.team_id)
        finish(queue, claim)
    assert order == [busy.team_id, calm.team_id] * 3


def test_a_tenants_jobs_run_in_the_order_of_their_asking(queue: JobQueue, database: Database) -> None:
    expected = ask(queue, tenant(database, "a"), 5)
    order = []
    while (claim := queue.claim("w")) is not None:
        order.append(claim.job_id)
        finish(queue, claim)
    assert order == expected


def test_the_same_key_waits_once_and_may_be_asked_again_once_it_runs(queue: JobQueue, database: Database) -> None:
    project = tenant(database, "a")
    [first] = ask(queue, project, dedupe_key="k")
    assert ask(queue, project, dedupe_key="k") == [first]
    assert ask(queue, project, dedupe_key="other") != [first]
    running = claimed(queue)
    [second] = ask(queue, project, dedupe_key="k")
    assert second != first
    queue.retry(running, "the newer one does it")
    assert (status(queue, first), status(queue, second)) == ("cancelled", "pending")
    assert second in (queue.get(first)[0].error or "")


def test_a_cancelled_job_is_not_tried_again(queue: JobQueue, database: Database) -> None:
    [job_id] = ask(queue, tenant(database, "a"))
    claim = claimed(queue)
    with database.write() as session:
        queue.cancel(session, job_id)
    for verb in (lambda: queue.retry(claim, "no luck"), lambda: queue.give_back(claim)):
        with pytest.raises(JobCancelled):
            verb()
    with pytest.raises(JobCancelled), queue.step(claim, progress=10, result={}):
        raise AssertionError("the step began")


def test_pauses_between_tries_grow(database: Database) -> None:
    queue = JobQueue(database, lease_seconds=30, max_attempts=9, retry_seconds=2.0)
    [job_id] = ask(queue, tenant(database, "a"))
    pauses = []
    for _ in range(4):
        pauses.append(queue.retry(claimed(queue), "no luck"))
        assert queue.claim("w") is None
        with database.write() as session:
            session.execute(update(Job).values(run_after=0))
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert queue.get(job_id)[0].error == "no luck"


def test_progress_never_falls(queue: JobQueue, database: Database) -> None:
    [job_id] = ask(queue, tenant(database, "a"))
    claim = claimed(queue)
    for progress in (10, 60, 30):
        with queue.step(claim, progress=progress, result={}):
            pass
    assert queue.get(job_id)[0].progress == 60


def test_finished_jobs_are_forgotten_and_others_are_not(queue: JobQueue, database: Database) -> None:
    old, young = ask(queue, tenant(database, "a"), 2)
    finish(queue, claimed(queue))
    with database.write() as session:
        long_ago = utc_now().replace(year=2000)
        session.execute(update(Job).values(completed_at=long_ago, created_at=long_ago).where(Job.job_id == old))
    assert queue.prune(keep_days=1) == 1
    assert status(queue, young) == "pending"
