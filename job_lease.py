"""A worker's hold on a job: the claim, writes conditional on it, and the heartbeat that renews it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from database.dialects import epoch_now
from domain import JobStatus, Json
from errors import GivesWay, JobCancelled, LostLease, ServiceError, WorkerStopping
from models import Job, Project, Team, utc_now

CANCELLED = "Cancelled on request."
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """A job held by one worker, for one attempt. *result* is that of earlier attempts, *place* names the namespace.

    *waited_seconds* passed between its creation and its first start.
    """

    team_id: int
    job_id: str
    project_id: int
    type: str
    payload: Json
    attempt: int
    worker: str
    result: Json
    cancel_requested: bool
    place: str
    request_id: str | None
    traceparent: str | None
    waited_seconds: float


def is_due() -> ColumnElement[bool]:
    return and_(Job.status == JobStatus.PENDING, Job.run_after <= epoch_now())


def is_abandoned() -> ColumnElement[bool]:
    return and_(Job.status == JobStatus.RUNNING, Job.lease_until < epoch_now())


def claim_oldest(session: Session, condition: ColumnElement[bool], worker: str, lease_seconds: float) -> Claim | None:
    """One conditional statement: if two workers see the same job, only one gets it."""
    oldest = (
        select(Job.job_id)
        .where(condition)
        .order_by(Job.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    change = {
        "status": JobStatus.RUNNING,
        "worker": worker,
        "attempts": Job.attempts + 1,
        "lease_until": epoch_now() + lease_seconds,
        "started_at": func.coalesce(Job.started_at, utc_now()),
        "updated_at": utc_now(),
    }
    query = update(Job).where(Job.job_id == oldest, condition).values(**change).returning(Job)
    job = session.scalar(query, execution_options={"synchronize_session": False})
    return None if job is None else _claim(job, _place(session, job), worker)


def _place(session: Session, job: Job) -> str:
    names = select(Team.name, Project.name).join(Project, Project.team_id == Team.id)
    return "/".join(session.execute(names.where(Team.id == job.team_id, Project.id == job.project_id)).one())


def _claim(job: Job, place: str, worker: str) -> Claim:
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
        place=place,
        request_id=job.request_id,
        traceparent=job.traceparent,
        waited_seconds=((job.started_at or job.created_at) - job.created_at).total_seconds(),
    )


def update_held(claim: Claim) -> Any:
    """An UPDATE of the job, conditional on that worker and attempt still holding it."""
    return update(Job).where(
        Job.team_id == claim.team_id,
        Job.job_id == claim.job_id,
        Job.attempts == claim.attempt,
        Job.worker == claim.worker,
        Job.status == JobStatus.RUNNING,
    )


def write(session: Session, claim: Claim, values: Mapping[str, Any], *, is_last: bool = False) -> None:
    """Raises LostLease, and JobCancelled unless *is_last*."""
    query = update_held(claim).values(updated_at=utc_now(), **values).returning(Job.cancel_requested)
    cancel_requested = session.scalar(query, execution_options={"synchronize_session": False})
    if cancel_requested is None:
        raise lost_lease(claim)
    if cancel_requested and not is_last:
        raise JobCancelled(CANCELLED)


def release(session: Session, claim: Claim, values: Mapping[str, Any]) -> bool:
    """Make the job pending again; cancel it if a newer one with the same key is already pending.

    Returns whether it is pending.
    """
    change: dict[str, Any] = {"status": JobStatus.PENDING, "worker": None, "lease_until": None}
    own = aliased(Job)
    newer = session.scalar(
        select(Job.job_id)
        .join(own, and_(own.team_id == Job.team_id, own.project_id == Job.project_id, own.dedupe_key == Job.dedupe_key))
        .where(own.team_id == claim.team_id, own.job_id == claim.job_id, Job.status == JobStatus.PENDING)
    )
    if newer is not None:
        reason = f"Job {newer} is pending for the same work."
        change |= {"status": JobStatus.CANCELLED, "completed_at": utc_now(), "error": reason}
    write(session, claim, {**values, **change})
    return newer is None


def lost_lease(claim: Claim) -> LostLease:
    return LostLease(f"Job {claim.job_id} now belongs to another worker.")


log = logging.getLogger(__name__)


RunGuest = Callable[[Claim], bool]
"""Runs a job of another tenant, for its slice, while the claimed one waits. Returns whether there was one."""


class Estimate(NamedTuple):
    """How far a job has come, in chunks, and how many seconds of work are left; None: unknown."""

    chunks_done: int | None
    chunks_total: int | None
    seconds_left: int | None


class LeaseQueue(Protocol):
    """The part of the queue that a lease needs."""

    lease_seconds: float
    slice_seconds: float

    def has_waiting_others(self, claim: Claim) -> bool: ...

    def renew(self, claim: Claim) -> bool: ...

    def step(
        self, claim: Claim, *, progress: int, result: Json, estimate: Estimate | None = None
    ) -> AbstractContextManager[Session]: ...


class Lease:
    """A claim that a heartbeat renews. The job calls check() at every step.

    A *guest* runs while a job of another tenant waits in the same worker: it gives way after its slice in any case, and
    hosts nobody.
    """

    def __init__(
        self,
        queue: LeaseQueue,
        claim: Claim,
        stopping: Event,
        *,
        run_guest: RunGuest | None = None,
        is_guest: bool = False,
    ) -> None:
        self.queue = queue
        self.run_guest = run_guest
        self.is_guest = is_guest
        self.claim = claim
        self.stopping = stopping
        self.is_over = Event()
        self._slice_ends = time.monotonic() + queue.slice_seconds
        self._look_again_at = 0.0
        self._end_error: ServiceError | None = None

    def check(self) -> None:
        """Raise LostLease, JobCancelled or WorkerStopping if the work should end here."""
        if self._end_error is not None:
            raise self._end_error
        if self.stopping.is_set():
            raise WorkerStopping(f"The worker stops; job {self.claim.job_id} returns to the queue.")

    def give_way(self) -> None:
        """As check(); also raises GivesWay if the job has used up its time slice while another tenant's job waits.

        Call it between steps, when all work is committed: the job resumes from there, and completes at least one step
        in each turn.
        """
        self.check()
        if time.monotonic() >= self._slice_ends and (self.is_guest or self.queue.has_waiting_others(self.claim)):
            raise GivesWay(f"Job {self.claim.job_id} gives way to another tenant's.")

    def host_guests(self) -> None:
        """As check(); if the slice is used up, another tenant's job also runs here and now, for its own slice.

        For work that cannot be left half done. No transaction may be open. May be called very often.
        """
        self.check()
        now = time.monotonic()
        if self.run_guest is None or now < max(self._slice_ends, self._look_again_at):
            return
        self._look_again_at = now + LOOK_SECONDS
        if self.queue.has_waiting_others(self.claim) and self.run_guest(self.claim):
            self._slice_ends = time.monotonic() + self.queue.slice_seconds
            self.check()

    @contextmanager
    def step(self, progress: int, result: Json, estimate: Estimate | None = None) -> Iterator[Session]:
        """As JobQueue.step, after check()."""
        self.check()
        with self.queue.step(self.claim, progress=progress, result=result, estimate=estimate) as session:
            yield session

    def beat(self) -> None:
        """Renew after each third of the lease, until the work is over or the lease is lost.

        A lease that could not be renewed for its whole duration counts as lost: another worker may hold the job.
        """
        renewed_at = time.monotonic()
        while not self.is_over.wait(self.queue.lease_seconds / 3):
            try:
                if self.queue.renew(self.claim):
                    self._end_error = JobCancelled(CANCELLED)
                renewed_at = time.monotonic()
            except LostLease as error:
                self._end_error = error
                return
            except Exception:
                log.exception("could not renew the lease of job %s", self.claim.job_id)
                if time.monotonic() - renewed_at > self.queue.lease_seconds:
                    self._end_error = lost_lease(self.claim)
