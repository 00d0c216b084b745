"""/v1/vector_stores/{vector_store_id}/file_batches: files that are attached together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from api.access import needs
from api.dependencies import IdInPath, InRuntime
from api.doors import LenientBody
from api.openai.attaching import ATTACHING, StoreFileIn
from api.openai.bodies import Attributes, FileId
from api.openai.chunking import ChunkingStrategyIn, overlap_of
from api.openai.common import InPage, OpenAIWritingRoute, StatusFilter, Tenant, answer, listed, poll_headers
from api.openai.shapes import file_batch, store_file
from api.responses import raises
from domain import Scope
from errors import Invalid, NotFound
from services.stores.store_file_rows import Attachment

router = APIRouter(
    prefix="/v1/vector_stores/{vector_store_id}/file_batches", tags=["openai"], route_class=OpenAIWritingRoute
)

MOST_FILES = 2000


class FileBatchIn(LenientBody):
    """Either file_ids, with attributes and chunking_strategy for all, or files, each with its own."""

    file_ids: Annotated[list[FileId], Field(fail_fast=True, min_length=1, max_length=MOST_FILES)] | None = None
    files: Annotated[list[StoreFileIn], Field(fail_fast=True, min_length=1, max_length=MOST_FILES)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategyIn | None = None

    def to_attachments(self) -> list[Attachment]:
        if (self.file_ids is None) == (self.files is None):
            raise Invalid("Send either file_ids or files.", param="file_ids")
        if self.files is not None:
            return [each.to_attachment() for each in self.files]
        overlap = overlap_of(self.chunking_strategy)
        return [Attachment(each, dict(self.attributes or {}), overlap) for each in self.file_ids or ()]


@router.post("")
@needs(Scope.INGEST)
@raises(*ATTACHING)
def create_batch(vector_store_id: IdInPath, body: FileBatchIn, tenant: Tenant, runtime: InRuntime) -> Response:
    """Attach files together: workers extract, embed and publish them after the answer."""
    return answer(file_batch(runtime.stores.batches.create(tenant, vector_store_id, body.to_attachments())))


@router.get("/{batch_id}")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_batch(
    vector_store_id: IdInPath, batch_id: IdInPath, request: Request, tenant: Tenant, runtime: InRuntime
) -> Response:
    info = runtime.stores.batches.get(tenant, vector_store_id, batch_id)
    is_waiting = info.status == "in_progress"
    headers = poll_headers(request, info.batch.created_at, is_waiting=is_waiting)
    return answer(file_batch(info), headers)


@router.post("/{batch_id}/cancel")
@needs(Scope.INGEST)
@raises(NotFound)
def cancel_batch(vector_store_id: IdInPath, batch_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> Response:
    """Leave out what is not published yet. A batch that has ended stays as it is."""
    return answer(file_batch(runtime.stores.batches.cancel(tenant, vector_store_id, batch_id)))


@router.get("/{batch_id}/files")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_batch_files(
    vector_store_id: IdInPath,
    batch_id: IdInPath,
    page: InPage,
    tenant: Tenant,
    runtime: InRuntime,
    filter: Annotated[StatusFilter | None, Query(description="Only of this status")] = None,
) -> Response:
    files = runtime.stores.batches.files(tenant, vector_store_id, batch_id, page, status=filter)
    return listed(files, lambda info: store_file(info, runtime.settings.chunk_tokens))
