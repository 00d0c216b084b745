"""/v1/uploads: files in parts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import IdInPath, InRuntime
from api.doors import LenientBody
from api.forms import ONE_FILE, Form, drain, receive
from api.openai.bodies import FEWEST_SECONDS, MOST_SECONDS, Filename, MimeType, Purpose
from api.openai.common import ONE_AT_A_TIME, OpenAIRoute, OpenAIWritingRoute, Tenant, answer, one_file
from api.openai.shapes import upload, upload_part
from api.responses import QUOTAS, raises
from api.strings import Word
from domain import Scope
from errors import BlobStoreUnavailable, Ended, NotFound, ServiceError, Unreadable
from services.stores.uploads import NewUpload

router = APIRouter(prefix="/v1/uploads", tags=["openai"], route_class=OpenAIWritingRoute)
parts_router = APIRouter(prefix="/v1/uploads", tags=["openai"], route_class=OpenAIRoute)

MAX_PARTS = 5000
ONE_PART = {"type": "object", "properties": {"data": ONE_FILE}, "required": ["data"]}
PART_FORM = {"required": True, "content": {"multipart/form-data": {"schema": ONE_PART}}}


class FileExpiryIn(LenientBody):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=FEWEST_SECONDS, le=MOST_SECONDS)]


class UploadIn(LenientBody):
    filename: Filename
    purpose: Purpose
    bytes: Annotated[int, Field(ge=1, le=2**53, description="Of the whole file")]
    mime_type: MimeType
    expires_after: FileExpiryIn | None = None


class CompletionIn(LenientBody):
    part_ids: Annotated[list[Word], Field(fail_fast=True, min_length=1, max_length=MAX_PARTS)]
    md5: Word | None = Field(None, description="Of the whole file, in hex: a 422 if it differs")


@router.post("")
@needs(Scope.INGEST)
@raises(NotFound)
def create_upload(body: UploadIn, tenant: Tenant, runtime: InRuntime) -> Response:
    """Begin an upload in parts. It expires after an hour."""
    expiry = body.expires_after
    new = NewUpload(
        filename=body.filename,
        purpose=body.purpose,
        mime_type=body.mime_type,
        byte_count=body.bytes,
        seconds=None if expiry is None else expiry.seconds,
    )
    return answer(upload(runtime.stores.uploads.create(tenant, new)))


@parts_router.post("/{upload_id}/parts", openapi_extra={"requestBody": PART_FORM})
@needs(Scope.INGEST)
@raises(*QUOTAS, NotFound, Ended, BlobStoreUnavailable)
async def add_part(request: Request, upload_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> Response:
    """Add a part. Parts may be sent at the same time; complete names their order."""
    form = Form()
    try:
        await receive(request, runtime.stores.uploads.parts, form, most_files=1, too_many=ONE_AT_A_TIME)
        raw = one_file(form, "data")
        return answer(upload_part(await run_in_threadpool(runtime.stores.uploads.add_part, tenant, upload_id, raw)))
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(runtime.ingest.uploads.delete_unattached, form.blobs)


@router.post("/{upload_id}/complete")
@needs(Scope.INGEST)
@raises(*QUOTAS, NotFound, Ended, Unreadable, BlobStoreUnavailable)
def complete_upload(upload_id: IdInPath, body: CompletionIn, tenant: Tenant, runtime: InRuntime) -> Response:
    """Join the parts, in the order named here, into a file."""
    return answer(upload(runtime.stores.uploads.complete(tenant, upload_id, body.part_ids, md5=body.md5)))


@router.post("/{upload_id}/cancel")
@needs(Scope.INGEST)
@raises(NotFound, Ended)
def cancel_upload(upload_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> Response:
    return answer(upload(runtime.stores.uploads.cancel(tenant, upload_id)))
