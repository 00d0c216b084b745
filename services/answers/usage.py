"""Who used how much: sums of the query log, and of what was taken in, by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, null, select

from database.engine import Database
from errors import Invalid
from models import IngestUsage, LoggedQuery, Project, Team, utc_now

INGEST = "ingest"
MOST_DAYS = 92


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One day (UTC) of a tenant's namespace, by kind (search, ask, ingest) and key.

    *latency* is in milliseconds, nearest rank; null for ingest. *errors* counts the requests that failed; they are
    among *requests*.
    """

    day: str
    tenant_id: str
    namespace: str
    api_key_id: str | None
    kind: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    latency_p50_ms: int | None
    latency_p95_ms: int | None
    chunks_embedded: int
    chunks_reused: int


@dataclass(frozen=True)
class UsageService:
    database: Database

    def by_day(
        self, *, tenant_id: str | None, namespace: str | None, since: date | None, until: date | None
    ) -> list[DayUsage]:
        """The newest day first. Left out, *until* is today and *since* a month before it."""
        until = until or utc_now().date()
        since = since or _days_before(until, 30)
        if (until - since).days >= MOST_DAYS:
            raise Invalid(f"At most {MOST_DAYS} days are summed at once: ask for a shorter time.", param="since")
        wanted = {Team.name: tenant_id, Project.name: namespace}
        where = [column == value for column, value in wanted.items() if value is not None]
        days = since.isoformat(), until.isoformat()
        with self.database.read() as session:
            rows = [row for query in (_asked(days, where), _ingested(days, where)) for row in session.execute(query)]
        found = [DayUsage(*row[:5], *(None if each is None else int(each) for each in row[5:])) for row in rows]
        found.sort(key=lambda each: (each.tenant_id, each.namespace, each.kind, each.api_key_id or ""))
        return sorted(found, key=lambda each: each.day, reverse=True)


def _days_before(day: date, days: int) -> date:
    """Or the first day that there is."""
    return date.fromordinal(max(day.toordinal() - days, date.min.toordinal()))


def _asked(days: tuple[str, str], where: list[ColumnElement[bool]]) -> Any:
    logged = LoggedQuery
    group = [logged.day, Team.name.label("tenant_id"), Project.name.label("namespace"), logged.api_key_id, logged.kind]
    place = func.row_number().over(partition_by=group, order_by=logged.latency_ms).label("place")
    among = func.count().over(partition_by=group).label("among")
    each = _of_projects(
        select(*group, logged.error, logged.prompt_tokens, logged.completion_tokens, logged.latency_ms, place, among),
        logged,
    )
    row = each.where(logged.day.between(*days), *where).subquery().c
    key = [row.day, row.tenant_id, row.namespace, row.api_key_id, row.kind]
    tokens = (func.coalesce(func.sum(count), 0) for count in (row.prompt_tokens, row.completion_tokens))
    latencies = (func.max(case((_is_percentile(row, percent), row.latency_ms))) for percent in (50, 95))
    nothing = literal(0)
    return select(*key, func.count(), func.count(row.error), *tokens, *latencies, nothing, nothing).group_by(*key)


def _is_percentile(row: Any, percent: int) -> ColumnElement[bool]:
    """Whether the row is its group's percentile by nearest rank."""
    return and_(row.place * 100 >= row.among * percent, (row.place - 1) * 100 < row.among * percent)


def _ingested(days: tuple[str, str], where: list[ColumnElement[bool]]) -> Any:
    """A chunk that is published on another day than it was embedded is never counted as less than nothing reused."""
    taken, nothing = IngestUsage, literal(0)
    reused = case((taken.chunks > taken.chunks_embedded, taken.chunks - taken.chunks_embedded), else_=0)
    counts = [taken.requests, nothing, nothing, nothing, null(), null(), taken.chunks_embedded, reused]
    query = select(taken.day, Team.name, Project.name, null(), literal(INGEST), *counts)
    return _of_projects(query, taken).where(taken.day.between(*days), *where)


def _of_projects(query: Any, table: type[LoggedQuery | IngestUsage]) -> Any:
    same = and_(Project.team_id == table.team_id, Project.id == table.project_id)
    return query.join(Project, same).join(Team, Team.id == table.team_id)
