"""The job queue: a table, a lease, and a few verbs.

create_job and cancel join the caller's transaction. Every write of a worker is one statement, conditional on the job
still belonging to that worker and attempt (job_lease.py), so a slow worker cannot overwrite its successor. A worker
that dies holds nothing but a lease, which expires.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, case, delete, func, insert, or_, select, true, update
from sqlalchemy.orm import Session

from database.dialects import epoch_now, insert_or_ignore
from database.engine import Database
from database.repeating import repeatable
from domain import JobStatus, Json, ListedStatus
from errors import NotFound
from event_log import record_finished
from job_lease import (
    Claim,
    Estimate,
    Lease,
    RunGuest,
    claim_oldest,
    is_abandoned,
    is_due,
    lost_lease,
    release,
    update_held,
    write,
)
from logs import request_id
from models import Job, Project, Team, utc_now
from times import shifted
from tracing import traceparent

FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
LONGEST_PAUSE_SECONDS = 300.0


class JobQueue:
    """Gives each job to one worker at a time, for the duration of its lease."""

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

    # Creating and cancelling

    def create_job(
        self,
        session: Session,
        type: str,
        payload: Mapping[str, Any],
        *,
        project: Project,
        dedupe_key: str | None = None,
    ) -> str:
        """Create a job in the caller's transaction. Returns its id, or that of the pending job with the same key.

        A project has at most one pending job per *dedupe_key*.
        """
        values = {
            "team_id": project.team_id,
            "project_id": project.id,
            "job_id": str(uuid.uuid4()),
            "type": type,
            "payload_json": dict(payload),
            "dedupe_key": dedupe_key,
            "request_id": request_id.get(),
            "traceparent": traceparent(),
            "run_after": epoch_now(),
        }
        session.flush()  # a new project's row must be inserted first
        if dedupe_key is None:
            return session.scalars(insert(Job).values(**values).returning(Job.job_id)).one()
        return _insert_or_get_pending(session, values)

    def cancel(self, session: Session, job_id: str, *, tenant_id: str | None = None) -> tuple[bool, Job]:
        """Cancels a pending job at once and a running one at its next step; a finished one stays unchanged.

        Returns whether that has ended it, and the job.
        With *tenant_id*, here and below, jobs of other tenants do not exist.
        """
        is_waiting = Job.status == JobStatus.PENDING
        change = {
            "status": case((is_waiting, JobStatus.CANCELLED), else_=Job.status),
            "completed_at": case((is_waiting, utc_now()), else_=Job.completed_at),
            "cancel_requested": True,
            "updated_at": utc_now(),
        }
        is_job = and_(Job.job_id == job_id, _belongs_to(tenant_id))
        changed = update(Job).where(is_job, Job.status.not_in(FINISHED)).values(**change).returning(Job.status)
        has_ended = session.scalar(changed) == JobStatus.CANCELLED
        job = session.scalar(select(Job).where(is_job))
        if job is None:
            raise _no_such_job(job_id)
        return has_ended, job

    # Reading

    @repeatable
    def get(self, job_id: str, *, tenant_id: str | None = None) -> tuple[Job, Project, Team]:
        with self.database.read() as session:
            is_job = and_(Job.job_id == job_id, _belongs_to(tenant_id))
            row = session.execute(_jobs_with_namespace().where(is_job)).one_or_none()
        if row is None:
            raise _no_such_job(job_id)
        return tuple(row)

    @repeatable
    def page(
        self,
        *,
        limit: int,
        after: str | None = None,
        status: ListedStatus | None = None,
        type: str | None = None,
        tenant_id: str | None = None,
        namespace: str | None = None,
    ) -> list[tuple[Job, Project, Team]]:
        """At most *limit* jobs, newest first, starting behind the job *after*."""
        filters = {Job.type: type, Team.name: tenant_id, Project.name: namespace}
        conditions = [column == value for column, value in filters.items() if value is not None]
        query = _jobs_with_namespace().where(*conditions, _has_status(status))
        with self.database.read() as session:
            if after is not None:
                last = session.scalar(select(Job).where(Job.job_id == after, _belongs_to(tenant_id)))
                if last is None:
                    raise NotFound(f"The cursor {after!r} is no longer a job: start again without it.", param="after")
                is_older_sibling = and_(Job.created_at == last.created_at, Job.job_id < last.job_id)
                query = query.where(or_(Job.created_at < last.created_at, is_older_sibling))
            newest_first = query.order_by(Job.created_at.desc(), Job.job_id.desc()).limit(limit)
            return [tuple(row) for row in session.execute(newest_first)]

    @repeatable
    def stats(self, *, tenant_id: str | None = None) -> dict[str, int]:
        with self.database.read() as session:
            query = select(Job.status, func.count()).where(_belongs_to(tenant_id))
            rows = session.execute(query.group_by(Job.status))
            counts: dict[str, int] = {status: count for status, count in rows}
        return {status.value: counts.get(status.value, 0) for status in JobStatus}

    # Working

    def claim(self, worker: str, *, except_team: int | None = None) -> Claim | None:
        """Claim an abandoned job, or the oldest due job of the tenant whose turn it is; none of *except_team*.

        Tenants with pending jobs take turns (round-robin), so that a long queue does not starve other tenants. An idle
        poll reads one index and writes nothing.
        """
        with self.database.read() as session:
            if session.scalar(select(Job.job_id).where(or_(is_due(), is_abandoned())).limit(1)) is None:
                return None
        skipped = [] if except_team is None else [except_team]
        claim = self._claim_one(is_abandoned(), worker, skipped) or self._claim_one(is_due(), worker, skipped)
        if claim is not None:
            self._last_team = claim.team_id
        return claim

    def _claim_one(self, condition: ColumnElement[bool], worker: str, skipped: Sequence[int]) -> Claim | None:
        """Tries one tenant at a time: with tenants sharded over servers, one server can lock the row."""
        skipped = list(skipped)  # and tenants whose jobs other workers claimed first
        while (team_id := self._whose_turn(condition, skipped)) is not None:
            with self.database.write() as session:
                claim = claim_oldest(session, and_(Job.team_id == team_id, condition), worker, self.lease_seconds)
            if claim is not None:
                return claim
            skipped.append(team_id)
        return None

    def _whose_turn(self, condition: ColumnElement[bool], skipped: list[int]) -> int | None:
        query = select(Job.team_id).where(condition, Job.team_id.not_in(skipped)).order_by(Job.team_id).limit(1)
        with self.database.read() as session:
            next_team = session.scalar(query.where(Job.team_id > self._last_team))
            return session.scalar(query) if next_team is None else next_team

    def has_waiting_others(self, claim: Claim) -> bool:
        """Whether another tenant has a job that no worker has. Never reads the tenant's own jobs, which may be many."""
        with self.database.read() as session:
            return any(
                session.scalar(select(Job.job_id).where(condition, is_other).limit(1)) is not None
                for condition in (is_due(), is_abandoned())
                for is_other in (Job.team_id > claim.team_id, Job.team_id < claim.team_id)
            )

    def renew(self, claim: Claim) -> bool:
        """Extend the lease. Returns whether cancellation was requested. Raises LostLease."""
        with self.database.write() as session:
            query = update_held(claim).values(lease_until=epoch_now() + self.lease_seconds)
            cancel_requested: bool | None = session.scalar(query.returning(Job.cancel_requested))
        if cancel_requested is None:
            raise lost_lease(claim)
        return cancel_requested

    @contextmanager
    def step(self, claim: Claim, *, progress: int, result: Json, estimate: Estimate | None = None) -> Iterator[Session]:
        """A transaction of the job's work, committed only if this worker still holds the job.

        Stores *progress* (0 to 100, never decreasing), the *result* so far and, if given, the *estimate*.
        """
        with self.database.write() as session:
            new_progress = case((Job.progress < progress, progress), else_=Job.progress)
            estimated = {} if estimate is None else estimate._asdict()
            write(session, claim, {"progress": new_progress, "result_json": result, **estimated})
            yield session

    @contextmanager
    def finish(
        self, claim: Claim, status: JobStatus, *, result: Json | None = None, error: str | None = None
    ) -> Iterator[Session]:
        """The job's last transaction: commits its work together with the job's status."""
        values: dict[str, Any] = {"status": status, "error": error, "lease_until": None, "completed_at": utc_now()}
        values["seconds_left"] = None
        if result is not None:
            values["result_json"] = result
        if status == JobStatus.COMPLETED:
            values["progress"] = 100
        with self.database.write() as session:
            write(session, claim, values, is_last=True)
            yield session

    def retry(self, claim: Claim, error: str) -> float:
        """Return the job to the queue for another attempt. Returns the backoff in seconds, which doubles each time."""
        pause = min(self.retry_seconds * 2.0 ** (claim.attempt - 1), LONGEST_PAUSE_SECONDS)
        self._release(claim, {"error": error, "run_after": epoch_now() + pause})
        return pause

    def give_back(self, claim: Claim) -> None:
        """Return the job to the queue, for any worker to continue at once. Does not count as an attempt.

        The job keeps its position among its tenant's jobs; other tenants take their turn first.
        """
        self._release(claim, {"attempts": Job.attempts - 1})

    def _release(self, claim: Claim, values: Mapping[str, Any]) -> None:
        with self.database.write() as session:
            if not release(session, claim, values):
                record_finished(session, [claim], JobStatus.CANCELLED)

    @contextmanager
    def lease(
        self, claim: Claim, stopping: Event, *, run_guest: RunGuest | None = None, is_guest: bool = False
    ) -> Iterator[Lease]:
        """Renew the claim in a heartbeat thread while the body runs. See Lease for guests."""
        lease = Lease(self, claim, stopping, run_guest=run_guest, is_guest=is_guest)
        heart = Thread(target=lease.beat, name=f"heartbeat-{claim.job_id}", daemon=True)
        heart.start()
        try:
            yield lease
        finally:
            lease.is_over.set()
            heart.join()

    # Maintenance

    def prune(self, keep_days: float) -> int:
        """Delete jobs that finished more than *keep_days* ago. Returns their number."""
        before = shifted(utc_now(), days=-keep_days)
        with self.database.write() as session:
            result = session.execute(delete(Job).where(Job.status.in_(FINISHED), Job.completed_at < before))
        assert isinstance(result, CursorResult)
        return result.rowcount


