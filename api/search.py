"""/v1/search: find passages."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.access import needs
from api.dependencies import Caller, InRuntime, TenantInBody
from api.routing import StrictRoute
from domain import Scope
from errors import Invalid
from services.drafting import check_name
from services.search import Answer, Question
from settings import Settings
from text.filter_spellings import parse

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)


class SearchIn(BaseModel):
    tenant_id: TenantInBody
    namespace: str
    query: str
    top_k: Annotated[int, Field(ge=1, description="Most chunks in the answer; the service sets the largest")] = 5
    embedding_version: str | None = Field(None, description="Answer only from this version, else 409")
    filters: dict[str, Any] | None = Field(None, description="Which chunks may be found, by metadata and fields")
    explain: bool = Field(False, description="Add how long each step took")


class ChunkOut(BaseModel):
    """score is cosine similarity: 1.0 is the same."""

    model_config = ConfigDict(from_attributes=True)

    doc_id: str
    chunk_id: str
    text: str
    score: float
    metadata: dict[str, Any]
    title: str | None
    section: str | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int
    revision: int


class IndexOut(BaseModel):
    """What was searched: everything published up to seq. exact: every vector was compared."""

    seq: int
    embedding_version: str
    exact: bool


class SearchOut(BaseModel):
    """hint says why nothing could be found, where that is known."""

    chunks: list[ChunkOut]
    total_found: int
    index: IndexOut | None
    hint: str | None = None
    timings: dict[str, float] | None = None


@router.post("/search", response_model_exclude_none=False)
@needs(Scope.SEARCH)
async def search(body: SearchIn, runtime: InRuntime, caller: Caller) -> SearchOut:
    """The nearest chunks of a namespace. Deleted and replaced ones are never among them."""
    started = time.perf_counter()
    place, wanted = (body.tenant_id, body.namespace), parse(body.filters)
    question = Question(*place, body.query, body.top_k, body.embedding_version, filters=wanted)
    question = checked(question, runtime.settings, field="query")
    answer = await asyncio.wrap_future(runtime.questions.submit(question))
    latency_ms = round(1000 * (time.perf_counter() - started))
    runtime.query_log.searched(question, answer, latency_ms=latency_ms, api_key_id=caller.key_id)
    return _search_out(answer, explain=body.explain)


def checked(question: Question, settings: Settings, *, field: str) -> Question:
    """The question as it will be searched for; *field* is what the request calls its text. Raises Invalid."""
    for name in ("tenant_id", "namespace"):
        check_name(name, getattr(question, name), settings.max_name_chars)
    if question.top_k > settings.max_top_k:
        raise Invalid(f"top_k is {question.top_k}; at most {settings.max_top_k} is served (MAX_TOP_K).", param="top_k")
    if not question.query.strip():
        raise Invalid(f"{field} is empty: say what to look for.", param=field)
    if len(question.query) > settings.max_query_chars:
        told = f"{field} has {len(question.query)} characters; at most {settings.max_query_chars} are read"
        raise Invalid(f"{told} (MAX_QUERY_CHARS).", param=field)
    return replace(question, query=question.query.replace("\x00", " "))


def _search_out(answer: Answer, *, explain: bool) -> SearchOut:
    index = None
    if answer.seq is not None and answer.embedding_version is not None:
        index = IndexOut(seq=answer.seq, embedding_version=answer.embedding_version, exact=answer.is_exact)
    return SearchOut(
        chunks=[ChunkOut.model_validate(passage) for passage in answer.passages],
        total_found=len(answer.passages),
        index=index,
        hint=answer.hint,
        timings=answer.timings if explain else None,
    )
