"""/v1/search: find passages."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.access import needs
from api.dependencies import Caller, Filters, InRuntime, RequestBody, TenantInBody, Vector
from api.responses import EMBEDDING, raises
from api.routing import StrictRoute
from api.strings import Name, QueryText, at_most
from domain import Mode, Scope
from errors import Invalid, Overloaded, VersionMismatch
from runtime.parts import Runtime
from services.ingest.checking import check_name
from services.ingest.own_chunks import unit_vector
from services.search.question import Answer, Passage, Question, Side
from settings import Settings

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)

MOST_QUERIES = 16

Included = Literal["text", "metadata"]


class SearchIn(RequestBody):
    tenant_id: TenantInBody
    namespace: Name
    query: QueryText | None = Field(None, description="What to look for, in words", examples=["Who goes to sea?"])
    vector: Vector | None = Field(
        None, description="Instead of query, or beside it in mode hybrid: a vector to look for, of any length"
    )
    queries: Annotated[list[QueryText], Field(fail_fast=True, max_length=MOST_QUERIES)] = Field(
        [], description="More questions, whose answers are fused with that of query, if any"
    )
    top_k: Annotated[
        int, at_most("max_top_k"), Field(ge=1, description="Most chunks in the answer; the service sets the largest")
    ] = 5
    mode: Mode | None = Field(None, description="Null: what the service is set to")
    fusion: Literal["min_max", "reciprocal_rank"] = Field("min_max", description="How several lists become one")
    min_score: float | None = Field(None, allow_inf_nan=False, description="Leave out what scores less")
    mmr_lambda: float | None = Field(None, ge=0, le=1, description="Diversity: 1 is none, 0 looks at nothing else")
    group_by: Literal["doc"] | None = Field(None, description="top_k then counts documents")
    group_size: Annotated[int, Field(ge=1, le=100, description="Best chunks of each document")] = 1
    include: Annotated[list[Included], Field(fail_fast=True, max_length=2)] = Field(
        ["text", "metadata"], description="What to tell of each chunk"
    )
    context: Annotated[int, Field(ge=0, le=10, description="Chunks before and after to join to each")] = 0
    rerank: bool | None = Field(None, description="Null: if the service has a reranker")
    embedding_version: Name | None = Field(None, description="Answer only from this version, else 409")
    filters: Filters = Field(None, description="Which chunks may be found, by metadata and fields")
    explain: bool = Field(False, description="Add how long each step took, and where each side had each chunk")


class FoundByOut(BaseModel):
    """One list that had the chunk: whose, for which question (0 is the first), at which rank, with which score."""

    model_config = ConfigDict(from_attributes=True)

    side: Side
    query: int
    rank: int
    score: float


class ChunkOut(BaseModel):
    """score is cosine similarity (dense), BM25 (keyword) or, where lists were fused, the share of the best: 0 to 1."""

    model_config = ConfigDict(from_attributes=True)

    doc_id: str
    chunk_id: str
    text: str | None
    score: float
    metadata: dict[str, Any] | None
    title: str | None
    section: str | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int
    revision: int
    context: str | None = None
    rerank_score: float | None = None
    found_by: list[FoundByOut] | None = None


class IndexOut(BaseModel):
    """What was searched: everything published up to seq. exact: every vector was compared."""

    seq: int
    embedding_version: str
    exact: bool


class SearchOut(BaseModel):
    """hint says why nothing could be found, where that is known; reranked: false where the reranker failed."""

    chunks: list[ChunkOut]
    total_found: int
    mode: Mode
    index: IndexOut | None
    hint: str | None = None
    reranked: bool | None = None
    timings: dict[str, float] | None = None


@router.post("/search", response_model_exclude_none=False)
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, Overloaded)
async def search(body: SearchIn, runtime: InRuntime, caller: Caller) -> SearchOut:
    """The chunks of a namespace that answer best. Deleted and replaced ones are never among them."""
    started = time.perf_counter()
    question = checked(_question(body, runtime), runtime.settings, field="query")
    answer = await asyncio.wrap_future(runtime.search.questions.submit(question))
    latency_ms = round(1000 * (time.perf_counter() - started))
    runtime.answers.query_log.add_search(question, answer, latency_ms=latency_ms, api_key_id=caller.key_id)
    return _search_out(answer, body, question)


def checked(question: Question, settings: Settings, *, field: str) -> Question:
    """The question as it will be searched for; *field* is what the request calls its text. Raises Invalid."""
    for name in ("tenant_id", "namespace"):
        check_name(name, getattr(question, name), settings.max_name_chars)
    if question.embedding_version is not None:
        check_name("embedding_version", question.embedding_version, settings.max_name_chars)
    wanted = question.top_k * question.group_size
    if wanted > settings.max_top_k:
        told = "top_k is" if question.group_size == 1 else "top_k times group_size is"
        raise Invalid(f"{told} {wanted}; at most {settings.max_top_k} is served (MAX_TOP_K).", param="top_k")
    if len(question.queries) > MOST_QUERIES:
        told = f"queries has {len(question.queries)} questions"
        raise Invalid(f"{told}; at most {MOST_QUERIES} are fused.", param="queries")
    is_vector_alone = question.vector is not None and question.mode == "dense"
    if question.query or not (question.queries or is_vector_alone):
        _check_text(field, question.query, settings)
    for number, text in enumerate(question.queries):
        _check_text(f"queries.{number}", text, settings)
    _check_min_score(question)
    return question


def _check_text(field: str, text: str, settings: Settings) -> None:
    if not text.strip():
        raise Invalid(f"{field} is empty: say what to look for.", param=field)
    if len(text) > settings.max_query_chars:
        told = f"{field} has {len(text)} characters; at most {settings.max_query_chars} are read"
        raise Invalid(f"{told} (MAX_QUERY_CHARS).", param=field)


def _check_min_score(question: Question) -> None:
    if question.min_score is not None and question.min_score > question.highest_score:
        told = f"min_score is {question.min_score:g}, but nothing scores more than 1 in mode {question.mode}"
        raise Invalid(f"{told}{' with several queries' if question.mode == 'keyword' else ''}.", param="min_score")


def _question(body: SearchIn, runtime: Runtime) -> Question:
    if body.rerank and not runtime.search.reranking.is_set:
        raise Invalid(
            "This service has no reranker: set RERANK_MODEL_NAME or RERANK_BASE_URL, or leave rerank out.",
            param="rerank",
        )
    if body.vector is not None:
        _check_with_vector(body)
    return Question(
        body.tenant_id,
        body.namespace,
        body.query or "",
        body.top_k,
        body.embedding_version,
        filters=body.filters,
        vector=unit_vector(body.vector, param="vector") if body.vector is not None else None,
        mode=body.mode or _mode_of(body) or runtime.settings.search_mode,
        queries=tuple(body.queries),
        fusion=body.fusion,
        min_score=body.min_score,
        mmr_lambda=body.mmr_lambda,
        by_doc=body.group_by == "doc",
        group_size=body.group_size if body.group_by else 1,
        context=body.context,
        rerank=runtime.search.reranking.is_set and _has_words(body) if body.rerank is None else body.rerank,
    )


def _mode_of(body: SearchIn) -> Mode | None:
    """What a vector asks for by being there: alone its neighbours, beside a query those that have its words too."""
    if body.vector is None:
        return None
    return "hybrid" if _has_words(body) else "dense"


def _has_words(body: SearchIn) -> bool:
    return body.vector is None or body.query is not None


def _check_with_vector(body: SearchIn) -> None:
    """Beside a vector a query is for its words, and there is one at the most."""
    mode = body.mode or _mode_of(body)
    if body.queries:
        raise Invalid("A vector is searched with one query beside it at the most: leave queries out.", param="queries")
    if _has_words(body) and mode != "hybrid":
        raise Invalid(
            f"Mode {mode} looks for query or for vector, not for both: leave one out, or send mode hybrid.",
            param="query",
        )
    if not _has_words(body) and (mode != "dense" or body.rerank):
        told = "it is searched with mode dense, and not reranked, unless query has words beside it (mode hybrid)"
        raise Invalid(f"A vector has no words: {told}.", param="vector")


def _search_out(answer: Answer, body: SearchIn, question: Question) -> SearchOut:
    index = None
    if answer.seq is not None and answer.embedding_version is not None:
        index = IndexOut(seq=answer.seq, embedding_version=answer.embedding_version, exact=answer.is_exact)
    return SearchOut(
        chunks=[_chunk_out(passage, body) for passage in answer.passages],
        total_found=len(answer.passages),
        mode=question.mode,
        index=index,
        hint=answer.hint,
        reranked=answer.reranked,
        timings=answer.timings if body.explain else None,
    )


def _chunk_out(passage: Passage, body: SearchIn) -> ChunkOut:
    told = {name: getattr(passage, name) for name in ChunkOut.model_fields if name != "found_by"}
    for part in ("text", "metadata"):
        if part not in body.include:
            told[part] = None
    found_by = [FoundByOut(**asdict(each)) for each in passage.found_by] if body.explain else None
    return ChunkOut(**told, found_by=found_by)
