"""/v1/docs: put documents in, look at them, take them out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from api.access import needs
from api.dependencies import (
    After,
    DocId,
    InRuntime,
    Limit,
    Namespace,
    RequestBody,
    TenantId,
    TenantInBody,
    Vector,
    unquoted_etag,
)
from api.limits import MOST_CHUNKS
from api.responses import EMBEDDING, raises, with_headers
from api.routing import WritingRoute
from api.strings import DocName, DocText, JsonObject, Line, Name, Title, Word
from domain import Scope
from errors import Conflict, Invalid, NotFound, PreconditionFailed
from models import Chunk
from services.ingest.drafts import NewDoc, OwnChunk, UpsertResult
from services.ingest.own_chunks import unit_vector
from services.ingest.rows import DocView
from services.search.passages import chunk_id
from settings import MOST_BATCH_DOCS

router = APIRouter(prefix="/v1/docs", tags=["documents"], route_class=WritingRoute)

ETag = Annotated[str | None, Header(max_length=255, description="A document's content hash; else 412")]


class ChunkIn(RequestBody):
    """A chunk as you cut it. All chunks of a document come with a vector, or none."""

    text: DocText
    metadata: JsonObject | None = Field(None, description="Its own; counts before the document's")
    vector: Vector | None = Field(None, description="From a model of your own; of any length but zero")
    page: int | None = Field(None, ge=1, le=2**31 - 1)


class DocIn(RequestBody):
    """A document, in text or in chunks. What is left out has the default that is shown."""

    tenant_id: TenantInBody
    namespace: Name
    doc_id: DocName
    text: DocText | None = Field(None, examples=["Ships sail the seven seas."])
    chunks: Annotated[list[ChunkIn], Field(fail_fast=True, min_length=1, max_length=MOST_CHUNKS)] | None = Field(
        None, description="Instead of text: taken as they are"
    )
    metadata: JsonObject = Field(default_factory=dict, description="Yours; given back with every hit")
    title: Title | None = None
    source_type: Literal["upload", "url", "manual"] = "manual"
    mime_type: Line = Field("text/plain", max_length=255)
    chunk_strategy: Word = Field("default", description="One of GET /v1/chunking/strategies")
    chunk_overlap: int = Field(0, ge=0, le=10_000, description="Characters that a chunk repeats of the one before")
    enrich_context: bool = Field(False, description="Embed each chunk with its title and headings before it")

    def to_doc(self, *, expected_hash: str | None = None, must_be_new: bool = False) -> NewDoc:
        if (self.text is None) == (self.chunks is None):
            raise Invalid(f"Send text, or chunks instead of it, for {self.doc_id!r}.", param="text")
        told = {**dict(self), "text": self.text or "", "chunks": tuple(_own_chunks(self.doc_id, self.chunks or []))}
        return NewDoc(**told, expected_hash=expected_hash, must_be_new=must_be_new)


def _own_chunks(doc_id: str, sent: list[ChunkIn]) -> Iterator[OwnChunk]:
    for number, chunk in enumerate(sent):
        name = f"The vector of chunk {number} of {doc_id!r}"
        vector = None if chunk.vector is None else unit_vector(chunk.vector, param=f"chunks.{number}.vector", name=name)
        yield OwnChunk(chunk.text, chunk.metadata, vector, chunk.page)


class BatchIn(RequestBody):
    docs: Annotated[list[DocIn], Field(fail_fast=True, min_length=1, max_length=MOST_BATCH_DOCS)]
    async_mode: bool = Field(False, description="Answer at once; a worker embeds and publishes")


class UpsertOut(BaseModel):
    """chunks_reused had a vector already, from an earlier revision or another document, or came with one."""

    accepted: int
    upserted_docs: int
    skipped_docs: int
    chunks_created: int
    job_id: str | None
    chunks_embedded: int
    chunks_reused: int


class DeleteOut(BaseModel):
    deleted: bool
    doc_id: str
    chunks_deleted: int
    job_id: str


class WarningOut(BaseModel):
    """*part* names a sheet, a chapter, an attachment or another part of the file."""

    code: str
    message: str
    page: int | None = None
    part: str | None = None


class DocOut(BaseModel):
    """status is how the newest accepted revision does; live_revision is what a search finds.

    filename is null where it came as text; warnings say what of a file is not in its text, warning_details the same
    for programs: docs/files.md lists the codes.
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


class DocPage(BaseModel):
    data: list[DocOut]
    has_more: bool
    next_cursor: str | None


class ChunkOut(BaseModel):
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


class ChunkPage(BaseModel):
    data: list[ChunkOut]
    has_more: bool
    next_cursor: str | None


@router.post("/upsert")
@needs(Scope.INGEST)
@raises(*EMBEDDING, NotFound, Conflict, PreconditionFailed)
def upsert(
    body: DocIn,
    runtime: InRuntime,
    if_match: ETag = None,
    if_none_match: Annotated[str | None, Header(max_length=255)] = None,
) -> UpsertOut:
    """Store, embed and publish one document; when the answer comes, it is found."""
    if if_none_match not in (None, "*"):
        raise Invalid(
            "If-None-Match takes only * here: accept the document only if there is none.", param="If-None-Match"
        )
    doc = body.to_doc(expected_hash=unquoted_etag(if_match), must_be_new=if_none_match is not None)
    return _upserted(runtime.ingest.documents.upsert([doc]), accepted=1)


