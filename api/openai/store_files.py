"""/v1/vector_stores/{vector_store_id}/files: the documents of a namespace."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from api.access import needs
from api.dependencies import IdInPath, InRuntime
from api.doors import LenientBody
from api.openai.attaching import ATTACHING, StoreFileIn
from api.openai.bodies import Attributes
from api.openai.common import (
    FileIdInStore,
    InPage,
    OpenAIWritingRoute,
    StatusFilter,
    Tenant,
    answer,
    deleted,
    listed,
    poll_headers,
)
from api.openai.shapes import file_content, store_file
from api.responses import raises
from domain import Scope
from errors import NotFound
from runtime.parts import Runtime
from services.stores.store_file_rows import StoreFileInfo

router = APIRouter(prefix="/v1/vector_stores/{vector_store_id}/files", tags=["openai"], route_class=OpenAIWritingRoute)


class AttributesIn(LenientBody):
    attributes: Attributes | None = Field(description="All of them; null: none")


@router.post("")
@needs(Scope.INGEST)
@raises(*ATTACHING)
def attach_file(vector_store_id: IdInPath, body: StoreFileIn, tenant: Tenant, runtime: InRuntime) -> Response:
    """Attach a file object: a worker extracts, embeds and publishes it after the answer."""
    info = runtime.stores.store_files.attach(tenant, vector_store_id, body.to_attachment())
    return answer(_shown(info, runtime))


@router.get("")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_store_files(
    vector_store_id: IdInPath,
    page: InPage,
    tenant: Tenant,
    runtime: InRuntime,
    filter: Annotated[StatusFilter | None, Query(description="Only of this status")] = None,
) -> Response:
    """The documents of the namespace, whichever door they came through, by id."""
    files = runtime.stores.store_files.page(tenant, vector_store_id, page, status=filter)
    return listed(files, lambda info: _shown(info, runtime))


@router.get("/{file_id}")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_store_file(
    vector_store_id: IdInPath, file_id: FileIdInStore, request: Request, tenant: Tenant, runtime: InRuntime
) -> Response:
    info = runtime.stores.store_files.get(tenant, vector_store_id, file_id)
    is_waiting = info.status == "in_progress"
    return answer(_shown(info, runtime), poll_headers(request, info.updated_at, is_waiting=is_waiting))


@router.post("/{file_id}")
@needs(Scope.INGEST)
@raises(NotFound)
def change_attributes(
    vector_store_id: IdInPath, file_id: FileIdInStore, body: AttributesIn, tenant: Tenant, runtime: InRuntime
) -> Response:
    """Replace the attributes. The next search filters by them; nothing is embedded anew."""
    attributes = dict(body.attributes or {})
    info = runtime.stores.store_files.change_attributes(tenant, vector_store_id, file_id, attributes)
    return answer(_shown(info, runtime))


@router.delete("/{file_id}")
@needs(Scope.INGEST)
@raises(NotFound)
def delete_store_file(
    vector_store_id: IdInPath, file_id: FileIdInStore, tenant: Tenant, runtime: InRuntime
) -> Response:
    """Take the document out of the namespace; searches do not find it any more. The file object stays."""
    runtime.stores.store_files.delete(tenant, vector_store_id, file_id)
    return deleted(file_id, "vector_store.file.deleted")


@router.get("/{file_id}/content")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_store_file_content(
    vector_store_id: IdInPath, file_id: FileIdInStore, tenant: Tenant, runtime: InRuntime
) -> Response:
    """The chunks that searches can find, in document order."""
    return answer(file_content(list(runtime.stores.store_files.chunks(tenant, vector_store_id, file_id))))


def _shown(info: StoreFileInfo, runtime: Runtime) -> dict[str, Any]:
    return store_file(info, runtime.settings.chunk_tokens)
