"""A job in the hands of a worker: how one is taken, and the writes that count only for as long as it is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from database import epoch_now
from errors import JobCancelled, LostLease
from models import Job, JobStatus, Json, utc_now

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
