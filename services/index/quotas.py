"""What a team may store and have embedded a day: its quotas, what it has used, and the refusal of more.

The counters stand in the rows of the team's namespaces, so that one statement sums them, whatever the namespaces hold.
A writer that quotas concern locks its team's row first (Publisher.next_numbers), so it sees what others committed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, cast, func, select
from sqlalchemy.orm import Session

from database.engine import Database
from database.prepared import PreparedStatement
from domain import QUOTA_NAMES, Amounts
from errors import DailyQuotaExceeded, QuotaExceeded
from models import IngestUsage, Project, Team, utc_now
from services.index.counting import add_file_bytes, day_of
from services.index.namespaces import require_team


@dataclass(frozen=True, slots=True)
class TeamQuotas:
    """*allowed* is what holds for the team: its own quotas and, where it has none, the defaults."""

    tenant_id: str
    used: Amounts
    allowed: Amounts
    resets_at: datetime


def stored_in(project: Project) -> Amounts:
    return Amounts(project.live_docs, project.live_chunks, project.live_bytes)


@dataclass(frozen=True)
class QuotaService:
    """*defaults* hold for every team that has no quota of its own."""

    database: Database
    defaults: Amounts

    def concern(self, project: Project) -> bool:
        """Returns whether a writer to the namespace has to check, without a query."""
        return project.has_quotas or any(self.defaults.values)

    def check(self, session: Session, project: Project, before: Amounts, *, embedded: int = 0) -> None:
        """Before the commit of a write that took the project from *before* to what it counts now.

        Raises QuotaExceeded or DailyQuotaExceeded for what has grown beyond its quota. What shrinks is never refused.
        """
        if self.concern(project):
            stored = stored_in(project)
            quotas = self._of(session, project.team_id, leaving_out=project.id)
            _require(quotas, stored, stored - before + Amounts(embedded_chunks_per_day=embedded))

    def foresee(self, session: Session, project: Project, growth: Amounts) -> None:
        """Before work whose outcome would be refused: it adds at least *growth*."""
        if self.concern(project) and any(amount > 0 for amount in growth.values):
            stored = Amounts(growth.documents, growth.chunks, growth.bytes)
            _require(self._of(session, project.team_id), stored, growth)

    def add_file_bytes(self, session: Session, team_id: int, more: int) -> None:
        """Count the bytes of a file object that this transaction stores. Raises QuotaExceeded."""
        add_file_bytes(session, team_id, more)
        team = session.get_one(Team, team_id, populate_existing=True)
        if team.has_quotas or any(self.defaults.values):
            grown = Amounts(bytes=more)
            quotas = self._of(session, team_id)
            _require(replace(quotas, used=quotas.used - grown), grown, grown)

    def of_team(self, tenant_id: str) -> TeamQuotas:
        """Raises NotFound."""
        with self.database.read() as session:
            return self._of(session, require_team(session, tenant_id).id)

    def _of(self, session: Session, team_id: int, *, leaving_out: int = 0) -> TeamQuotas:
        now = utc_now()
        parameters = {"the_team": team_id, "the_day": day_of(now), "left_out": leaving_out}
        [(name, *values)] = _USED.rows(session, parameters)
        own, used = values[: len(_COLUMNS)], values[len(_COLUMNS) :]
        pairs = zip(own, self.defaults.values, strict=True)
        allowed = Amounts(*(default if quota is None else quota for quota, default in pairs))
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
        return TeamQuotas(name, Amounts(*used), allowed, midnight)


def _require(quotas: TeamQuotas, stored: Amounts, growth: Amounts) -> None:
    """*stored* is not part of what is used yet."""
    total = quotas.used + stored
    for name in ("documents", "chunks", "bytes"):
        allowed, needed = getattr(quotas.allowed, name), getattr(total, name)
        if allowed and needed > allowed and (more := getattr(growth, name)) > 0:
            raise QuotaExceeded(
                f"The quota of tenant {quotas.tenant_id!r} is {allowed} {name} (QUOTA_{name.upper()}): {needed - more} "
                f"are used, and this would add {more}. Delete what is no longer needed, or ask the operator for more.",
            )
    _require_today(quotas, growth.embedded_chunks_per_day)


def _require_today(quotas: TeamQuotas, more: int) -> None:
    allowed, used = quotas.allowed.embedded_chunks_per_day, quotas.used.embedded_chunks_per_day
    if not allowed or not more or used + more <= allowed:
        return
    seconds = max(1, int((quotas.resets_at - utc_now()).total_seconds()))
    raise DailyQuotaExceeded(
        f"The quota of tenant {quotas.tenant_id!r} is {allowed} embedded chunks a day (QUOTA_EMBEDDED_CHUNKS_PER_DAY): "
        f"{used} are used today, and this needs {more} or more. Send less, try again after midnight UTC, in {seconds} "
        "s, or ask the operator for more.",
        limit=allowed,
        seconds=seconds,
    )


def _sum(column: Any, *where: ColumnElement[bool]) -> Any:
    return select(cast(func.coalesce(func.sum(column), 0), BigInteger)).where(*where).scalar_subquery()


_COLUMNS = tuple(getattr(Team, f"quota_{name}") for name in QUOTA_NAMES)
_OF_OTHERS = (
    Project.team_id == bindparam("the_team"),
    Project.id != bindparam("left_out", type_=BigInteger()),
    Project.mirror_of.is_(None),
)
_USED = PreparedStatement(
    select(
        Team.name,
        *_COLUMNS,
        *(_sum(column, *_OF_OTHERS) for column in (Project.live_docs, Project.live_chunks)),
        _sum(Project.live_bytes, *_OF_OTHERS) + Team.file_bytes,
        _sum(
            IngestUsage.chunks_embedded,
            IngestUsage.team_id == bindparam("the_team"),
            IngestUsage.day == bindparam("the_day"),
        ),
    ).where(Team.id == bindparam("the_team"))
)
