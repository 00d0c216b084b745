"""/v1/erasures: erase documents for good, and look at the receipts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from api.access import needs
from api.dependencies import After, Caller, IdInPath, InRuntime, Limit, TenantIfAny
from api.fields import RequestBody, TenantInBody, UnparsedFilters
from api.responses import raises, with_headers
from api.routing import WritingRoute
from api.strings import DocName, Name
from api.v1.common import ErasureStartedOut, Out, Page, Reason, actor, started
from domain import Scope
from errors import NotFound
from services.erasure.requests import ErasureRequest

router = APIRouter(prefix="/v1/erasures", tags=["erasures"], route_class=WritingRoute)

MOST_DOC_IDS = 10_000


class ErasureIn(RequestBody):
    """Exactly one of doc_ids, filters and everything. Without namespace: in all of the tenant's namespaces."""

    tenant_id: TenantInBody
    namespace: Name | None = None
    doc_ids: Annotated[list[DocName], Field(fail_fast=True, max_length=MOST_DOC_IDS)] | None = None
    filters: UnparsedFilters | None = Field(
        None, description="Conditions on fields and metadata of documents, as in searches", examples=[{"user": 7}]
    )
    everything: bool = Field(False, description="All documents; what is accepted later stays")
    reason: Reason = None


class ErasureOut(Out):
    """receipt is null until everything is erased; docs/erasure.md describes it."""

    erasure_id: str
    job_id: str | None
    kind: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    number: int | None
    receipt: dict[str, Any] | None


class ErasurePage(Page[ErasureOut]):
    pass


@router.post("", status_code=202, responses=with_headers("Location", status=202))
@needs(Scope.INGEST)
@raises(NotFound)
def erase(body: ErasureIn, runtime: InRuntime, caller: Caller, response: Response) -> ErasureStartedOut:
    """Erase documents with everything that was made of them, for good, and prove it with a signed receipt."""
    request = ErasureRequest(**dict(body), requested_by=actor(caller))
    return started(runtime.erasure.requests.accept(request), response)


@router.get("")
@needs(Scope.INGEST)
@raises(NotFound)
def list_erasures(runtime: InRuntime, tenant_id: TenantIfAny, limit: Limit = 100, after: After = None) -> ErasurePage:
    """The erasures, the newest first."""
    rows = runtime.erasure.ledger.page(limit=limit + 1, after=after, tenant_id=tenant_id)
    return ErasurePage.of(rows, limit=limit, cursor="erasure_id")


@router.get("/{erasure_id}")
@needs(Scope.INGEST)
@raises(NotFound)
def get_erasure(erasure_id: IdInPath, runtime: InRuntime, caller: Caller) -> ErasureOut:
    """An erasure, with its receipt once it is complete."""
    return ErasureOut.model_validate(runtime.erasure.ledger.get(erasure_id, tenant_id=caller.tenant_id))
