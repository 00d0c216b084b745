"""What all routes of OpenAI's API share: whose they are, how they are read, and how their answers are shaped.

Unknown parameters are ignored: a newer client may send them. The tenant is the key's; without keys it is
the header OpenAI-Organization, which the clients send for their parameter organization, or else "default".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request
from fastapi.responses import JSONResponse

from api.dependencies import InRuntime, unquoted
from api.doors import DEFAULT_TENANT, ORGANIZATION, DoorRoute
from api.forms import NO_FILE, Form
from api.routing import KEYED, WritingRoute
from api.strings import LONGEST_CURSOR, DocName, as_name
from domain import RawFile
from errors import Invalid
from services.index.names import check_name
from services.stores.paging import ListPage, Order, PageQuery

HEADER = {
    "name": "OpenAI-Organization",
    "in": "header",
    "required": False,
    "description": "The tenant, where no API key says it",
    "schema": {"type": "string", "maxLength": 256},
}
POLL_HELPER, POLL_AFTER = "x-stainless-poll-helper", "openai-poll-after-ms"
ONE_AT_A_TIME = "One file is accepted at a time: send several requests."
SHORTEST_POLL_MS, LONGEST_POLL_MS = 200, 5000


class OpenAIRoute(DoorRoute):
    """Its tenant is in no path and no body."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        own = options.get("openapi_extra") or {}
        keyed = KEYED["parameters"] if isinstance(self, WritingRoute) and "POST" in options["methods"] else []
        options["openapi_extra"] = {**own, "parameters": [HEADER, *keyed]}
        super().__init__(path, endpoint, **options)

    def tenant_of(self, request: Request) -> str:
        return request.headers.get(ORGANIZATION) or DEFAULT_TENANT


class OpenAIWritingRoute(OpenAIRoute, WritingRoute):
    """Likewise, with Idempotency-Key."""


async def _tenant(request: Request) -> str:
    caller, settings = request.state.principal, request.state.runtime.settings
    if caller.tenant_id is not None:
        return str(caller.tenant_id)
    tenant = request.headers.get(ORGANIZATION) or DEFAULT_TENANT
    check_name(ORGANIZATION, tenant, settings.max_name_chars)
    return tenant


async def _file_id(file_id: Annotated[DocName, Path()], runtime: InRuntime) -> str:
    name = unquoted("file_id", file_id)
    check_name("file_id", name, runtime.settings.max_doc_id_chars)
    return name


async def _page(
    limit: Annotated[int, Query(ge=1, le=100, description="Most rows in the answer")] = 20,
    order: Annotated[Order, Query(description="By time of creation")] = "desc",
    after: Annotated[str | None, Query(max_length=LONGEST_CURSOR, description="The last id of the page before")] = None,
    before: Annotated[
        str | None, Query(max_length=LONGEST_CURSOR, description="The first id of the page after")
    ] = None,
) -> PageQuery:
    return PageQuery(limit, order, *(None if each is None else as_name(each) for each in (after, before)))


Tenant = Annotated[str, Depends(_tenant)]
FileIdInStore = Annotated[str, Depends(_file_id)]
"""The id of a file object or, of a document that came through another door, its doc_id."""
InPage = Annotated[PageQuery, Depends(_page)]
StatusFilter = Literal["in_progress", "completed", "failed", "cancelled"]


def answer(value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(dict(value), headers=dict(headers or {}))


def listed(page: ListPage[Any], shape: Any) -> JSONResponse:
    """*shape* makes an object of a row."""
    data = [shape(row) for row in page.data]
    ids = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return answer({"object": "list", "data": data, **ids, "has_more": page.has_more})


def deleted(id: str, kind: str) -> JSONResponse:
    return answer({"id": id, "object": kind, "deleted": True})


def poll_headers(request: Request, since: datetime, *, is_waiting: bool) -> dict[str, str]:
    """When the client's polling helper shall ask again: the later, the longer it has waited already."""
    if not is_waiting or POLL_HELPER not in request.headers:
        return {}
    waited_ms = int(1000 * (datetime.now(UTC) - since).total_seconds())
    return {POLL_AFTER: str(min(max(waited_ms // 4, SHORTEST_POLL_MS), LONGEST_POLL_MS))}


def one_file(form: Form, param: str) -> RawFile:
    if not form.files:
        raise Invalid(NO_FILE, param=param)
    return form.files[0]
