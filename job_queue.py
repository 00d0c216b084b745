"""The job queue: a table, a lease, and few verbs.

create_job and cancel join the caller's transaction. Every write of a worker is one statement on the condition
that the job is still that worker's, in that attempt (job_lease.py): one that was only slow cannot overwrite its
successor. A worker that dies holds nothing but a lease, which runs out.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, case, delete, func, insert, or_, select, true, update
from sqlalchemy.orm import Session

from database.dialects import epoch_now, insert_or_ignore
from database.engine import Database
from database.repeating import repeatable
from domain import JobStatus, Json
from errors import NotFound
from job_lease import Claim, Lease, held, is_abandoned, lost, release, take, waits, write
from models import Job, Project, Team, WorkerRow, utc_now
from times import shifted

FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
LONGEST_PAUSE_SECONDS = 300.0


class JobQueue:
    """Hands each job to one worker at a time, for as long as the lease lasts."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float,
        max_attempts: int,
        retry_seconds: float,
        slice_seconds: float = math.inf,
    ) -> None:
        self.database = database
        self.lease_seconds = lease_seconds
        self.slice_seconds = slice_seconds
        self.max_attempts = max_attempts
        self.retry_seconds = retry_seconds
        self._last_team = -1

    # Asking for work

    def create_job(
        self,
        session: Session,
        type: str,
        payload: Mapping[str, Any],
        *,
        project: Project,
        dedupe_key: str | None = None,
    ) -> str:
        """Ask for work in the caller's transaction. Returns the id of the job, or of the one that already waits.

        Jobs with the same *dedupe_key* in a project are one job for as long as it is waiting.
        """
        values = {
            "team_id": project.team_id,
            "project_id": project.id,
            "job_id": str(uuid.uuid4()),
            "type": type,
            "payload_json": dict(payload),
            "dedupe_key": dedupe_key,
            "run_after": epoch_now(),
        }
        session.flush()  # the project may be new: its row goes first
        if dedupe_key is None:
            return session.scalars(insert(Job).values(**values).returning(Job.job_id)).one()
        return _the_one_that_waits(session, values)

    def cancel(self, session: Session, job_id: str, *, tenant_id: str | None = None) -> Job:
        """A waiting job is cancelled at once, a running one at its next step, a finished one stays as it is.

        With *tenant_id*, here and below, jobs of others do not exist.
        """
        is_waiting = Job.status == JobStatus.PENDING
        change = {
            "status": case((is_waiting, JobStatus.CANCELLED), else_=Job.status),
            "completed_at": case((is_waiting, utc_now()), else_=Job.completed_at),
            "cancel_requested": True,
            "updated_at": utc_now(),
        }
        wanted = and_(Job.job_id == job_id, _is_of(tenant_id))
        session.execute(update(Job).where(wanted, Job.status.not_in(FINISHED)).values(**change))
        job = session.scalar(select(Job).where(wanted))
        if job is None:
            raise _no_such_job(job_id)
        return job

    # Looking at it

    @repeatable
    def get(self, job_id: str, *, tenant_id: str | None = None) -> tuple[Job, Project, Team]:
        with self.database.read() as session:
            wanted = and_(Job.job_id == job_id, _is_of(tenant_id))
            found = session.execute(_with_place().where(wanted)).one_or_none()
        if found is None:
            raise _no_such_job(job_id)
        return tuple(found)

    @repeatable
    def page(
        self,
        *,
        limit: int,
        after: str | None = None,
        status: str | None = None,
        type: str | None = None,
        tenant_id: str | None = None,
        namespace: str | None = None,
    ) -> list[tuple[Job, Project, Team]]:
        """The newest jobs first, from behind the job *after* on; at most *limit* of them."""
        wanted = {Job.status: status, Job.type: type, Team.name: tenant_id, Project.name: namespace}
        query = _with_place().where(*(column == value for column, value in wanted.items() if value is not None))
        with self.database.read() as session:
            if after is not None:
                last = session.scalar(select(Job).where(Job.job_id == after, _is_of(tenant_id)))
                if last is None:
                    raise NotFound(f"The cursor {after!r} is no job any more: start again without it.", param="after")
                older = and_(Job.created_at == last.created_at, Job.job_id < last.job_id)
                query = query.where(or_(Job.created_at < last.created_at, older))
            newest_first = query.order_by(Job.created_at.desc(), Job.job_id.desc()).limit(limit)
            return [tuple(row) for row in session.execute(newest_first)]

    @repeatable
    def stats(self, *, tenant_id: str | None = None) -> dict[str, int]:
        with self.database.read() as session:
            query = select(Job.status, func.count()).where(_is_of(tenant_id))
            rows = session.execute(query.group_by(Job.status))
            counted: dict[str, int] = {status: count for status, count in rows}
        return {status.value: counted.get(status.value, 0) for status in JobStatus}

    # Doing it

    def claim(self, worker: str) -> Claim | None:
        """Take the oldest job that can run, of the tenant whose turn it is; or one whose worker fell silent.

        Turns go round the tenants that have jobs waiting, so that a long queue of one does not starve another.
        An idle poll reads one index and writes nothing.
        """
        with self.database.read() as session:
            if session.scalar(select(Job.job_id).where(or_(waits(), is_abandoned())).limit(1)) is None:
                return None
        job = self._claim_one(is_abandoned(), worker) or self._claim_one(waits(), worker)
        if job is None:
            return None
        self._last_team = job.team_id
        return Claim(
            team_id=job.team_id,
            job_id=job.job_id,
            project_id=job.project_id,
            type=job.type,
            payload=job.payload_json,
            attempt=job.attempts,
            worker=worker,
            result=job.result_json or {},
            cancel_requested=job.cancel_requested,
        )

    def _claim_one(self, which: ColumnElement[bool], worker: str) -> Job | None:
        """Of one tenant at a time: where tenants are spread over servers, one of them can lock it."""
        tried: list[int] = []  # others were quicker there
        while (team_id := self._whose_turn(which, tried)) is not None:
            with self.database.write() as session:
                job = take(session, and_(Job.team_id == team_id, which), worker, self.lease_seconds)
            if job is not None:
                return job
            tried.append(team_id)
        return None

    def _whose_turn(self, which: ColumnElement[bool], tried: list[int]) -> int | None:
        query = select(Job.team_id).where(which, Job.team_id.not_in(tried)).order_by(Job.team_id).limit(1)
        with self.database.read() as session:
            following = session.scalar(query.where(Job.team_id > self._last_team))
            return session.scalar(query) if following is None else following

    def others_wait(self, claim: Claim) -> bool:
        """Is there a job of another tenant that nobody works on? The tenant's own may be many: they are not read."""
        with self.database.read() as session:
            return any(
                session.scalar(select(Job.job_id).where(which, is_other).limit(1)) is not None
                for which in (waits(), is_abandoned())
                for is_other in (Job.team_id > claim.team_id, Job.team_id < claim.team_id)
            )

    def renew(self, claim: Claim) -> bool:
        """Hold the job for another lease. Returns whether somebody wants it cancelled; raises LostLease."""
        with self.database.write() as session:
            query = held(claim).values(lease_until=epoch_now() + self.lease_seconds)
            cancel_requested: bool | None = session.scalar(query.returning(Job.cancel_requested))
            session.execute(update(WorkerRow).where(WorkerRow.name == claim.worker).values(seen_at=utc_now()))
        if cancel_requested is None:
            raise lost(claim)
        return cancel_requested

    @contextmanager
    def step(self, claim: Claim, *, progress: int, result: Json) -> Iterator[Session]:
        """A transaction of the job's work, kept only if the job is still this worker's.

        *progress* (0 to 100, never falling) and *result* so far are kept with it.
        """
        with self.database.write() as session:
            shown = case((Job.progress < progress, progress), else_=Job.progress)
            write(session, claim, {"progress": shown, "result_json": result})
            yield session

    @contextmanager
    def finish(
        self, claim: Claim, status: JobStatus, *, result: Json | None = None, error: str | None = None
    ) -> Iterator[Session]:
        """The job's last transaction: what it does is committed together with how the job ended."""
        values: dict[str, Any] = {"status": status, "error": error, "lease_until": None, "completed_at": utc_now()}
        if result is not None:
            values["result_json"] = result
        if status == JobStatus.COMPLETED:
            values["progress"] = 100
        with self.database.write() as session:
            write(session, claim, values, is_last=True)
            yield session

    def retry(self, claim: Claim, error: str) -> float:
        """Give the job back for another try. Returns the pause before it, in seconds: it doubles each time."""
        pause = min(self.retry_seconds * 2.0 ** (claim.attempt - 1), LONGEST_PAUSE_SECONDS)
        with self.database.write() as session:
            release(session, claim, {"error": error, "run_after": epoch_now() + pause})
        return pause

    def give_back(self, claim: Claim) -> None:
        """Let any worker go on at once where this one leaves off. It does not count as a try.

        The job keeps its place among its tenant's; between tenants, others have their turn first.
        """
        with self.database.write() as session:
            release(session, claim, {"attempts": Job.attempts - 1})

    @contextmanager
    def lease(self, claim: Claim, stopping: Event) -> Iterator[Lease]:
        """Keep the claim alive by a thread of its own for as long as the body runs."""
        lease = Lease(self, claim, stopping)
        heart = Thread(target=lease.beat, name=f"heartbeat-{claim.job_id}", daemon=True)
        heart.start()
        try:
            yield lease
        finally:
            lease.is_over.set()
            heart.join()

    # Keeping the house

    def prune(self, keep_days: float) -> int:
        """Forget jobs that were finished longer ago than that. Returns how many."""
        before = shifted(utc_now(), days=-keep_days)
        with self.database.write() as session:
            done = session.execute(delete(Job).where(Job.status.in_(FINISHED), Job.completed_at < before))
        assert isinstance(done, CursorResult)
        return done.rowcount

    def report_worker(self, name: str) -> None:
        """Note that a worker is alive, for whoever asks why jobs wait."""
        with self.database.write() as session:
            row = session.get(WorkerRow, name) or WorkerRow(name=name, started_at=utc_now())
            row.seen_at = utc_now()
            session.add(row)
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < utc_now() - timedelta(days=1)))

    def forget_worker(self, name: str) -> None:
        with self.database.write() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.name == name))

    def workers(self) -> list[WorkerRow]:
        """The workers that were seen in the last day and did not say goodbye, the one seen last first."""
        with self.database.read() as session:
            return list(session.scalars(select(WorkerRow).order_by(WorkerRow.seen_at.desc())))


def _the_one_that_waits(session: Session, values: Mapping[str, Any]) -> str:
    same = and_(
        Job.team_id == values["team_id"],
        Job.project_id == values["project_id"],
        Job.dedupe_key == values["dedupe_key"],
    )
    waiting: str | None = None
    while waiting is None:  # the one that waited may have been claimed before it could be read
        waiting = session.scalar(insert_or_ignore(session, Job).values(**values).returning(Job.job_id))
        waiting = waiting or session.scalar(select(Job.job_id).where(same, Job.status == JobStatus.PENDING))
    return waiting


def _with_place() -> Any:
    place = and_(Project.team_id == Job.team_id, Project.id == Job.project_id)
    return select(Job, Project, Team).join(Project, place).join(Team, Team.id == Job.team_id)


def _is_of(tenant_id: str | None) -> ColumnElement[bool]:
    if tenant_id is None:
        return true()
    return Job.team_id == select(Team.id).where(Team.name == tenant_id).scalar_subquery()


def _no_such_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id!r}. Finished jobs are forgotten after a while.", param="job_id")
