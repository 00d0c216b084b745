"""What a route may take beside its body: the runtime, the caller, and names from the URL."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import unquote

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError

from api.access import applies_restriction
from api.fields import LEFT_OUT, REQUIRED
from api.strings import LONGEST_CURSOR, DocName, Name, Title, Word, as_json
from api.tenants import visible
from domain import Principal, Scope
from errors import Forbidden, Invalid
from runtime.parts import Runtime
from services.index.names import check_name
from services.ingest.listing import DocQuery, Order
from text import strict_json
from text.filter_spellings import parse
from text.filters import Filter
from text.restriction import Restriction, restriction_of

DocStatus = Literal["uploaded", "processing", "ready", "failed"]
After = Annotated[str | None, Query(max_length=LONGEST_CURSOR, description="next_cursor of the page before")]
ENCODED = "Percent-encode what is not a letter or a digit"


async def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.state.runtime
    return runtime


InRuntime = Annotated[Runtime, Depends(_runtime)]


async def _caller(request: Request) -> Principal:
    """Set by StrictRoute."""
    principal: Principal = request.state.principal
    return principal


Caller = Annotated[Principal, Depends(_caller)]


@applies_restriction
async def _restriction(request: Request) -> Restriction | None:
    """Reads nothing but the request, for the short way of api/direct.py."""
    return restriction_of(request.state.principal)


@applies_restriction
async def _key_holder(caller: Caller) -> Principal:
    if caller.is_derived:
        raise Forbidden("A derived key cannot derive another: use the key that it comes from.")
    return caller


# What alone the caller sees; None: all of the tenant. A route that does not take it is closed to callers who have one.
CallersRestriction = Annotated[Restriction | None, Depends(_restriction)]
KeyHolder = Annotated[Principal, Depends(_key_holder)]


async def _doc_id(doc_id: Annotated[DocName, Path(description=ENCODED)], runtime: InRuntime) -> str:
    name = unquoted("doc_id", doc_id)
    check_name("doc_id", name, runtime.settings.max_doc_id_chars)
    return name


async def _tenant(
    runtime: InRuntime, caller: Caller, tenant_id: Annotated[Name | None, Query(description=LEFT_OUT)] = None
) -> str:
    tenant = visible(caller, _checked("tenant_id", tenant_id, runtime))
    if tenant is None:
        raise RequestValidationError([{"type": "missing", "loc": ("query", "tenant_id"), "msg": REQUIRED}])
    return tenant


async def _tenant_if_any(
    runtime: InRuntime,
    caller: Caller,
    tenant_id: Annotated[Name | None, Query(description="Only of this tenant")] = None,
) -> str | None:
    return visible(caller, _checked("tenant_id", tenant_id, runtime))


async def _namespace(runtime: InRuntime, namespace: Annotated[Name, Query()]) -> str:
    check_name("namespace", namespace, runtime.settings.max_name_chars)
    return namespace


async def _namespace_in_path(namespace: Annotated[Name, Path(description=ENCODED)], runtime: InRuntime) -> str:
    name = unquoted("namespace", namespace)
    check_name("namespace", name, runtime.settings.max_name_chars)
    return name


async def _namespace_if_any(
    runtime: InRuntime, namespace: Annotated[Name | None, Query(description="Only of this namespace")] = None
) -> str | None:
    return _checked("namespace", namespace, runtime)


async def _team(tenant_id: Annotated[Name, Path(description=ENCODED)], runtime: InRuntime, caller: Caller) -> str:
    name = unquoted("tenant_id", tenant_id)
    check_name("tenant_id", name, runtime.settings.max_name_chars)
    return name if caller.may(Scope.OPERATOR) else visible(caller, name) or name


async def _audited(
    runtime: InRuntime,
    caller: Caller,
    tenant_id: Annotated[Name | None, Query(description="Only of this team; an operator may name any")] = None,
) -> str | None:
    name = _checked("tenant_id", tenant_id, runtime)
    return name if caller.may(Scope.OPERATOR) else visible(caller, name)


async def _filters(
    filters: Annotated[
        str | None, Query(max_length=LONGEST_CURSOR, description="The filters of a search, as JSON")
    ] = None,
) -> Filter | None:
    if filters is None:
        return None
    try:
        return parse(as_json(strict_json.loads(filters.encode())))
    except (strict_json.NotJson, UnicodeEncodeError) as error:
        raise Invalid(f"filters is not valid JSON ({error}).", param="filters") from error
    except ValueError as error:
        raise Invalid(f"filters: {error}", param="filters") from error


@applies_restriction
async def _doc_query(
    restriction: CallersRestriction,
    filters: Annotated[Filter | None, Depends(_filters)],
    status: Annotated[DocStatus | None, Query(description="Only of this status")] = None,
    title: Annotated[Title | None, Query(description="Only if the title contains this, in any case")] = None,
    order: Annotated[Order, Query(description="-updated_at: the newest change first")] = "doc_id",
    after: After = None,
) -> DocQuery:
    return DocQuery(status=status, title=title, filters=filters, order=order, after=after, restriction=restriction)


def _checked(field: str, name: str | None, runtime: Runtime) -> str | None:
    if name is not None:
        check_name(field, name, runtime.settings.max_name_chars)
    return name


DocQueryInUrl = Annotated[DocQuery, Depends(_doc_query)]
DocId = Annotated[str, Depends(_doc_id)]
Namespace = Annotated[str, Depends(_namespace)]
NamespaceInPath = Annotated[str, Depends(_namespace_in_path)]
NamespaceIfAny = Annotated[str | None, Depends(_namespace_if_any)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows in the answer")]

# A tenant as a URL names it, or NOBODY if it is not visible to the caller: no route takes one in any other way.
TenantId = Annotated[str, Depends(_tenant)]
TenantIfAny = Annotated[str | None, Depends(_tenant_if_any)]
TeamIfAny = Annotated[str | None, Depends(_audited)]
TeamInPath = Annotated[str, Depends(_team)]
IdInPath = Annotated[Word, Path()]


def unquoted_etag(value: str | None) -> str | None:
    """The content hash in an If-Match header."""
    return value.strip().removeprefix("W/").strip('"') if value else None


def unquoted(field: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid(f"The {field} in the URL is not percent-encoded UTF-8.", param=field) from error
