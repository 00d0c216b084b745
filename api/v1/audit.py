"""/v1/audit: who changed what, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.access import needs
from api.dependencies import After, InRuntime, Limit, TeamIfAny
from api.fields import UtcTime
from api.routing import StrictRoute
from api.strings import Word
from api.v1.common import Out, Page
from domain import Scope
from errors import Invalid

router = APIRouter(prefix="/v1", tags=["operations"], route_class=StrictRoute)
LONGEST_NUMBER = 18


class AuditOut(Out):
    """A change. number counts without gaps; tenant_id is null where it concerns the installation."""

    number: int
    at: datetime
    tenant_id: str | None
    actor: str
    action: str
    object: str
    request_id: str | None
    details: dict[str, Any]


class AuditPage(Page[AuditOut]):
    pass


@router.get("/audit")
@needs(Scope.ADMIN)
def audit(
    runtime: InRuntime,
    tenant_id: TeamIfAny,
    action: Annotated[Word | None, Query(description="Only this action, as in key.created")] = None,
    since: Annotated[UtcTime | None, Query(description="Only from this time on, with its zone")] = None,
    limit: Limit = 100,
    after: After = None,
) -> AuditPage:
    """The newest first: all rows for an operator, for others those of their own team."""
    rows = runtime.operations.audit.page(
        limit=limit + 1, after=cursor_number(after), tenant_id=tenant_id, action=action, since=since
    )
    return AuditPage.of(rows, limit=limit, cursor="number")


def cursor_number(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= LONGEST_NUMBER):
        raise Invalid("after is not a next_cursor of this list.", param="after")
    return int(after)
