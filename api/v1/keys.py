"""/v1/teams/{tenant_id}/api-keys: create, list, rotate, revoke and derive. A key itself is shown once, on creation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from api.access import needs
from api.dependencies import After, Caller, IdInPath, InRuntime, KeyHolder, Limit, TeamInPath
from api.fields import KeyFilters, RequestBody, UtcTime
from api.responses import raises
from api.routing import WritingRoute
from api.strings import Line, Name
from api.v1.common import Out, Page
from domain import Scope
from errors import Conflict, NotFound
from services.accounts.api_keys import MAX_NAME_CHARS
from services.accounts.derived_keys import MAX_SECONDS
from services.accounts.deriving import Narrowing

DAY_SECONDS = 86_400
MAX_NAMESPACES = 100


async def _keys_are_on(runtime: InRuntime) -> None:
    """In open mode anybody could create a key and use it after keys are turned on."""
    if runtime.accounts.are_open:
        raise Conflict("With AUTH_MODE=open there are no keys over HTTP: use python manage.py issue-key.")


router = APIRouter(
    prefix="/v1/teams/{tenant_id}/api-keys",
    tags=["accounts"],
    route_class=WritingRoute,
    dependencies=[Depends(_keys_are_on)],
)


Scopes = Annotated[list[Scope], Field(fail_fast=True, min_length=1, max_length=len(Scope))]


class RestrictionIn(RequestBody):
    """A key with one of them only reads."""

    filters: KeyFilters = Field(None, description="It sees only documents that match, as in a search")
    namespaces: Annotated[list[Name], Field(fail_fast=True, min_length=1, max_length=MAX_NAMESPACES)] | None = Field(
        None, description="It sees only these"
    )


class KeyIn(RestrictionIn):
    scopes: Scopes
    name: Line = Field("", max_length=MAX_NAME_CHARS, description="A note on what the key is for")
    expires_at: UtcTime | None = None


class DeriveIn(RestrictionIn):
    """Null: as the key that it comes from has it."""

    scopes: Scopes | None = Field(None, description="search and ingest at most")
    expires_in_seconds: int = Field(ge=1, le=MAX_SECONDS, description="It ends earlier if the other key does")


class RotateIn(RequestBody):
    overlap_seconds: int = Field(DAY_SECONDS, ge=0, le=30 * DAY_SECONDS, description="How long the old key stays valid")


class KeyOut(Out):
    """status is active, expired or revoked. last_used_at lags by up to a minute.

    filters and namespaces say what alone the key sees; null: all of the team.
    """

    key_id: str
    name: str
    scopes: list[str]
    filters: dict[str, Any] | None
    namespaces: list[str] | None
    status: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyOut(KeyOut):
    """key is shown here and never again."""

    key: str


class RotatedKeyOut(NewKeyOut):
    replaces: KeyOut


class DerivedKeyOut(Out):
    """key is stored nowhere. key_id is that of the key that it comes from; filters and namespaces are what it adds."""

    key_id: str
    key: str
    scopes: list[str]
    filters: dict[str, Any] | None
    namespaces: list[str] | None
    expires_at: datetime


class KeyPage(Page[KeyOut]):
    pass


@router.post("", status_code=201)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def create_key(tenant_id: TeamInPath, body: KeyIn, runtime: InRuntime, caller: Caller, response: Response) -> NewKeyOut:
    """Create a key of the team. It can have no scope that the caller's key lacks.

    With filters or namespaces it sees nothing else, and only reads: its scope is search.
    """
    issued = runtime.accounts.keys.issue(tenant_id, **dict(body), by=caller)
    response.headers["Cache-Control"] = "no-store"
    return NewKeyOut.model_validate(issued)


@router.get("")
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def list_keys(tenant_id: TeamInPath, runtime: InRuntime, limit: Limit = 100, after: After = None) -> KeyPage:
    """The team's keys by key_id, expired and revoked ones too."""
    keys = runtime.accounts.keys.page(tenant_id, limit=limit + 1, after=after)
    return KeyPage.of(keys, limit=limit, cursor="key_id")


@router.post("/{key_id}/rotate", status_code=201)
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def rotate_key(
    tenant_id: TeamInPath,
    key_id: IdInPath,
    runtime: InRuntime,
    caller: Caller,
    response: Response,
    body: RotateIn | None = None,
) -> RotatedKeyOut:
    """Create a key with the same name and scopes; the old one stays valid for overlap_seconds."""
    seconds = (body or RotateIn()).overlap_seconds
    rotated = runtime.accounts.keys.rotate(tenant_id, key_id, overlap_seconds=seconds, by=caller)
    response.headers["Cache-Control"] = "no-store"
    return RotatedKeyOut.model_validate(rotated)


@router.post("/{key_id}/derive", status_code=201)
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound, Conflict)
def derive_key(
    tenant_id: TeamInPath, key_id: IdInPath, body: DeriveIn, runtime: InRuntime, caller: KeyHolder, response: Response
) -> DerivedKeyOut:
    """Derive a short-lived key from the caller's own, or as an admin from any of the team, for one end user.

    It may no more than that key, ends with it, and is not stored.
    """
    narrowing = Narrowing(
        seconds=body.expires_in_seconds, scopes=body.scopes, filters=body.filters, namespaces=body.namespaces
    )
    derived = runtime.accounts.deriving.derive(tenant_id, key_id, narrowing, by=caller)
    response.headers["Cache-Control"] = "no-store"
    return DerivedKeyOut.model_validate(derived)


@router.delete("/{key_id}")
@needs(Scope.ADMIN)
@raises(NotFound, Conflict)
def revoke_key(tenant_id: TeamInPath, key_id: IdInPath, runtime: InRuntime, caller: Caller) -> KeyOut:
    """Revoke a key: in this process at once, in others within AUTH_TRUST_SECONDS."""
    return KeyOut.model_validate(runtime.accounts.keys.revoke(tenant_id, key_id, by=caller))
