"""/v1/librechat/embed and /v1/librechat/text: a user's file is stored and searchable, or its text returned."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access import needs
from api.dependencies import InRuntime
from api.doors import DoorBody
from api.forms import NO_FILE, ONE_FILE, Form, Intake, checked, drain, form_schema, receive
from api.librechat.owning import current, marks, place_in
from api.librechat.tokens import LibreChatRoute, User
from api.responses import QUOTAS, raises
from api.strings import DocName, Word
from domain import Json, RawFile, Scope
from errors import (
    BlobStoreUnavailable,
    Conflict,
    Forbidden,
    Invalid,
    ModelUnavailable,
    NotFound,
    Overloaded,
    PreconditionFailed,
    ServiceError,
    Unreadable,
    VersionUnavailable,
)
from runtime.parts import Runtime
from services.ingest.drafts import AUTO, NewDoc
from services.ingest.previewing import ScratchFolder

router = APIRouter(prefix="/v1/librechat", tags=["librechat"], route_class=LibreChatRoute)

ONE = "LibreChat sends one file at once."
WAIT_SECONDS = 600.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0


class EmbedForm(DoorBody):
    """The fields beside the file."""

    file_id: DocName
    entity_id: Word | None = Field(None, description="An agent: who names it may read the file too")


FORM = {"requestBody": form_schema(EmbedForm, ONE_FILE)}


@router.post("/embed", openapi_extra=FORM)
@needs(Scope.INGEST)
@raises(
    *(*QUOTAS, NotFound, Forbidden, Conflict, PreconditionFailed, VersionUnavailable, Unreadable),
    *(BlobStoreUnavailable, ModelUnavailable, Overloaded),
)
async def embed_file(request: Request, user: User, runtime: InRuntime) -> Response:
    """Store a file. It is searchable when the answer comes, which a worker has to be running for."""
    form, uploads = Form(), runtime.ingest.uploads
    try:
        fields, file = await _received(request, uploads, form)
        await run_in_threadpool(partial(_store, runtime, user, fields, file))
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(uploads.delete_unattached, form.blobs)
    await _until_searchable(runtime, fields.file_id)
    message = "File processed successfully."
    return JSONResponse({"status": True, "message": message, **_named(fields, file)})


@router.post("/text", openapi_extra=FORM)
@needs(Scope.INGEST)
@raises(Unreadable, Overloaded)
async def extract_text(request: Request, runtime: InRuntime) -> Response:
    """The text of a file. Stores nothing."""
    scratch = await run_in_threadpool(ScratchFolder)
    try:
        fields, file = await _received(request, scratch, Form())
        text = await run_in_threadpool(runtime.ingest.previews.text, scratch.path, file)
    except ServiceError:
        await drain(request)
        raise
    finally:
        await run_in_threadpool(scratch.close)
    return JSONResponse({"text": text, **_named(fields, file)})


async def _received(request: Request, intake: Intake, form: Form) -> tuple[EmbedForm, RawFile]:
    await receive(request, intake, form, most_files=1, too_many=ONE)
    fields = checked(EmbedForm, form.fields, {"principal": request.state.principal})
    if not form.files:
        raise Invalid(NO_FILE, param="file")
    return fields, form.files[0]


def _named(fields: EmbedForm, file: RawFile) -> Json:
    return {"file_id": fields.file_id, "filename": file.filename, "known_type": True}


def _store(runtime: Runtime, user: str, fields: EmbedForm, file: RawFile) -> None:
    """The precondition keeps two users apart who send the same file_id at once."""
    known = current(runtime, user, fields.file_id)
    doc = NewDoc(
        *place_in(runtime),
        fields.file_id,
        "",
        marks(user, fields.entity_id),
        source_type="upload",
        chunk_strategy=AUTO,
        file=file,
        must_be_new=known is None,
        expected_hash=known.doc_hash if known is not None else None,
    )
    runtime.ingest.uploads.accept([doc])


async def _until_searchable(runtime: Runtime, file_id: str) -> None:
    """Raises Unreadable if the file failed, Overloaded after WAIT_SECONDS."""
    end, pause = time.monotonic() + WAIT_SECONDS, SHORTEST_PAUSE_SECONDS
    while time.monotonic() < end:
        info = await run_in_threadpool(runtime.ingest.browsing.get, *place_in(runtime), file_id)
        if info.status == "ready":
            return
        if info.status == "failed":
            raise Unreadable(info.error or "The file could not be read.", param="file")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    raise Overloaded("The file is stored, and no worker has processed it yet: is one running?")
