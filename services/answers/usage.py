"""Usage by day, tenant, namespace, kind and key: sums over the query log and the ingest counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, null, select
from sqlalchemy.orm import aliased

from database.engine import Database
from errors import Invalid
from models import IngestUsage, LoggedQuery, Project, Team, utc_now

INGEST = "ingest"
MAX_DAYS = 92


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One day (UTC) of a tenant's namespace, by kind (search, ask, ingest) and key.

    Latencies are nearest-rank percentiles in milliseconds, None for ingest. *errors* counts the failed ones among
    *requests*.
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
        """Returns the newest day first. *until* defaults to today, *since* to 30 days before it."""
        until = until or utc_now().date()
        since = since or _days_before(until, 30)
        if (until - since).days >= MAX_DAYS:
            raise Invalid(f"At most {MAX_DAYS} days are summed at once: ask for a shorter time.", param="since")
        conditions = {Team.name: tenant_id, Project.name: namespace}
        where = [column == value for column, value in conditions.items() if value is not None]
        days = since.isoformat(), until.isoformat()
        with self.database.read() as session:
            rows = [
                row
                for query in (_query_usage(days, where), _ingest_usage(days, where))
                for row in session.execute(query)
            ]
        usage = [DayUsage(*row[:5], *(None if value is None else int(value) for value in row[5:])) for row in rows]
        usage.sort(key=lambda day: (day.tenant_id, day.namespace, day.kind, day.api_key_id or ""))
        return sorted(usage, key=lambda day: day.day, reverse=True)


def _days_before(day: date, days: int) -> date:
    """Returns the day *days* before, or the earliest date."""
    return date.fromordinal(max(day.toordinal() - days, date.min.toordinal()))


def _query_usage(days: tuple[str, str], where: list[ColumnElement[bool]]) -> Any:
    logged = LoggedQuery
    group = [logged.day, Team.name.label("tenant_id"), Project.name.label("namespace"), logged.api_key_id, logged.kind]
    rank = func.row_number().over(partition_by=group, order_by=logged.latency_ms).label("rank")
    size = func.count().over(partition_by=group).label("size")
    ranked = _of_projects(
        select(*group, logged.error, logged.prompt_tokens, logged.completion_tokens, logged.latency_ms, rank, size),
        logged,
    )
    row = ranked.where(logged.day.between(*days), *where).subquery().c
    key = [row.day, row.tenant_id, row.namespace, row.api_key_id, row.kind]
    tokens = (func.coalesce(func.sum(count), 0) for count in (row.prompt_tokens, row.completion_tokens))
    latencies = (func.max(case((_is_percentile(row, percent), row.latency_ms))) for percent in (50, 95))
    zero = literal(0)
    return select(*key, func.count(), func.count(row.error), *tokens, *latencies, zero, zero).group_by(*key)


def _is_percentile(row: Any, percent: int) -> ColumnElement[bool]:
    """Returns whether the row is its group's percentile by nearest rank."""
    return and_(row.rank * 100 >= row.size * percent, (row.rank - 1) * 100 < row.size * percent)


def _ingest_usage(days: tuple[str, str], where: list[ColumnElement[bool]]) -> Any:
    """Reused chunks are at least 0, though a chunk may be published on a later day than it was embedded."""
    ingest, zero = IngestUsage, literal(0)
    reused = case((ingest.chunks > ingest.chunks_embedded, ingest.chunks - ingest.chunks_embedded), else_=0)
    counts = [ingest.requests, zero, zero, zero, null(), null(), ingest.chunks_embedded, reused]
    query = select(ingest.day, Team.name, Project.name, null(), literal(INGEST), *counts)
    return _of_projects(query, ingest).where(ingest.day.between(*days), *where)


def _of_projects(query: Any, table: type[LoggedQuery | IngestUsage]) -> Any:
    held = aliased(Project)
    is_held = and_(held.team_id == table.team_id, held.id == table.project_id)
    is_named = and_(Project.team_id == held.team_id, Project.id == func.coalesce(held.mirror_of, held.id))
    return query.join(held, is_held).join(Project, is_named).join(Team, Team.id == table.team_id)