def _insert_or_get_pending(session: Session, values: Mapping[str, Any]) -> str:
    same = and_(
        Job.team_id == values["team_id"],
        Job.project_id == values["project_id"],
        Job.dedupe_key == values["dedupe_key"],
    )
    job_id: str | None = None
    while job_id is None:  # the pending job may be claimed before it is read
        job_id = session.scalar(insert_or_ignore(session, Job).values(**values).returning(Job.job_id))
        job_id = job_id or session.scalar(select(Job.job_id).where(same, Job.status == JobStatus.PENDING))
    return job_id


def _jobs_with_namespace() -> Any:
    in_project = and_(Project.team_id == Job.team_id, Project.id == Job.project_id)
    return select(Job, Project, Team).join(Project, in_project).join(Team, Team.id == Job.team_id)


def _belongs_to(tenant_id: str | None) -> ColumnElement[bool]:
    if tenant_id is None:
        return true()
    return Job.team_id == select(Team.id).where(Team.name == tenant_id).scalar_subquery()


def _has_status(status: ListedStatus | None) -> ColumnElement[bool]:
    if status is None:
        return true()
    if status == ListedStatus.COMPLETED_WITH_ERRORS:
        return and_(Job.status == JobStatus.COMPLETED, Job.failed_docs > 0)
    return Job.status == status.value


def _no_such_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id!r}. Finished jobs are deleted after a while.", param="job_id")
