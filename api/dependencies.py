"""What a route may ask for, and how strictly it is read."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.access import principal, visible
from api.limits import MOST_ERRORS_TOLD
from api.strings import LONGEST_CURSOR, DocName, Name, Word, as_json, as_name, at_most
from domain import Principal, Scope
from errors import Invalid
from runtime.parts import Runtime
from services.ingest.checking import check_name
from services.ingest.own_chunks import MAX_DIMENSIONS
from text.filter_spellings import MOST_CONDITIONS, parse
from text.filters import Filter
from times import storable

REQUIRED = "Field required"
ENCODED = "Percent-encode what is not a letter or a digit"
LEFT_OUT = "May be left out where an API key says it"


async def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.state.runtime
    return runtime


InRuntime = Annotated[Runtime, Depends(_runtime)]


async def _caller() -> Principal:
    return principal.get()


async def _doc_id(doc_id: Annotated[DocName, Path(description=ENCODED)], runtime: InRuntime) -> str:
    name = _unquoted("doc_id", doc_id)
    check_name("doc_id", name, runtime.settings.max_doc_id_chars)
    return name


async def _tenant(runtime: InRuntime, tenant_id: Annotated[Name | None, Query(description=LEFT_OUT)] = None) -> str:
    found = visible(_checked("tenant_id", tenant_id, runtime))
    if found is None:
        raise RequestValidationError([{"type": "missing", "loc": ("query", "tenant_id"), "msg": REQUIRED}])
    return found


async def _tenant_if_any(
    runtime: InRuntime, tenant_id: Annotated[Name | None, Query(description="Only of this tenant")] = None
) -> str | None:
    return visible(_checked("tenant_id", tenant_id, runtime))


async def _namespace(runtime: InRuntime, namespace: Annotated[Name, Query()]) -> str:
    check_name("namespace", namespace, runtime.settings.max_name_chars)
    return namespace


async def _namespace_if_any(
    runtime: InRuntime, namespace: Annotated[Name | None, Query(description="Only of this namespace")] = None
) -> str | None:
    return _checked("namespace", namespace, runtime)


async def _team(tenant_id: Annotated[Name, Path(description=ENCODED)], runtime: InRuntime) -> str:
    name = _unquoted("tenant_id", tenant_id)
    check_name("tenant_id", name, runtime.settings.max_name_chars)
    return name if principal.get().may(Scope.OPERATOR) else visible(name) or name


def _tenant_of_body(sent: Any) -> Any:
    if sent is not None and not isinstance(sent, str):
        return sent
    found = visible(sent and as_name(sent))
    if found is None:
        raise PydanticCustomError("missing", REQUIRED)
    return found


def _checked(field: str, name: str | None, runtime: Runtime) -> str | None:
    if name is not None:
        check_name(field, name, runtime.settings.max_name_chars)
    return name


def _filter(sent: Any) -> Filter | None:
    return parse(as_json(sent))


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Vector = Annotated[list[Number], Field(fail_fast=True, max_length=MAX_DIMENSIONS)]
_Filters = Annotated[dict[str, Any], Field(max_length=MOST_CONDITIONS)]
Filters = Annotated[Filter | None, PlainValidator(_filter, json_schema_input_type=_Filters | None)]
UtcTime = Annotated[AwareDatetime, AfterValidator(storable)]
"""A time as a request gives it: with its zone, brought to UTC, refused where it could not be stored."""
Caller = Annotated[Principal, Depends(_caller)]
DocId = Annotated[str, Depends(_doc_id)]
Namespace = Annotated[str, Depends(_namespace)]
NamespaceIfAny = Annotated[str | None, Depends(_namespace_if_any)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows in the answer")]
After = Annotated[str | None, Query(max_length=LONGEST_CURSOR, description="next_cursor of the page before")]

# A tenant as a request names it, and what the asker may see of it: no route takes one in any other way.
TenantId = Annotated[str, Depends(_tenant)]
TenantIfAny = Annotated[str | None, Depends(_tenant_if_any)]
TenantInBody = Annotated[
    str,
    BeforeValidator(_tenant_of_body),
    at_most("max_name_chars", minLength=1),
    Field(default_factory=lambda: None, validate_default=True, description=LEFT_OUT),
]
TeamInPath = Annotated[str, Depends(_team)]
IdInPath = Annotated[Word, Path()]


class RequestBody(BaseModel):
    """What is sent. A field that nobody knows is refused: a misspelt ``filters`` must not search everything."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, sent: Any) -> Any:
        """Each field that nobody knows is named by an error of its own; of thousands the number is enough."""
        known = cls.model_fields
        if isinstance(sent, dict) and len(sent) > len(known) + MOST_ERRORS_TOLD:
            told = "This object has {sent} fields, and there are {known}: see /docs for them."
            raise PydanticCustomError("too_many_fields", told, {"sent": len(sent), "known": len(known)})
        return sent


def unquoted_etag(value: str | None) -> str | None:
    """The content hash in an If-Match header."""
    return value.strip().removeprefix("W/").strip('"') if value else None


def _unquoted(field: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid(f"The {field} in the URL is not percent-encoded UTF-8.", param=field) from error
