"""Who uses how much, who did what, and what was erased."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from starlette.responses import Response

from api.access import needs
from api.console.routing import get
from api.console.visits import Visit
from api.v1.audit import cursor_number
from domain import Scope
from services.answers.usage import DayUsage

DAYS = 30
PER_PAGE = 50
BAR_HEIGHT = 60
MOST_ROWS = 300


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the charts. Heights are of BAR_HEIGHT."""

    day: str
    requests: int
    latency_p95_ms: int
    height: float
    slow_height: float

    @property
    def said(self) -> str:
        return f"{self.day}: {self.requests} requests, p95 at most {self.latency_p95_ms} ms"


@needs(Scope.ADMIN)
def usage(visit: Visit) -> Response:
    until = datetime.now(UTC).date()
    since = until - timedelta(days=DAYS - 1)
    days = visit.runtime.answers.usage.by_day(
        tenant_id=visit.tenant, namespace=visit.namespace, since=since, until=until
    )
    quotas = visit.runtime.ingest.quotas.of_team(visit.tenant) if visit.tenant else None
    bars = _bars(days, since)
    return visit.page("usage.html", days=days[:MOST_ROWS], total=len(days), days_of_chart=bars, quotas=quotas)


@needs(Scope.ADMIN)
def audit(visit: Visit) -> Response:
    """All rows for an operator, for others those of their own team."""
    tenant = visit.named_tenant if visit.may(Scope.OPERATOR) else visit.tenant
    rows = visit.runtime.operations.audit.page(
        limit=PER_PAGE + 1, after=cursor_number(visit.value("after")), tenant_id=tenant, action=visit.value("action")
    )
    shown = rows[:PER_PAGE]
    after = shown[-1].number if len(rows) > PER_PAGE else None
    return visit.page("audit.html", rows=shown, after=after, action=visit.value("action"))


@needs(Scope.INGEST)
def erasures(visit: Visit) -> Response:
    newest = visit.runtime.erasure.ledger.page(limit=PER_PAGE + 1, after=visit.value("after"), tenant_id=visit.tenant)
    shown = newest[:PER_PAGE]
    after = shown[-1].erasure_id if len(newest) > PER_PAGE else None
    return visit.page("erasures.html", erasures=shown, after=after)


@needs(Scope.INGEST)
def erasure(visit: Visit) -> Response:
    erasure_id = str(visit.request.path_params["erasure_id"])
    shown = visit.runtime.erasure.ledger.get(erasure_id, tenant_id=visit.principal.tenant_id)
    return visit.page("erasure.html", erasure=shown)


def _bars(days: Iterable[DayUsage], since: date) -> list[Bar]:
    """Searches and questions, day by day, those without any too."""
    requests = {(since + timedelta(days=number)).isoformat(): 0 for number in range(DAYS)}
    slowest: dict[str, int] = {}
    for each in days:
        if each.kind != "ingest" and each.day in requests:
            requests[each.day] += each.requests
            slowest[each.day] = max(slowest.get(each.day, 0), each.latency_p95_ms or 0)
    most, longest = max(requests.values()) or 1, max(slowest.values(), default=0) or 1
    return [
        Bar(day, count, slowest.get(day, 0), BAR_HEIGHT * count / most, BAR_HEIGHT * slowest.get(day, 0) / longest)
        for day, count in requests.items()
    ]


ROUTES = [
    get("/console/usage", usage),
    get("/console/audit", audit),
    get("/console/erasures", erasures),
    get("/console/erasures/{erasure_id}", erasure),
]
