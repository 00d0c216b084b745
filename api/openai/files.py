"""/v1/files: raw files by themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import After, IdInPath, InRuntime
from api.doors import LenientBody
from api.forms import ONE_FILE, Form, checked, drain, form_schema, receive
from api.openai.bodies import FEWEST_SECONDS, MOST_SECONDS, Purpose
from api.openai.common import ONE_AT_A_TIME, OpenAIRoute, Tenant, answer, deleted, listed, one_file
from api.openai.shapes import file_object
from api.responses import QUOTAS, raises
from api.v1.files import FILE, attachment_headers
from domain import Scope
from errors import BlobStoreUnavailable, NotFound, ServiceError, Unreadable
from services.stores.files import NewFile
from services.stores.paging import Order, PageQuery

router = APIRouter(prefix="/v1/files", tags=["openai"], route_class=OpenAIRoute)


class FileForm(LenientBody):
    """The fields beside the file."""

    purpose: Purpose
    anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    seconds: Annotated[int, Field(ge=FEWEST_SECONDS, le=MOST_SECONDS)] | None = Field(
        None, alias="expires_after[seconds]", description="When it is deleted, counted from now"
    )


@router.post("", openapi_extra={"requestBody": form_schema(FileForm, ONE_FILE)})
@needs(Scope.INGEST)
@raises(*QUOTAS, NotFound, Unreadable, BlobStoreUnavailable)
async def create_file(request: Request, tenant: Tenant, runtime: InRuntime) -> Response:
    """Upload a file, to be attached to vector stores."""
    form = Form()
    try:
        await receive(request, runtime.ingest.uploads, form, most_files=1, too_many=ONE_AT_A_TIME)
        fields = checked(FileForm, form.fields, {"principal": request.state.principal})
        file = NewFile(one_file(form, "file"), fields.purpose, fields.seconds)
        return answer(file_object(await run_in_threadpool(runtime.stores.files.keep, tenant, file)))
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(runtime.ingest.uploads.delete_unattached, form.blobs)


@router.get("")
@needs(Scope.SEARCH, Scope.INGEST)
def list_files(
    tenant: Tenant,
    runtime: InRuntime,
    purpose: Annotated[Purpose | None, Query(description="Only of this purpose")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Most rows in the answer")] = 10_000,
    order: Annotated[Order, Query(description="By time of creation")] = "desc",
    after: After = None,
) -> Response:
    """The files that were uploaded by themselves or in parts."""
    page = runtime.stores.files.page(tenant, PageQuery(limit, order, after), purpose=purpose)
    return listed(page, file_object)


@router.get("/{file_id}")
@needs(Scope.SEARCH, Scope.INGEST)
@raises(NotFound)
def get_file(file_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> Response:
    return answer(file_object(runtime.stores.files.get(tenant, file_id)))


@router.get("/{file_id}/content", response_class=StreamingResponse, responses=FILE)
@needs(Scope.SEARCH)
@raises(NotFound, BlobStoreUnavailable)
def get_file_content(file_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> StreamingResponse:
    """The file, byte for byte."""
    file = runtime.stores.files.open(tenant, file_id)
    return StreamingResponse(file.pieces, headers=attachment_headers(file))


@router.delete("/{file_id}")
@needs(Scope.INGEST)
@raises(NotFound)
def delete_file(file_id: IdInPath, tenant: Tenant, runtime: InRuntime) -> Response:
    """Delete a file, and take it out of every vector store."""
    runtime.stores.files.delete(tenant, file_id)
    return deleted(file_id, "file")