@router.post("/upsert/batch", responses=with_headers("Location"))
@needs(Scope.INGEST)
@raises(*EMBEDDING, NotFound, Conflict)
def upsert_batch(body: BatchIn, runtime: InRuntime, response: Response) -> UpsertOut:
    """Store many documents: all published when the answer comes, or by a worker after it (async_mode)."""
    docs = [each.to_doc() for each in body.docs]
    done = runtime.ingest.documents.accept(docs) if body.async_mode else runtime.ingest.documents.upsert(docs)
    if done.job_id:
        response.headers["Location"] = f"/v1/jobs/{done.job_id}"
    return _upserted(done, accepted=len(docs))


@router.get("")
@needs(Scope.SEARCH, Scope.INGEST)
def list_documents(
    tenant_id: TenantId, namespace: Namespace, runtime: InRuntime, limit: Limit = 100, after: After = None
) -> DocPage:
    """The documents of a namespace, by doc_id."""
    found = runtime.ingest.browsing.page(tenant_id, namespace, limit=limit + 1, after=after)
    data = [_doc_out(tenant_id, namespace, view) for view in found[:limit]]
    has_more = len(found) > limit
    return DocPage(data=data, has_more=has_more, next_cursor=data[-1].doc_id if has_more else None)


@router.get("/{doc_id:path}/chunks")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def list_chunks(
    doc_id: DocId,
    tenant_id: TenantId,
    namespace: Namespace,
    runtime: InRuntime,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, le=2**31, description="next_cursor of the page before")] = None,
) -> ChunkPage:
    """The live chunks of a document, in its order."""
    found = runtime.ingest.browsing.chunks(tenant_id, namespace, doc_id, limit=limit + 1, after=after)
    has_more = len(found) > limit
    data = [_chunk_out(chunk) for chunk in found[:limit]]
    return ChunkPage(data=data, has_more=has_more, next_cursor=str(data[-1].chunk_index) if has_more else None)


@router.get("/{doc_id:path}", responses=with_headers("ETag"))
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_document(
    doc_id: DocId, tenant_id: TenantId, namespace: Namespace, runtime: InRuntime, response: Response
) -> DocOut:
    view = runtime.ingest.browsing.get(tenant_id, namespace, doc_id)
    response.headers["ETag"] = f'"{view.revision.doc_hash}"'
    return _doc_out(tenant_id, namespace, view)


@router.delete("/{doc_id:path}", responses=with_headers("Location"))
@needs(Scope.INGEST)
@raises(NotFound, PreconditionFailed)
def delete_document(
    doc_id: DocId,
    tenant_id: TenantId,
    namespace: Namespace,
    runtime: InRuntime,
    response: Response,
    if_match: ETag = None,
) -> DeleteOut:
    """Hide a document from every search at once; a rebuild takes its vectors out of the checkpoint later."""
    done = runtime.ingest.documents.delete(tenant_id, namespace, doc_id, expected_hash=unquoted_etag(if_match))
    response.headers["Location"] = f"/v1/jobs/{done.job_id}"
    return DeleteOut(deleted=True, doc_id=doc_id, chunks_deleted=done.chunks_deleted, job_id=done.job_id)


def _upserted(done: UpsertResult, *, accepted: int) -> UpsertOut:
    return UpsertOut(
        accepted=accepted,
        upserted_docs=done.upserted_docs,
        skipped_docs=done.skipped_docs,
        chunks_created=done.chunks_created,
        job_id=done.job_id,
        chunks_embedded=done.chunks_embedded,
        chunks_reused=done.chunks_reused,
    )


def _doc_out(tenant_id: str, namespace: str, view: DocView) -> DocOut:
    doc, revision = view.doc, view.revision
    return DocOut(
        tenant_id=tenant_id,
        namespace=namespace,
        doc_id=doc.doc_id,
        status=doc.status,
        error=doc.error,
        revision=doc.revision,
        live_revision=doc.live_revision,
        doc_hash=revision.doc_hash,
        title=revision.title,
        source_type=revision.source_type,
        mime_type=revision.mime_type,
        metadata=revision.doc_metadata,
        chunk_count=revision.chunk_count,
        job_id=revision.job_id,
        filename=view.file.filename if view.file else None,
        warnings=view.file.messages if view.file else [],
        warning_details=[WarningOut(**each) for each in view.file.caveats] if view.file else [],
        created_at=doc.created_at,
        updated_at=doc.updated_at,
    )


def _chunk_out(chunk: Chunk) -> ChunkOut:
    return ChunkOut(
        chunk_id=chunk_id(chunk.doc_id, chunk.chunk_index),
        chunk_index=chunk.chunk_index,
        text=chunk.text,
        header=chunk.header,
        section=chunk.section,
        metadata=chunk.chunk_metadata,
        page_start=chunk.page_start,
        page_end=chunk.page_end,
        char_start=chunk.char_start,
        char_end=chunk.char_end,
        token_count=chunk.token_count,
    )
