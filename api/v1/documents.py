"""/v1/docs: store, read and delete documents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import (
    Caller,
    CallersRestriction,
    DocId,
    DocQueryInUrl,
    InRuntime,
    Limit,
    Namespace,
    TenantId,
    unquoted_etag,
)
from api.fields import RequestBody, UnparsedFilters, Vector
from api.limits import MAX_CHUNKS
from api.responses import EMBEDDING, QUOTAS, raises, with_headers
from api.routing import WritingRoute
from api.strings import DocName, DocText, JsonObject, Line, Name, Title, Word
from api.v1.common import (
    BatchOut,
    ChunkingIn,
    ErasureStartedOut,
    JobStartedOut,
    Out,
    Page,
    PlaceIn,
    UpsertOut,
    WarningOut,
    actor,
    started,
)
from api.waiting import WaitSeconds, outcome_in_time
from domain import JobStatus, Scope
from errors import Conflict, Invalid, NotFound, PreconditionFailed
from runtime.parts import Runtime
from services.erasure.requests import ErasureRequest
from services.ingest.drafts import NewDoc, OwnChunk, UpsertResult
from services.ingest.own_chunks import unit_vector
from settings import BATCH_DOCS_CEILING

router = APIRouter(prefix="/v1/docs", tags=["documents"], route_class=WritingRoute)

ETag = Annotated[str | None, Header(max_length=255, description="The document's content hash; 412 if it differs")]


class ChunkIn(RequestBody):
    """A chunk of your own. Either all chunks of a document have a vector, or none."""

    text: DocText
    metadata: JsonObject | None = Field(None, description="Its own; overrides the document's")
    vector: Vector | None = Field(None, description="From a model of your own; of any length but zero")
    page: int | None = Field(None, ge=1, le=2**31 - 1)


class DocIn(ChunkingIn, PlaceIn):
    """A document, as text or as chunks."""

    doc_id: DocName
    text: DocText | None = Field(None, examples=["Ships sail the seven seas."])
    chunks: Annotated[list[ChunkIn], Field(fail_fast=True, min_length=1, max_length=MAX_CHUNKS)] | None = Field(
        None, description="Instead of text: stored as they are"
    )
    metadata: JsonObject = Field(default_factory=dict, description="Yours; returned with every hit")
    title: Title | None = None
    source_type: Literal["upload", "url", "manual"] = "manual"
    mime_type: Line = Field("text/plain", max_length=255)
    chunk_strategy: Word = Field("default", description="One of GET /v1/chunking/strategies")

    def to_doc(self, *, expected_hash: str | None = None, must_be_new: bool = False) -> NewDoc:
        if (self.text is None) == (self.chunks is None):
            raise Invalid(f"Send either text or chunks for {self.doc_id!r}.", param="text")
        fields = {**dict(self), "text": self.text or "", "chunks": tuple(_own_chunks(self.doc_id, self.chunks or []))}
        return NewDoc(**fields, expected_hash=expected_hash, must_be_new=must_be_new)


def _own_chunks(doc_id: str, chunks: list[ChunkIn]) -> Iterator[OwnChunk]:
    for number, chunk in enumerate(chunks):
        name = f"The vector of chunk {number} of {doc_id!r}"
        vector = None if chunk.vector is None else unit_vector(chunk.vector, param=f"chunks.{number}.vector", name=name)
        yield OwnChunk(chunk.text, chunk.metadata, vector, chunk.page)


class BatchIn(RequestBody):
    docs: Annotated[list[DocIn], Field(fail_fast=True, min_length=1, max_length=BATCH_DOCS_CEILING)]
    async_mode: bool = Field(False, description="Answer at once; a worker embeds and publishes later")


class DeletionIn(PlaceIn):
    """Either filters or whole_namespace."""

    filters: UnparsedFilters | None = Field(
        None,
        description="Conditions on fields and metadata of documents, as in searches",
        examples=[{"year": {"$lt": 2000}}],
    )
    whole_namespace: Name | None = Field(
        None, description="The namespace's name once more: all of its documents are deleted"
    )


class DeleteOut(Out):
    deleted: bool
    doc_id: str
    chunks_deleted: int
    job_id: str


class DocOut(Out):
    """status is that of the newest accepted revision; searches find live_revision.

    filename is null if the document was sent as text. warnings say which parts of a file are not in its text;
    warning_details say the same for programs: docs/files.md lists the codes.
    """

    tenant_id: str
    namespace: str
    doc_id: str
    status: str
    error: str | None
    revision: int
    live_revision: int | None
    doc_hash: str
    title: str | None
    source_type: str
    mime_type: str
    metadata: dict[str, Any]
    chunk_count: int
    job_id: str | None
    filename: str | None
    warnings: list[str]
    warning_details: list[WarningOut]
    created_at: datetime
    updated_at: datetime


class DocPage(Page[DocOut]):
    """With title or filters a page may be short although has_more is true. total is null unless count was true."""

    total: int | None


class DocumentChunkOut(Out):
    chunk_id: str
    chunk_index: int
    text: str
    header: str
    section: str | None
    metadata: dict[str, Any] | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int


class ChunkPage(Page[DocumentChunkOut]):
    pass


@router.post("/upsert")
@needs(Scope.INGEST)
@raises(*EMBEDDING, *QUOTAS, NotFound, Conflict, PreconditionFailed)
def upsert(
    body: DocIn,
    runtime: InRuntime,
    if_match: ETag = None,
    if_none_match: Annotated[str | None, Header(max_length=255)] = None,
) -> UpsertOut:
    """Store, embed and publish one document; after the answer, searches find it."""
    if if_none_match not in (None, "*"):
        raise Invalid(
            "If-None-Match supports only * here: accept the document only if it does not exist.", param="If-None-Match"
        )
    doc = body.to_doc(expected_hash=unquoted_etag(if_match), must_be_new=if_none_match is not None)
    return UpsertOut.model_validate(runtime.ingest.documents.upsert([doc]))


@router.post("/upsert/batch", responses=with_headers("Location"), response_model_exclude_unset=True)
@needs(Scope.INGEST)
@raises(*EMBEDDING, *QUOTAS, NotFound, Conflict)
async def upsert_batch(body: BatchIn, runtime: InRuntime, response: Response, seconds: WaitSeconds) -> BatchOut:
    """Store many documents: all published before the answer, or by a worker after it (async_mode)."""
    result = await run_in_threadpool(_store, body, runtime)
    answer = BatchOut.model_validate(result)
    if result.job_id:
        response.headers["Location"] = f"/v1/jobs/{result.job_id}"
    if seconds is not None:
        answer.job_outcome = await outcome_in_time(runtime, result.job_id, seconds)
    return answer


def _store(body: BatchIn, runtime: Runtime) -> UpsertResult:
    docs = [each.to_doc() for each in body.docs]
    return (runtime.ingest.documents.accept if body.async_mode else runtime.ingest.documents.upsert)(docs)


@router.get("")
@needs(Scope.SEARCH, Scope.INGEST)
def list_documents(
    tenant_id: TenantId,
    namespace: Namespace,
    runtime: InRuntime,
    query: DocQueryInUrl,
    *,
    count: Annotated[bool, Query(description="Count the whole list in total")] = False,
    limit: Limit = 100,
) -> DocPage:
    """The documents of a namespace."""
    page = runtime.ingest.browsing.page(tenant_id, namespace, query, limit=limit, is_counted=count)
    documents = [DocOut.model_validate(each) for each in page.data]
    has_more = page.next_cursor is not None
    return DocPage(data=documents, has_more=has_more, next_cursor=page.next_cursor, total=page.total)


@router.get("/{doc_id:path}/chunks")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_chunks(
    doc_id: DocId,
    tenant_id: TenantId,
    namespace: Namespace,
    runtime: InRuntime,
    restriction: CallersRestriction,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, le=2**31, description="next_cursor of the page before")] = None,
) -> ChunkPage:
    """The live chunks of a document, in document order."""
    chunks = runtime.ingest.browsing.chunks(
        tenant_id, namespace, doc_id, limit=limit + 1, after=after, restriction=restriction
    )
    return ChunkPage.of(chunks, limit=limit, cursor="chunk_index")


@router.get("/{doc_id:path}", responses=with_headers("ETag"))
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_document(
    doc_id: DocId,
    tenant_id: TenantId,
    namespace: Namespace,
    runtime: InRuntime,
    restriction: CallersRestriction,
    response: Response,
) -> DocOut:
    document = runtime.ingest.browsing.get(tenant_id, namespace, doc_id, restriction=restriction)
    response.headers["ETag"] = f'"{document.doc_hash}"'
    return DocOut.model_validate(document)


@router.post("/delete", status_code=202, responses=with_headers("Location", status=202))
@needs(Scope.INGEST)
@raises(NotFound)
def delete_documents(body: DeletionIn, runtime: InRuntime, response: Response) -> JobStartedOut:
    """Delete the documents that a filter matches, or all of a namespace, as a job. What is accepted later stays."""
    job_id = runtime.ingest.deleting.accept(
        body.tenant_id, body.namespace, filters=body.filters, whole_namespace=body.whole_namespace
    )
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobStartedOut(job_id=job_id, status=JobStatus.PENDING)


@router.post("/{doc_id:path}/retry", responses=with_headers("Location"))
@needs(Scope.INGEST)
@raises(NotFound, Conflict)
def retry_document(
    doc_id: DocId, tenant_id: TenantId, namespace: Namespace, runtime: InRuntime, response: Response
) -> JobStartedOut:
    """Try a failed document again with the text or file that was sent."""
    job_id = runtime.ingest.retrying.retry_document(tenant_id, namespace, doc_id)
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobStartedOut(job_id=job_id, status=JobStatus.PENDING)


@router.delete(
    "/{doc_id:path}",
    responses={
        **with_headers("Location"),
        202: {"model": ErasureStartedOut, **with_headers("Location", status=202)[202]},
    },
)
@needs(Scope.INGEST)
@raises(NotFound, PreconditionFailed)
def delete_document(
    doc_id: DocId,
    tenant_id: TenantId,
    namespace: Namespace,
    runtime: InRuntime,
    response: Response,
    caller: Caller,
    *,
    if_match: ETag = None,
    hard: Annotated[bool, Query(description="Erase it for good, with a receipt, as POST /v1/erasures")] = False,
) -> DeleteOut | ErasureStartedOut:
    """Hide a document from all searches at once; a rebuild removes its vectors from the checkpoint later."""
    if hard:
        runtime.ingest.browsing.require_content(tenant_id, namespace, doc_id, expected_hash=unquoted_etag(if_match))
        request = ErasureRequest(tenant_id=tenant_id, namespace=namespace, doc_ids=[doc_id], requested_by=actor(caller))
        response.status_code = 202
        return started(runtime.erasure.requests.accept(request), response)
    deletion = runtime.ingest.documents.delete(tenant_id, namespace, doc_id, expected_hash=unquoted_etag(if_match))
    response.headers["Location"] = f"/v1/jobs/{deletion.job_id}"
    return DeleteOut(deleted=True, doc_id=doc_id, chunks_deleted=deletion.chunks_deleted, job_id=deletion.job_id)
