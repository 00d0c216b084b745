"""/v1/docs/preview: what a file would become."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import admit_tenants, needs
from api.dependencies import InRuntime
from api.forms import NO_FILE, ONE_FILE, Form, checked, drain, form_schema, receive
from api.responses import raises
from api.routing import StrictRoute
from api.strings import JsonInForm, Title
from api.tenants import BodyContext
from api.v1.common import ChunkingIn, Out, Page, PlaceIn, WarningOut
from domain import RawFile, Scope
from errors import Invalid, ModelUnavailable, NotFound, Overloaded, ServiceError, Unreadable, VersionUnavailable
from runtime.parts import Runtime
from services.ingest.drafts import NewDoc
from services.ingest.previewing import Preview, ScratchFolder
from services.ingest.uploading import doc_id_of

router = APIRouter(prefix="/v1/docs", tags=["files"], route_class=StrictRoute)

MAX_TEXT = 1_000_000
MAX_OFFSET = 2**31 - 1


class PreviewForm(ChunkingIn, PlaceIn):
    """The fields beside the file: those of an upload, and which part of the result to answer with."""

    title: Title | None = Field(None, description="Left out: the title inside the file")
    metadata: JsonInForm = Field(default_factory=dict, description="A JSON object")
    limit: Annotated[int, Field(ge=1, le=1000, description="Most chunks in the answer")] = 100
    after: Annotated[int, Field(ge=0, le=MAX_OFFSET)] | None = Field(None, description="next_cursor of the page before")
    text_offset: Annotated[
        int, Field(ge=0, le=MAX_OFFSET, description="Where the answer's part of the text begins")
    ] = 0
    text_limit: Annotated[int, Field(ge=0, le=MAX_TEXT, description="Most characters of the text in the answer")] = (
        10_000
    )


class PreviewChunkOut(Out):
    chunk_index: int
    text: str
    header: str
    section: str | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int


class PreviewChunkPage(Page[PreviewChunkOut]):
    pass


class PreviewOut(Out):
    """text is the part that begins at text_offset, of text_length characters in all."""

    filename: str
    mime_type: str
    bytes: int
    sha256: str
    title: str | None
    chunk_strategy: str
    text_length: int
    text_offset: int
    text: str
    chunk_count: int
    chunks: PreviewChunkPage
    warnings: list[str]
    warning_details: list[WarningOut]


@router.post("/preview", response_model=PreviewOut, openapi_extra={"requestBody": form_schema(PreviewForm, ONE_FILE)})
@needs(Scope.INGEST)
@raises(NotFound, Unreadable, ModelUnavailable, VersionUnavailable, Overloaded)
async def preview(request: Request, runtime: InRuntime) -> Response:
    """What an upload of the file would store: its text, chunks and warnings. Stores nothing."""
    scratch = await run_in_threadpool(ScratchFolder)
    try:
        return await _previewed(request, runtime, scratch)
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(scratch.close)


async def _previewed(request: Request, runtime: Runtime, scratch: ScratchFolder) -> Response:
    form = Form()
    too_many = "A preview takes one file: send a request for each."
    await receive(request, scratch, form, most_files=1, too_many=too_many)
    context: BodyContext = {"principal": request.state.principal}
    fields = await request.state.large_bodies.parse(partial(checked, PreviewForm, form.fields, context))
    await admit_tenants(request, lambda: [fields.tenant_id])
    if not form.files:
        raise Invalid(NO_FILE, param="file")
    doc = _doc(fields, form.files[0])

    def answer() -> Response:
        preview = runtime.ingest.previews.preview(scratch.path, doc)
        return JSONResponse(_out(preview, fields).model_dump())

    return await run_in_threadpool(answer)


def _out(preview: Preview, form: PreviewForm) -> PreviewOut:
    described = preview.described(text_offset=form.text_offset, text_limit=form.text_limit)
    chunks = [PreviewChunkOut(**each) for each in preview.chunks(limit=form.limit + 1, after=form.after)]
    page = PreviewChunkPage.of(chunks, limit=form.limit, cursor="chunk_index")
    return PreviewOut.model_validate({**described, "chunks": page})


def _doc(form: PreviewForm, file: RawFile) -> NewDoc:
    return NewDoc(
        tenant_id=form.tenant_id,
        namespace=form.namespace,
        doc_id=doc_id_of(form.namespace, file.filename),
        text="",
        metadata=form.metadata,
        title=form.title,
        source_type="upload",
        chunk_strategy=form.chunk_strategy,
        chunk_overlap=form.chunk_overlap,
        enrich_context=form.enrich_context,
        file=file,
    )
