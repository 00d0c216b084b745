"""/v1/usage: usage by day."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from api.access import needs
from api.dependencies import InRuntime, NamespaceIfAny, TenantId, TenantIfAny
from api.responses import raises
from api.routing import StrictRoute
from api.v1.common import Out
from domain import QUOTA_NAMES, Scope
from errors import NotFound

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


class AmountOut(Out):
    """allowed is null where there is no quota."""

    used: int
    allowed: int | None


class QuotaUsageOut(Out):
    """embedded_chunks_per_day are those of today (UTC), counted anew at resets_at. bytes are of texts and raw files."""

    tenant_id: str
    documents: AmountOut
    chunks: AmountOut
    bytes: AmountOut
    embedded_chunks_per_day: AmountOut
    resets_at: datetime


@router.get("/usage/quota")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def usage_of_quotas(runtime: InRuntime, tenant_id: TenantId) -> QuotaUsageOut:
    """What the tenant has used, and what it may use."""
    quotas = runtime.ingest.quotas.of_team(tenant_id)
    amounts = {
        name: AmountOut(used=getattr(quotas.used, name), allowed=getattr(quotas.allowed, name) or None)
        for name in QUOTA_NAMES
    }
    return QuotaUsageOut(tenant_id=quotas.tenant_id, resets_at=quotas.resets_at, **amounts)


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
