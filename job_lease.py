"""A job in the hands of a worker: how one is claimed, the writes that count while it is held, its heartbeat."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from database.dialects import epoch_now
from domain import JobStatus, Json
from errors import GivesWay, JobCancelled, LostLease, ServiceError, WorkerStopping
from models import Job, utc_now

CANCELLED = "Cancelled on request."


@dataclass(frozen=True, slots=True)
class Claim:
    """A job in the hands of one worker, for one attempt. *result* is what earlier attempts left."""

    team_id: int
    job_id: str
    project_id: int
    type: str
    payload: Json
    attempt: int
    worker: str
    result: Json
    cancel_requested: bool


def waits() -> ColumnElement[bool]:
    return and_(Job.status == JobStatus.PENDING, Job.run_after <= epoch_now())


def is_abandoned() -> ColumnElement[bool]:
    return and_(Job.status == JobStatus.RUNNING, Job.lease_until < epoch_now())


def take(session: Session, which: ColumnElement[bool], worker: str, lease_seconds: float) -> Job | None:
    """One conditional statement: of two workers that see the same job, one gets it."""
    oldest = (
        select(Job.job_id)
        .where(which)
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
    query = update(Job).where(Job.job_id == oldest, which).values(**change).returning(Job)
    return session.scalar(query, execution_options={"synchronize_session": False})


def held(claim: Claim) -> Any:
    """The start of every write: of the job, on the condition that it is still that worker's, in that attempt."""
    return update(Job).where(
        Job.team_id == claim.team_id,
        Job.job_id == claim.job_id,
        Job.attempts == claim.attempt,
        Job.worker == claim.worker,
        Job.status == JobStatus.RUNNING,
    )


def write(session: Session, claim: Claim, values: Mapping[str, Any], *, is_last: bool = False) -> None:
    """Raises LostLease; and JobCancelled, unless this is how the job ends."""
    query = held(claim).values(updated_at=utc_now(), **values).returning(Job.cancel_requested)
    cancel_requested = session.scalar(query, execution_options={"synchronize_session": False})
    if cancel_requested is None:
        raise lost(claim)
    if cancel_requested and not is_last:
        raise JobCancelled(CANCELLED)


def release(session: Session, claim: Claim, values: Mapping[str, Any]) -> None:
    """Back to waiting. Where a newer job waits under the same key, that one does the work and this one ends."""
    waiting: dict[str, Any] = {"status": JobStatus.PENDING, "worker": None, "lease_until": None}
    own = aliased(Job)
    newer = session.scalar(
        select(Job.job_id)
        .join(own, and_(own.team_id == Job.team_id, own.project_id == Job.project_id, own.dedupe_key == Job.dedupe_key))
        .where(own.team_id == claim.team_id, own.job_id == claim.job_id, Job.status == JobStatus.PENDING)
    )
    if newer is not None:
        told = f"Job {newer} waits to do the same."
        waiting |= {"status": JobStatus.CANCELLED, "completed_at": utc_now(), "error": told}
    write(session, claim, {**values, **waiting})


def lost(claim: Claim) -> LostLease:
    return LostLease(f"Job {claim.job_id} belongs to another worker now.")


log = logging.getLogger(__name__)


class Renewing(Protocol):
    """What a lease asks of its queue."""

    lease_seconds: float
    slice_seconds: float

    def others_wait(self, claim: Claim) -> bool: ...

    def renew(self, claim: Claim) -> bool: ...

    def step(self, claim: Claim, *, progress: int, result: Json) -> AbstractContextManager[Session]: ...


class Lease:
    """A claim that is kept alive. Whoever does the work asks it at every step whether to go on."""

    def __init__(self, queue: Renewing, claim: Claim, stopping: Event) -> None:
        self.queue = queue
        self.claim = claim
        self.stopping = stopping
        self.is_over = Event()
        self._slice_ends = time.monotonic() + queue.slice_seconds
        self._why_not: ServiceError | None = None

    def check(self) -> None:
        """Raise LostLease, JobCancelled or WorkerStopping when the work should end here."""
        if self._why_not is not None:
            raise self._why_not
        if self.stopping.is_set():
            raise WorkerStopping(f"The worker stops; job {self.claim.job_id} goes back to the queue.")

    def give_way(self) -> None:
        """As check(); and raise GivesWay when the job has had its slice of the worker and another tenant's job waits.

        To be called behind a step and before the next, where all that was done is committed: the job begins again
        from there, and gets at least one step further in each of its turns.
        """
        self.check()
        if time.monotonic() >= self._slice_ends and self.queue.others_wait(self.claim):
            raise GivesWay(f"Job {self.claim.job_id} lets another tenant's go first.")

    @contextmanager
    def step(self, progress: int, result: Json) -> Iterator[Session]:
        """As JobQueue.step, after check()."""
        self.check()
        with self.queue.step(self.claim, progress=progress, result=result) as session:
            yield session

    def beat(self) -> None:
        """Renew at a third of the lease, until the work is over or the job is lost.

        A lease that could not be renewed for its whole length is as good as lost: another worker may have it.
        """
        renewed_at = time.monotonic()
        while not self.is_over.wait(self.queue.lease_seconds / 3):
            try:
                if self.queue.renew(self.claim):
                    self._why_not = JobCancelled(CANCELLED)
                renewed_at = time.monotonic()
            except LostLease as error:
                self._why_not = error
                return
            except Exception:
                log.exception("could not renew the lease of job %s", self.claim.job_id)
                if time.monotonic() - renewed_at > self.queue.lease_seconds:
                    self._why_not = lost(self.claim)
