"""/v1/teams/{tenant_id}/api-keys: make, list, replace and revoke. The key itself is shown once, when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from api.access import needs
from api.dependencies import After, Caller, IdInPath, InRuntime, Limit, RequestBody, TeamInPath, UtcTime
from api.responses import raises
from api.routing import WritingRoute
from api.strings import Line
from domain import Scope
from errors import Conflict, NotFound
from models import ApiKey, utc_now
from services.accounts.api_keys import MAX_NAME_CHARS, IssuedKey, status_of

DAY_SECONDS = 86_400


async def _keys_are_on(runtime: InRuntime) -> None:
    """Where everybody may do everything, whoever passes by could leave themselves a key for later."""
    if runtime.settings.auth_mode == "open":
        raise Conflict("With AUTH_MODE=open there are no keys over HTTP: use python manage.py issue-key.")


router = APIRouter(
    prefix="/v1/teams/{tenant_id}/api-keys",
    tags=["accounts"],
    route_class=WritingRoute,
    dependencies=[Depends(_keys_are_on)],
)


class KeyIn(RequestBody):
    scopes: Annotated[list[Scope], Field(fail_fast=True, min_length=1, max_length=len(Scope))]
    name: Line = Field("", max_length=MAX_NAME_CHARS, description="What it is for: a note for whoever reads the list")
    expires_at: UtcTime | None = None


class RotateIn(RequestBody):
    overlap_seconds: int = Field(
        DAY_SECONDS, ge=0, le=30 * DAY_SECONDS, description="How long the old key still counts"
    )


class KeyOut(BaseModel):
    """status is active, expired or revoked. last_used_at lags behind by a minute."""

    key_id: str
    name: str
    scopes: list[str]
    status: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class MadeKeyOut(KeyOut):
    """key is shown here and never again."""

    key: str


class RotatedKeyOut(MadeKeyOut):
    replaces: KeyOut


class KeyPage(BaseModel):
    data: list[KeyOut]
    has_more: bool
    next_cursor: str | None


@router.post("", status_code=201)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def create_key(tenant_id: TeamInPath, body: KeyIn, runtime: InRuntime, who: Caller, response: Response) -> MadeKeyOut:
    """A key of the team, with no scope that the asker's own lacks."""
    made = runtime.accounts.keys.issue(
        tenant_id, name=body.name, scopes=body.scopes, expires_at=body.expires_at, by=who
    )
    response.headers["Cache-Control"] = "no-store"
    return _made_out(made)


@router.get("")
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def list_keys(tenant_id: TeamInPath, runtime: InRuntime, limit: Limit = 100, after: After = None) -> KeyPage:
    """The team's keys, those that have ended too, by key_id."""
    found = runtime.accounts.keys.page(tenant_id, limit=limit + 1, after=after)
    data = [_key_out(row) for row in found[:limit]]
    has_more = len(found) > limit
    return KeyPage(data=data, has_more=has_more, next_cursor=data[-1].key_id if has_more else None)


@router.post("/{key_id}/rotate", status_code=201)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def rotate_key(
    tenant_id: TeamInPath,
    key_id: IdInPath,
    runtime: InRuntime,
    who: Caller,
    response: Response,
    body: RotateIn | None = None,
) -> RotatedKeyOut:
    """Another key with the same name and scopes; the old one counts for overlap_seconds more."""
    seconds = (body or RotateIn()).overlap_seconds
    made, old = runtime.accounts.keys.rotate(tenant_id, key_id, overlap_seconds=seconds, by=who)
    response.headers["Cache-Control"] = "no-store"
    return RotatedKeyOut(**dict(_made_out(made)), replaces=_key_out(old))


@router.delete("/{key_id}")
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def revoke_key(tenant_id: TeamInPath, key_id: IdInPath, runtime: InRuntime, who: Caller) -> KeyOut:
    """The key counts no more: here at once, in other processes within AUTH_TRUST_SECONDS."""
    return _key_out(runtime.accounts.keys.revoke(tenant_id, key_id, by=who))


def _made_out(made: IssuedKey) -> MadeKeyOut:
    return MadeKeyOut(**dict(_key_out(made.row)), key=made.key)


def _key_out(row: ApiKey) -> KeyOut:
    return KeyOut(
        key_id=row.id,
        name=row.name,
        scopes=row.scopes.split(),
        status=status_of(row, utc_now()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
