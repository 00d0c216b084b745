"""/v1/usage: usage by day."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from api.access import needs
from api.dependencies import InRuntime, NamespaceIfAny, TenantIfAny
from api.routing import StrictRoute
from api.v1.common import Out
from domain import Scope

router = APIRouter(prefix="/v1", tags=["usage"], route_class=StrictRoute)


class UsageOut(Out):
    """One day (UTC) of a namespace, by kind (search, ask, ingest) and key. errors are among requests."""

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


class UsageDays(Out):
    data: list[UsageOut]


@router.get("/usage")
@needs(Scope.ADMIN)
def usage(
    runtime: InRuntime,
    tenant_id: TenantIfAny,
    namespace: NamespaceIfAny,
    since: Annotated[date | None, Query(description="First day; left out: a month before until")] = None,
    until: Annotated[date | None, Query(description="Last day; left out: today")] = None,
) -> UsageDays:
    """Requests, tokens, latency and chunks, summed by day: the newest day first."""
    days = runtime.answers.usage.by_day(tenant_id=tenant_id, namespace=namespace, since=since, until=until)
    return UsageDays(data=[UsageOut.model_validate(each) for each in days])
