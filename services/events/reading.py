"""Reads the log of events, in the order of its numbers, and removes what is old."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, func, select

from database.engine import Database
from database.repeating import repeatable
from domain import EventType, Json
from errors import Gone
from event_log import ERASED
from models import EventRow, Project, Team, utc_now
from services.events.horizon import Horizon
from times import shifted

EVENTS_PER_STEP = 1000
STEPS_PER_PRUNE = 50


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """*number* identifies it, and says where to go on. *namespace* is None if it concerns the tenant."""

    number: int
    type: EventType
    timestamp: datetime
    tenant_id: str
    namespace: str | None
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What a reader wants to see; None: all."""

    tenant_id: str | None = None
    namespace: str | None = None
    types: frozenset[EventType] | None = None
    job_id: str | None = None

    def admits(self, event: RecordedEvent) -> bool:
        return (
            self.tenant_id in (None, event.tenant_id)
            and self.namespace in (None, event.namespace)
            and (self.types is None or event.type in self.types)
            and self.job_id in (None, event.data.get("job_id"))
        )


@dataclass(frozen=True)
class EventReader:
    database: Database
    horizon: Horizon

    @repeatable
    def page(self, event_filter: EventFilter, *, after: int, until: int, limit: int) -> tuple[list[RecordedEvent], int]:
        """The first of the chosen events with numbers in (*after*, *until*], and the number up to which these are all.

        Examines EVENTS_PER_STEP events at most, so the list may be empty although there are others.
        """
        query = _events(event_filter).where(EventRow.number > after, EventRow.number <= until)
        with self.database.read() as session:
            rows = session.execute(query.order_by(EventRow.number).limit(EVENTS_PER_STEP)).all()
        events = list(_admitted(rows, event_filter))
        if len(events) > limit:
            return events[:limit], events[limit - 1].number
        return events, max(after, until) if len(rows) < EVENTS_PER_STEP else rows[-1][0].number

    @repeatable
    def require_kept(self, after: int) -> None:
        """Raises Gone unless everything behind the event of that number is there. 0 stands for the oldest one kept."""
        with self.database.read() as session:
            oldest, newest = session.execute(select(func.min(EventRow.number), func.max(EventRow.number))).one()
        if after > (newest or 0):
            raise Gone(
                f"There is no event {after}: the newest is {newest or 0}. The database may have been restored from a "
                "backup. Compare what you have with the documents, then start again without Last-Event-ID.",
                param="Last-Event-ID",
            )
        if 0 < after < (oldest or 0) - 1:
            raise Gone(
                f"Events behind {after} were deleted, because they were older than EVENTS_KEEP_DAYS; the oldest kept "
                f"one is {oldest}. Compare what you have with the documents, then start again with Last-Event-ID: 0 "
                "for all that is kept.",
                param="Last-Event-ID",
            )

    def prune(self, keep_days: float, *, needed: int | None = None) -> int:
        """Delete events older than *keep_days*, in small steps, up to the event *needed*. Returns their number.

        The newest one stays.
        """
        before, deleted = shifted(utc_now(), days=-keep_days), 0
        for _ in range(STEPS_PER_PRUNE):
            if (number := self._last_old(before, needed)) is None:
                break
            with self.database.write() as session:
                old = delete(EventRow).where(EventRow.number <= number).returning(EventRow.number)
                deleted += len(session.scalars(old, execution_options={"synchronize_session": False}).all())
        return deleted

    def _last_old(self, before: datetime, needed: int | None) -> int | None:
        """The last number of the next step. Numbers follow the times, but for transactions that ran side by side."""
        newest = select(func.max(EventRow.number)).scalar_subquery()
        query = select(EventRow.number, EventRow.created_at).where(EventRow.number < newest)
        with self.database.read() as session:
            rows = session.execute(query.order_by(EventRow.number).limit(EVENTS_PER_STEP)).all()
        number = None
        for each, created_at in rows:
            if created_at >= before or each == needed:
                break
            number = each
        return number


def _events(event_filter: EventFilter) -> Any:
    in_project = and_(Project.team_id == EventRow.team_id, Project.id == EventRow.project_id)
    query = select(EventRow, Team.name, Project.name).join(Team, Team.id == EventRow.team_id)
    query = query.outerjoin(Project, in_project)
    if event_filter.tenant_id is not None:
        query = query.where(
            EventRow.team_id == select(Team.id).where(Team.name == event_filter.tenant_id).scalar_subquery()
        )
    return query


def _admitted(rows: Any, event_filter: EventFilter) -> Iterator[RecordedEvent]:
    for row, tenant_id, namespace in rows:
        if row.type == ERASED:
            continue
        event = RecordedEvent(row.number, EventType(row.type), row.created_at, tenant_id, namespace, row.data)
        if event_filter.admits(event):
            yield event
