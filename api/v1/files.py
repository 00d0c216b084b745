"""/v1/docs/upload and /v1/docs/{doc_id}/file: documents as files, in and out again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field, Json, ValidationError
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import DocId, InRuntime, Namespace, RequestBody, TenantId, TenantInBody
from api.forms import Form, drain, receive
from api.problems import errors_in_body
from api.responses import raises, with_headers
from api.routing import KEYED, StrictRoute, answer_once
from api.strings import DocName, JsonObject, Name, Title, Word
from api.v1.documents import UpsertOut
from domain import RawFile, Scope
from errors import (
    BlobStoreUnavailable,
    Conflict,
    Invalid,
    ModelUnavailable,
    NotFound,
    ServiceError,
    Unreadable,
    VersionUnavailable,
)
from runtime.parts import Runtime
from services.ingest.drafts import AUTO, NewDoc, UpsertResult
from services.ingest.uploading import doc_id_of
from settings import MOST_BATCH_DOCS
from text import strict_json

router = APIRouter(prefix="/v1/docs", tags=["files"], route_class=StrictRoute)

# A browser that is sent here saves what it gets, under the type that it has, and runs nothing of it.
NEVER_RUN = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


FILE: dict[int | str, dict[str, Any]] = {
    200: {**with_headers("ETag")[200], "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
}


def _parsed(sent: str) -> Any:
    try:
        return strict_json.loads(sent)
    except strict_json.NotJson as error:
        raise ValueError(f"This is not valid JSON ({error}).") from error


class UploadForm(RequestBody):
    """The fields beside the files. *doc_id* and *title* are repeated for several files, in their order."""

    tenant_id: TenantInBody
    namespace: Name
    doc_id: Annotated[list[DocName], Field(fail_fast=True, max_length=MOST_BATCH_DOCS)] = Field(
        default_factory=list, description="Left out: a hash of namespace and filename"
    )
    title: Annotated[list[Title], Field(fail_fast=True, max_length=MOST_BATCH_DOCS)] = Field(
        default_factory=list, description="Left out: the title that the file has in itself"
    )
    metadata: Annotated[JsonObject, BeforeValidator(_parsed, json_schema_input_type=Json[JsonObject])] = Field(
        default_factory=dict, description="A JSON object, for each of the files"
    )
    chunk_strategy: Word = Field(AUTO, description="auto: the one that fits the file")
    chunk_overlap: int = Field(0, ge=0, le=10_000, description="Characters that a chunk repeats of the one before")
    enrich_context: bool = Field(False, description="Embed each chunk with its title and headings before it")


class FileOut(BaseModel):
    doc_id: str
    filename: str
    mime_type: str
    bytes: int
    sha256: str


class UploadOut(UpsertOut):
    """A worker reads and publishes what is in *docs*, under *job_id*; those that were skipped are there already."""

    docs: list[FileOut]


def _form_schema() -> dict[str, Any]:
    schema = UploadForm.model_json_schema()
    one = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_BATCH_DOCS}
    schema["properties"] = {"file": files, **schema["properties"]}
    schema["required"] = ["file", *schema["required"]]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


@router.post(
    "/upload",
    response_model=UploadOut,
    responses=with_headers("Location"),
    openapi_extra={"requestBody": _form_schema(), **KEYED},
)
@needs(Scope.INGEST)
@raises(NotFound, Conflict, VersionUnavailable, Unreadable, BlobStoreUnavailable, ModelUnavailable)
async def upload(request: Request, runtime: InRuntime) -> Response:
    """Store files as documents; a worker reads, embeds and publishes them after the answer."""
    form = Form()
    try:
        return await _received(request, runtime, form)
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(runtime.ingest.uploads.delete_unattached, form.blobs)


@router.get("/{doc_id:path}/file", response_class=StreamingResponse, responses=FILE)
@needs(Scope.SEARCH)
@raises(NotFound, BlobStoreUnavailable)
def get_file(doc_id: DocId, tenant_id: TenantId, namespace: Namespace, runtime: InRuntime) -> StreamingResponse:
    """The raw file of a document as it was sent, to be saved and not to be shown."""
    file = runtime.ingest.uploads.open(tenant_id, namespace, doc_id)
    headers = {
        "Content-Type": file.mime_type,
        "Content-Length": str(file.byte_count),
        "Content-Disposition": _attachment(file.filename),
        "ETag": f'"{file.sha256}"',
    }
    return StreamingResponse(file.pieces, headers={**headers, **NEVER_RUN})


async def _received(request: Request, runtime: Runtime, form: Form) -> Response:
    await receive(request, runtime.ingest.uploads, form, most_files=runtime.settings.max_batch_docs)
    sent = await request.state.large_bodies.parse(partial(_checked, form.fields))
    docs = _docs(sent, form.files)

    async def accept(_request: Request) -> Response:
        done = await run_in_threadpool(runtime.ingest.uploads.accept, docs)
        headers = {"Location": f"/v1/jobs/{done.job_id}"} if done.job_id else {}
        return JSONResponse(uploaded(done, docs).model_dump(), headers=headers)

    key = request.headers.get("idempotency-key")
    if key is None:
        return await accept(request)
    files = [(file.filename, file.sha256) for file in form.files]
    content = json.dumps([sorted(form.fields.items()), files]).encode()
    return await answer_once(request, accept, key, whose=sent.tenant_id, content=content)


def uploaded(done: UpsertResult, docs: Sequence[NewDoc]) -> UploadOut:
    files = [(doc.doc_id, doc.file) for doc in docs if doc.file is not None]
    return UploadOut(
        accepted=len(docs),
        upserted_docs=done.upserted_docs,
        skipped_docs=done.skipped_docs,
        chunks_created=done.chunks_created,
        job_id=done.job_id,
        chunks_embedded=done.chunks_embedded,
        chunks_reused=done.chunks_reused,
        docs=[
            FileOut(
                doc_id=doc_id,
                filename=file.filename,
                mime_type=file.mime_type,
                bytes=file.byte_count,
                sha256=file.sha256,
            )
            for doc_id, file in files
        ],
    )


def _checked(fields: dict[str, list[str]]) -> UploadForm:
    """Raises RequestValidationError, and Invalid for a field that stands there twice."""
    told: dict[str, Any] = {}
    for name, values in fields.items():
        if name in ("doc_id", "title"):
            told[name] = values
        elif len(values) > 1:
            raise Invalid(f"The field {name!r} stands twice in the form.", param=name)
        else:
            told[name] = values[0]
    try:
        return UploadForm.model_validate(told)
    except ValidationError as error:
        raise RequestValidationError(errors_in_body(error)) from error


def _docs(sent: UploadForm, files: Sequence[RawFile]) -> list[NewDoc]:
    if not files:
        raise Invalid("The form has no file: send one as curl -F file=@report.pdf does.", param="file")
    doc_ids = sent.doc_id or [doc_id_of(sent.namespace, file.filename) for file in files]
    titles = sent.title or [""] * len(files)
    for name, values in (("doc_id", doc_ids), ("title", titles)):
        if len(values) != len(files):
            raise Invalid(f"There are {len(files)} files and {len(values)} of {name}: send one each.", param=name)
    if len(set(doc_ids)) < len(doc_ids):
        raise Invalid("Two files of the form have the same doc_id, or the same name and none.", param="doc_id")
    return [
        NewDoc(
            tenant_id=sent.tenant_id,
            namespace=sent.namespace,
            doc_id=doc_id,
            text="",
            metadata=sent.metadata,
            title=title or None,
            source_type="upload",
            chunk_strategy=sent.chunk_strategy,
            chunk_overlap=sent.chunk_overlap,
            enrich_context=sent.enrich_context,
            file=file,
        )
        for doc_id, title, file in zip(doc_ids, titles, files, strict=True)
    ]


def _attachment(filename: str) -> str:
    """RFC 6266: the name in ASCII for old clients, and as it is."""
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
