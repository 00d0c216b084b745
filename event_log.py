"""Writes the log of events, in the transaction that made them happen: committed together, or not at all.

Whoever makes something happen calls record_events(). services/events/ reads the log and passes it on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Executable, bindparam, insert, literal_column
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement, attributes_of
from domain import EventType, JobStatus, Json, outcome_of
from models import EventRow, utc_now

ERASED = "erased"
"""The type of an event that was erased: its number is all that is left of it."""

LONGEST_ERROR = 500
"""Events are thin: of an error they have the beginning."""

_NEXT_NUMBER = {
    "sqlite": "(SELECT coalesce(max(number), 0) + 1 FROM events)",
    "postgresql": "nextval('events_number_seq')",
}


def record_events(
    session: Session, type: EventType, *, team_id: int, project_id: int | None, data: Sequence[Json]
) -> None:
    """Record an event for each of *data*, in one call of the driver. It concerns the team if there is no project.

    The project's row must be in the database; what else the session has not flushed makes no difference.
    """
    same = {"team_id": team_id, "project_id": project_id, "type": type, "created_at": utc_now()}
    _RECORD.run_many(session, [{**same, "data": each} for each in data])


class EndedJob(Protocol):
    """The part of a job, or of a claim of it, that its last event names."""

    @property
    def team_id(self) -> int: ...
    @property
    def project_id(self) -> int: ...
    @property
    def job_id(self) -> str: ...
    @property
    def type(self) -> str: ...


def record_finished(session: Session, jobs: Sequence[EndedJob], status: JobStatus, *, has_errors: bool = False) -> None:
    """Whoever ends jobs of a project records it, in the same transaction."""
    if not jobs:
        return
    outcome = outcome_of(status, has_errors=has_errors)
    data: list[Json] = [{"job_id": job.job_id, "type": job.type, "outcome": outcome} for job in jobs]
    record_events(session, EventType.JOB_FINISHED, team_id=jobs[0].team_id, project_id=jobs[0].project_id, data=data)


def _record_statement(dialect_name: str) -> Executable:
    columns = EventRow.__table__.columns
    values = {name: bindparam(name, type_=columns[name].type) for name in attributes_of(EventRow) if name != "number"}
    return insert(EventRow.__table__).values({**values, "number": literal_column(_NEXT_NUMBER[dialect_name])})  # type: ignore[arg-type]


_RECORD = PreparedStatement(_record_statement)
