"""/v1/docs/upload and /v1/docs/{doc_id}/file: documents as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import admit_tenants, needs
from api.dependencies import CallersRestriction, DocId, InRuntime, Namespace, TenantId
from api.forms import NO_FILE, ONE_FILE, Form, checked, drain, form_schema, receive
from api.responses import QUOTAS, raises, with_headers
from api.routing import KEYED, StrictRoute, answer_once
from api.strings import DocName, JsonInForm, Title
from api.tenants import BodyContext
from api.v1.common import ChunkingIn, PlaceIn, UploadOut, uploaded
from api.waiting import WaitSeconds, outcome_in_time
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
from services.ingest.drafts import NewDoc
from services.ingest.uploading import StoredFile, doc_id_of
from settings import BATCH_DOCS_CEILING

router = APIRouter(prefix="/v1/docs", tags=["files"], route_class=StrictRoute)

# A browser saves the file under its own type, and runs nothing in it.
NEVER_RUN = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}


FILE: dict[int | str, dict[str, Any]] = {
    200: {**with_headers("ETag")[200], "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
}


class UploadForm(ChunkingIn, PlaceIn):
    """The fields beside the files. *doc_id* and *title* are repeated for several files, in their order."""

    doc_id: Annotated[list[DocName], Field(fail_fast=True, max_length=BATCH_DOCS_CEILING)] = Field(
        default_factory=list, description="Left out: a hash of namespace and filename"
    )
    title: Annotated[list[Title], Field(fail_fast=True, max_length=BATCH_DOCS_CEILING)] = Field(
        default_factory=list, description="Left out: the title inside the file"
    )
    metadata: JsonInForm = Field(default_factory=dict, description="A JSON object, for all of the files")


FILES = {"type": "array", "items": ONE_FILE, "minItems": 1, "maxItems": BATCH_DOCS_CEILING}


@router.post(
    "/upload",
    response_model=UploadOut,
    responses=with_headers("Location"),
    openapi_extra={"requestBody": form_schema(UploadForm, FILES), **KEYED},
)
@needs(Scope.INGEST)
@raises(*QUOTAS, NotFound, Conflict, VersionUnavailable, Unreadable, BlobStoreUnavailable, ModelUnavailable)
async def upload(request: Request, runtime: InRuntime, seconds: WaitSeconds) -> Response:
    """Store files as documents; a worker extracts, embeds and publishes them after the answer."""
    form = Form()
    try:
        return await _received(request, runtime, form, seconds)
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(runtime.ingest.uploads.delete_unattached, form.blobs)


@router.get("/{doc_id:path}/file", response_class=StreamingResponse, responses=FILE)
@needs(Scope.SEARCH)
@raises(NotFound, BlobStoreUnavailable)
def get_file(
    doc_id: DocId, tenant_id: TenantId, namespace: Namespace, runtime: InRuntime, restriction: CallersRestriction
) -> StreamingResponse:
    """The raw file of a document, byte for byte, as a download."""
    file = runtime.ingest.uploads.open(tenant_id, namespace, doc_id, restriction=restriction)
    return StreamingResponse(file.pieces, headers=attachment_headers(file))


def attachment_headers(file: StoredFile) -> dict[str, str]:
    return {
        "Content-Type": file.mime_type,
        "Content-Length": str(file.byte_count),
        "Content-Disposition": _attachment(file.filename),
        "ETag": f'"{file.sha256}"',
        **NEVER_RUN,
    }


async def _received(request: Request, runtime: Runtime, form: Form, seconds: float | None) -> Response:
    most = runtime.settings.max_batch_docs
    too_many = f"At most {most} files are accepted at once (MAX_BATCH_DOCS). Send several uploads."
    await receive(request, runtime.ingest.uploads, form, most_files=most, too_many=too_many)
    context: BodyContext = {"principal": request.state.principal}
    check = partial(checked, UploadForm, form.fields, context, repeated=("doc_id", "title"))
    upload_form = await request.state.large_bodies.parse(check)
    request.state.tenant = upload_form.tenant_id
    await admit_tenants(request, lambda: [upload_form.tenant_id])
    docs = docs_of(upload_form, form.files)

    async def accept(_request: Request) -> Response:
        outcome = await run_in_threadpool(runtime.ingest.uploads.accept, docs)
        headers, answer = {"Location": f"/v1/jobs/{outcome.job_id}"} if outcome.job_id else {}, uploaded(outcome, docs)
        if seconds is not None:
            answer.job_outcome = await outcome_in_time(runtime, outcome.job_id, seconds)
        return JSONResponse(answer.model_dump(exclude_unset=True), headers=headers)

    key = request.headers.get("idempotency-key")
    if key is None:
        return await accept(request)
    files = [(file.filename, file.sha256) for file in form.files]
    content = json.dumps([sorted(form.fields.items()), files]).encode()
    return await answer_once(request, accept, key, tenant=upload_form.tenant_id, content=content)


def docs_of(form: UploadForm, files: Sequence[RawFile]) -> list[NewDoc]:
    if not files:
        raise Invalid(NO_FILE, param="file")
    doc_ids = form.doc_id or [doc_id_of(form.namespace, file.filename) for file in files]
    titles = form.title or [""] * len(files)
    for name, values in (("doc_id", doc_ids), ("title", titles)):
        if len(values) != len(files):
            raise Invalid(f"There are {len(files)} files and {len(values)} of {name}: send one each.", param=name)
    if len(set(doc_ids)) < len(doc_ids):
        raise Invalid("Two files of the form have the same doc_id, or the same name and no doc_id.", param="doc_id")
    return [
        NewDoc(
            tenant_id=form.tenant_id,
            namespace=form.namespace,
            doc_id=doc_id,
            text="",
            metadata=form.metadata,
            title=title or None,
            source_type="upload",
            chunk_strategy=form.chunk_strategy,
            chunk_overlap=form.chunk_overlap,
            enrich_context=form.enrich_context,
            file=file,
        )
        for doc_id, title, file in zip(doc_ids, titles, files, strict=True)
    ]


def _attachment(filename: str) -> str:
    """RFC 6266: the name in ASCII for old clients, and the full name."""
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
