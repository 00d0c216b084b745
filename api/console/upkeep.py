"""Keys: make and revoke them. Index versions: which one answers, how far behind is the next, activate, roll back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from api.access import needs
from api.console.routing import get, post
from api.console.visits import Visit, as_body
from api.v1.versions import VersionIn, create_version
from domain import Scope
from errors import Conflict, Invalid

KEYS = "/console/keys"
VERSIONS = "/console/versions"
PER_PAGE = 50
LONGEST_NUMBER = 4


@needs(Scope.ADMIN)
def keys(visit: Visit) -> Response:
    return _keys_page(visit)


@needs(Scope.ADMIN)
def make_key(visit: Visit) -> Response:
    """The key is in this answer, which no cache keeps, and nowhere else."""
    scopes = [scope for scope in Scope if visit.flag(f"scope-{scope}")]
    name = visit.value("name") or ""
    key = visit.runtime.accounts.keys.issue(
        _team(visit), name=name, scopes=scopes, expires_at=_end(visit), by=visit.principal
    )
    return _keys_page(visit, new_key=key.key)


@needs(Scope.ADMIN)
def revoke_key(visit: Visit) -> Response:
    key_id = visit.required("key_id")
    visit.runtime.accounts.keys.revoke(_team(visit), key_id, by=visit.principal)
    return visit.redirect(KEYS)


@needs(Scope.SEARCH, Scope.INGEST)
def versions(visit: Visit) -> Response:
    if visit.tenant is None or visit.namespace is None:
        return visit.redirect("/console/documents", **visit.carried)
    shown = visit.runtime.index.index_versions.list(*visit.place)
    return visit.page("versions.html", versions=shown, lives=any(each.progress is not None for each in shown))


@needs(Scope.INGEST)
def build_version(visit: Visit) -> Response:
    """With other prompts for the model that serves."""
    prompts = {"query": visit.value("query_prompt"), "document": visit.value("document_prompt")}
    values = {**visit.named_place, "name": visit.value("name"), "prompts": prompts}
    started = create_version(as_body(visit, VersionIn, values), visit.runtime, visit.principal, Response())
    return visit.redirect(f"/console/jobs/{started.job_id}", **visit.carried)


@needs(Scope.INGEST)
def activate_version(visit: Visit) -> Response:
    versions = visit.runtime.index.index_versions
    versions.activate(*visit.place, visit.required("index_version"), expected_active=visit.value("expected_active"))
    return visit.redirect(VERSIONS, **visit.carried)


@needs(Scope.INGEST)
def roll_back(visit: Visit) -> Response:
    versions = visit.runtime.index.index_versions
    versions.rollback(*visit.place, expected_active=visit.value("expected_active"))
    return visit.redirect(VERSIONS, **visit.carried)


def _keys_page(visit: Visit, *, new_key: str | None = None) -> Response:
    if visit.is_open:
        return visit.page("keys.html", keys=[], after=None, new_key=None, scopes=[])
    keys = visit.runtime.accounts.keys.page(_team(visit), limit=PER_PAGE + 1, after=visit.value("after"))
    shown = keys[:PER_PAGE]
    after = shown[-1].key_id if len(keys) > PER_PAGE else None
    scopes = [scope for scope in Scope if scope in visit.principal.scopes]
    return visit.page("keys.html", keys=shown, after=after, new_key=new_key, scopes=scopes)


def _team(visit: Visit) -> str:
    if visit.principal.tenant_id is None:
        raise Conflict("With AUTH_MODE=open there are no keys over HTTP: use python manage.py issue-key.")
    return visit.principal.tenant_id


def _end(visit: Visit) -> datetime | None:
    days = visit.value("days")
    if days is None:
        return None
    if not (days.isascii() and days.isdigit() and 0 < len(days) <= LONGEST_NUMBER):
        raise Invalid("days is a number from 1 on.", param="days")
    return datetime.now(UTC) + timedelta(days=int(days))


ROUTES = [
    get(KEYS, keys),
    post(KEYS, make_key),
    post(f"{KEYS}/revoke", revoke_key),
    get(VERSIONS, versions),
    post(VERSIONS, build_version),
    post(f"{VERSIONS}/activate", activate_version),
    post(f"{VERSIONS}/rollback", roll_back),
]
