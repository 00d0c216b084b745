"""/v1/search: find passages."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import InRuntime, Number
from api.routing import StrictRoute
from errors import Invalid
from services.drafting import check_name
from services.own_chunks import unit
from services.search import Answer, Question
from settings import Settings
from text.filter_spellings import parse

router = APIRouter(prefix="/v1", tags=["search"], route_class=StrictRoute)


class SearchIn(BaseModel):
    tenant_id: str
    namespace: str
    query: str | None = Field(None, description="What to look for, in words")
    vector: list[Number] | None = Field(None, description="Instead of query: a vector to look for, of any length")
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
async def search(body: SearchIn, runtime: InRuntime) -> SearchOut:
    """The nearest chunks of a namespace. Deleted and replaced ones are never among them."""
    question = _question(body, runtime.settings)
    answer = await asyncio.wrap_future(runtime.questions.submit(question))
    return _search_out(answer, explain=body.explain)


def _question(body: SearchIn, settings: Settings) -> Question:
    for field in ("tenant_id", "namespace"):
        check_name(field, getattr(body, field), settings.max_name_chars)
    if body.top_k > settings.max_top_k:
        raise Invalid(f"top_k is {body.top_k}; at most {settings.max_top_k} is served (MAX_TOP_K).", param="top_k")
    if (body.query is None) == (body.vector is None):
        raise Invalid("Send query, or vector instead of it.", param="query")
    return Question(
        body.tenant_id,
        body.namespace,
        _query(body.query, settings) if body.query is not None else "",
        body.top_k,
        body.embedding_version,
        filters=parse(body.filters),
        vector=unit(body.vector, param="vector") if body.vector is not None else None,
    )


def _query(query: str, settings: Settings) -> str:
    if not query.strip():
        raise Invalid("query is empty: say what to look for.", param="query")
    if len(query) > settings.max_query_chars:
        raise Invalid(
            f"query has {len(query)} characters; at most {settings.max_query_chars} are read (MAX_QUERY_CHARS).",
            param="query",
        )
    return query.replace("\x00", " ")


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
