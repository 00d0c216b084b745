"""/v1/search: find passages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from api.access import needs
from api.dependencies import Caller, InRuntime
from api.fields import Filters, Vector
from api.responses import EMBEDDING, raises
from api.routing import StrictRoute
from api.strings import Name, QueryText, Word, at_most
from api.v1.common import Out, PlaceIn, SearchedIndexOut
from domain import Mode, Principal, Scope
from errors import NotFound, Overloaded, VersionMismatch
from runtime.parts import Runtime
from services.ingest.own_chunks import unit_vector
from services.search.checking import MAX_QUERIES, QuestionLimits, checked, choose_mode
from services.search.question import Answer, Fusion, Passage, Question, Side

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)

Included = Literal["text", "metadata"]


class SearchIn(PlaceIn):
    query: QueryText | None = Field(None, description="The query text", examples=["Who goes to sea?"])
    vector: Vector | None = Field(
        None, description="Instead of query, or beside it in mode hybrid: a query vector, of any length"
    )
    queries: Annotated[list[QueryText], Field(fail_fast=True, max_length=MAX_QUERIES)] = Field(
        [], description="More queries; their results are fused with those of query, if there is one"
    )
    top_k: Annotated[int, at_most("max_top_k"), Field(ge=1, description="Most chunks in the answer")] = 5
    mode: Mode | None = Field(None, description="Null: the setting SEARCH_MODE")
    fusion: Fusion = Field("weighted", description="How several ranked lists are merged")
    min_score: float | None = Field(None, allow_inf_nan=False, description="Omit chunks with a lower score")
    mmr_lambda: float | None = Field(None, ge=0, le=1, description="MMR: 1 is relevance alone, 0 diversity alone")
    group_by: Literal["doc"] | None = Field(None, description="top_k then counts documents")
    group_size: Annotated[int, Field(ge=1, le=100, description="Best chunks of each document")] = 1
    include: Annotated[list[Included], Field(fail_fast=True, max_length=2)] = Field(
        ["text", "metadata"], description="Which of these fields to return of each chunk"
    )
    context: Annotated[int, Field(ge=0, le=10, description="How many chunks before and after to join to each")] = 0
    rerank: bool | None = Field(None, description="Null: yes if the service has a reranker")
    embedding_version: Name | None = Field(
        None, description="Search under this version; 409 if the namespace has no complete index of it"
    )
    index_version: Word | None = Field(None, description="Search this index version instead of the one that serves")
    filters: Filters = Field(None, description="Conditions on metadata and fields")
    explain: bool = Field(False, description="Add the time of each step, and the rank of each chunk on each side")


class FoundByOut(Out):
    """A ranked list that contained the chunk: its side, the number of its query (from 0), the rank and the score."""

    side: Side
    query: int
    rank: int
    score: float


class PassageOut(Out):
    """score is cosine similarity (dense), BM25 (keyword) or, after fusion, the weighted mean of both: at most 1.

    similarity is the cosine similarity, null in mode keyword.
    """

    doc_id: str
    chunk_id: str
    text: str | None
    score: float
    similarity: float | None = None
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


PASSAGE_FIELDS = tuple(PassageOut.model_fields)


class HintOut(Out):
    code: str
    message: str


class SearchOut(Out):
    """hints say why there are fewer chunks than top_k, as far as that is known; hint is the first if there are none.

    reranked is false if the reranker failed.
    """

    chunks: list[PassageOut]
    total_found: int
    mode: Mode
    index: SearchedIndexOut | None
    hint: str | None = None
    hints: list[HintOut] = []
    reranked: bool | None = None
    timings: dict[str, float] | None = None


@router.post("/search", response_model_exclude_none=False)
@needs(Scope.SEARCH)
@raises(*EMBEDDING, VersionMismatch, NotFound, Overloaded)
async def search(body: SearchIn, runtime: InRuntime, caller: Caller) -> SearchOut:
    """The best chunks of a namespace for a query. Deleted and replaced ones are never among them."""
    question = _question(body, runtime.search.limits)
    answer = await answer_of(question, runtime, caller)
    return _search_out(answer, body, question)


async def answer_of(question: Question, runtime: Runtime, caller: Principal) -> Answer:
    """Search, log and shadow, for every door. Raises Invalid for a question that is not as it should be."""
    started = time.perf_counter()
    answer = await asyncio.wrap_future(runtime.search.questions.submit(checked(question, runtime.search.limits)))
    latency_ms = round(1000 * (time.perf_counter() - started))
    runtime.answers.query_log.add_search(question, answer, latency_ms=latency_ms, api_key_id=caller.key_id)
    runtime.evaluation.shadowing.offer(question, answer)
    return answer


def _question(body: SearchIn, limits: QuestionLimits) -> Question:
    has_words, has_vector = body.vector is None or body.query is not None, body.vector is not None
    return Question(
        body.tenant_id,
        body.namespace,
        body.query,
        body.top_k,
        body.embedding_version,
        body.index_version,
        filters=body.filters,
        vector=unit_vector(body.vector, param="vector") if body.vector is not None else None,
        mode=choose_mode(body.mode, limits, has_words=has_words, has_vector=has_vector),
        queries=tuple(body.queries),
        fusion=body.fusion,
        min_score=body.min_score,
        mmr_lambda=body.mmr_lambda,
        by_doc=body.group_by == "doc",
        group_size=body.group_size if body.group_by else 1,
        context=body.context,
        rerank=limits.has_reranker and has_words if body.rerank is None else body.rerank,
    )


def _search_out(answer: Answer, body: SearchIn, question: Question) -> SearchOut:
    hidden = {"text", "metadata"} - set(body.include) | ({"found_by"} if not body.explain else set())
    return SearchOut(
        chunks=[_passage_out(passage, hidden) for passage in answer.passages],
        total_found=len(answer.passages),
        mode=question.mode,
        index=None if answer.seq is None else SearchedIndexOut.model_validate(answer),
        hint=answer.hint,
        hints=[HintOut.model_validate(each) for each in answer.hints],
        reranked=answer.reranked,
        timings=answer.timings if body.explain else None,
    )


def _passage_out(passage: Passage, hidden: Collection[str]) -> PassageOut:
    fields = {name: None if name in hidden else getattr(passage, name) for name in PASSAGE_FIELDS}
    return PassageOut.model_validate(fields)
