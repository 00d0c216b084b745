"""/v1/librechat: is the service up, search in a file, its whole text, and its deletion."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field, RootModel

from api.access import needs, open_to_strangers
from api.dependencies import Caller, InRuntime
from api.doors import DoorBody, cosine, question_with_cosines
from api.librechat.owning import own, place_in, readable
from api.librechat.tokens import LibreChatRoute, User
from api.responses import EMBEDDING, raises
from api.strings import DocName, QueryText, Word, at_most
from api.v1.search import answer_of
from domain import Scope
from errors import NotFound, Overloaded, VersionMismatch
from services.search.question import Passage

router = APIRouter(prefix="/v1/librechat", tags=["librechat"], route_class=LibreChatRoute)

MOST_FILES = 1000

FileIds = Annotated[list[DocName], Field(fail_fast=True, min_length=1, max_length=MOST_FILES)]


class FileQueryIn(DoorBody):
    file_id: DocName
    query: QueryText
    k: Annotated[int, at_most("max_top_k"), Field(ge=1, description="Most passages in the answer")] = 4
    entity_id: Word | None = Field(None, description="The agent that the file was given to")


class PassagesWithDistanceOut(RootModel[list[tuple[dict[str, Any], float]]]):
    """Pairs of page_content with its metadata, and the distance."""


@router.get("/health")
@open_to_strangers
def is_up() -> Response:
    return JSONResponse({"status": "UP"})


@router.post("/query")
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, Overloaded)
async def query_file(body: FileQueryIn, user: User, runtime: InRuntime, caller: Caller) -> PassagesWithDistanceOut:
    """The best passages of a file, each with its distance: 1 less the cosine. None of a file that is another's."""
    question = question_with_cosines(
        place_in(runtime),
        body.query,
        body.k,
        filters=readable(body.file_id, user, body.entity_id),
        limits=runtime.search.limits,
    )
    answer = await answer_of(question, runtime, caller)
    return PassagesWithDistanceOut([(_shown(each), 1 - cosine(each)) for each in answer.passages])


@router.get("/documents/{file_id}/context", response_class=PlainTextResponse)
@needs(Scope.SEARCH)
@raises(NotFound)
def get_context(file_id: Annotated[DocName, Path()], user: User, runtime: InRuntime) -> PlainTextResponse:
    """The whole text of one of the user's files."""
    own(runtime, user, file_id)
    return PlainTextResponse(runtime.ingest.browsing.text(*place_in(runtime), file_id))


@router.delete("/documents")
@needs(Scope.INGEST)
@raises(NotFound)
def delete_files(body: FileIds, user: User, runtime: InRuntime) -> Response:
    """All of them, or none if one is missing or not the user's."""
    infos = [own(runtime, user, file_id) for file_id in dict.fromkeys(body)]
    for info in infos:
        runtime.ingest.documents.delete(*place_in(runtime), info.doc_id)
    return JSONResponse({"message": f"Documents for {len(infos)} files deleted successfully"})


def _shown(passage: Passage) -> dict[str, Any]:
    """source has to be a string: LibreChat takes the part behind its last slash for the file's name."""
    metadata = {
        "source": str(passage.metadata.get("filename") or passage.title or passage.doc_id),
        "file_id": passage.doc_id,
        "user_id": passage.metadata.get("librechat_user"),
        "digest": hashlib.sha256(passage.text.encode()).hexdigest(),
        "page": passage.page_start,
    }
    kept = {name: value for name, value in metadata.items() if value is not None}
    return {"page_content": passage.text, "metadata": kept}
