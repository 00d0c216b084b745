"""Answers questions from search results: search, fill the prompt, call the answerer, check citations, log."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import select

import tracing
from database.engine import Database
from domain import Excerpt
from engines.answerers.base import Answerer, Ending, Prompt, Usage
from errors import Forbidden, ServiceError, TooLarge
from metrics import count_tokens
from models import Team
from services.answers.query_log import ASK, QueryLog, QueryRecord
from services.search.question import Answer, Passage, Question
from text.citations import CitationChecker, quotable
from text.prompts import about_tokens, fitting

NOTHING = "Nothing here answers this"
CLIENT_LEFT = "client_left"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest:
    """A question with its generation options. The service or the model decides about those that are None."""

    question: Question
    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    is_streamed: bool = False
    api_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """The passages that the answer is based on. A passage's *rank* counts from 1; the marker [1] refers to it.

    *missing* says that there is no such namespace, where there is none.
    """

    query_id: str
    passages: list[Passage]
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    text: str


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """*citations* are the sources that *answer* cites; *removed_citations* the markers that referred to none.

    *model* is None if nothing found has to do with the question, so that no model was called; *hint* then says why.
    *reranked* is the search's.
    """

    query_id: str
    answer: str
    citations: list[Passage]
    removed_citations: list[str]
    used_rag: bool
    model: str | None
    usage: Usage | None
    finish_reason: str | None
    latency_ms: int
    hint: str | None
    reranked: bool | None


Event = Sources | Token | FinalAnswer


class Questions(Protocol):
    """Answers questions elsewhere, without blocking the event loop."""

    def submit(self, question: Question) -> Future[Answer]:
        """Raises Overloaded."""


@dataclass(frozen=True)
class AskingService:
    database: Database
    questions: Questions
    answerer: Answerer
    query_log: QueryLog
    default_system_prompt: str
    context_tokens: int

    async def answer(self, request: AskRequest) -> AsyncGenerator[Event, None]:
        """Yields the sources, then the answer token by token, then the final answer. Closing it cancels the work.

        Raises the errors of a search before the first event, and those of an answerer after it; Forbidden, before
        either, if the team does not allow a request's own system_prompt.
        """
        started = time.perf_counter()
        if request.system_prompt is not None:
            await asyncio.to_thread(self._require_may_prompt, request.question.tenant_id)
        judged = replace(request.question, is_judged=request.question.min_score is None)
        search = await asyncio.wrap_future(self.questions.submit(judged))
        exchange = _Exchange(request, search, started)
        try:
            exchange.set_sources(self._select_passages(search))
            yield Sources(exchange.query_id, exchange.sources, search.hint if search.partition is None else None)
            async with aclosing(self._pieces(exchange)) as pieces:
                async for text in pieces:
                    exchange.texts.append(text)
                    yield Token(text)
            exchange.error = None
            yield exchange.final_answer()
        except Exception as error:
            exchange.error = error.code if isinstance(error, ServiceError) else "internal_error"
            raise
        finally:
            self._log(exchange)

    def _require_may_prompt(self, tenant_id: str) -> None:
        with self.database.read() as session:
            is_allowed = session.scalar(select(Team.allow_system_prompt).where(Team.name == tenant_id))
        if is_allowed is False:
            raise Forbidden(
                "This team does not allow a system_prompt of the question's own: leave it out, or have an admin of the "
                "team allow it (allow_system_prompt of PATCH /v1/teams/{tenant_id}).",
                param="system_prompt",
            )

    def _select_passages(self, search: Answer) -> list[Passage]:
        """Returns the best passages that have to do with the question, as many as fit into the prompt."""
        passages = search.relevant
        tokens = [passage.token_count or about_tokens(passage.text) for passage in passages]
        positions = fitting(tokens, [passage.title for passage in passages], self.context_tokens)
        if passages and not positions:
            raise TooLarge(
                f"The nearest passage has {tokens[0]} tokens, more than a prompt has room for: "
                f"LLM_CONTEXT_TOKENS is {self.context_tokens}."
            )
        return [passages[position] for position in positions]

    async def _pieces(self, exchange: _Exchange) -> AsyncGenerator[str, None]:
        """Yields the answer with its markers checked."""
        if not exchange.sources:
            yield _nothing(exchange.search)
            return
        exchange.model = self.answerer.model
        prompt = await asyncio.to_thread(self._prompt, exchange)
        exchange.called_ns = time.time_ns()
        async with aclosing(self.answerer.answer(prompt)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Ending):
                    exchange.ended = piece
                elif text := exchange.checker.feed(piece):
                    yield text
        if rest := exchange.checker.end():
            yield rest

    def _prompt(self, exchange: _Exchange) -> Prompt:
        request = exchange.request
        return Prompt(
            question=request.question.query or "",
            excerpts=[Excerpt(source.rank, source.title, source.text) for source in exchange.sources],
            embedding_version=exchange.search.embedding_version or "",
            system_prompt=self._system_prompt(exchange),
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            is_streamed=request.is_streamed,
        )

    def _system_prompt(self, exchange: _Exchange) -> str:
        """Returns the request's system prompt, else the team's, else the installation's."""
        if exchange.request.system_prompt is not None or exchange.search.partition is None:
            return exchange.request.system_prompt or ""
        with self.database.read() as session:
            prompt = session.scalar(select(Team.system_prompt).where(Team.id == exchange.search.partition.team_id))
        return self.default_system_prompt if prompt is None else prompt

    def _log(self, exchange: _Exchange) -> None:
        """Log the question, except one to a missing namespace: it has no partition."""
        request, usage, partition = exchange.request, exchange.ended.usage, exchange.search.partition
        exchange.trace()
        if usage is not None:
            count_tokens(prompt=usage.prompt_tokens, completion=usage.completion_tokens)
        if partition is None:
            return
        self.query_log.add(
            QueryRecord(
                query_id=exchange.query_id,
                kind=ASK,
                partition=partition,
                question=request.question.query or "",
                top_k=request.question.top_k,
                latency_ms=exchange.latency_ms,
                used_rag=bool(exchange.sources),
                model=exchange.model,
                prompt_tokens=usage.prompt_tokens if usage else None,
                completion_tokens=usage.completion_tokens if usage else None,
                error=exchange.error,
                api_key_id=request.api_key_id,
                citations=[(cited.rank, cited.faiss_id, cited.score) for cited in exchange.cited],
            )
        )


class _Exchange:
    """The state of one question until its answer is complete. Until then its error is CLIENT_LEFT."""

    def __init__(self, request: AskRequest, search: Answer, started: float) -> None:
        self.request, self.search = request, search
        self.query_id = str(uuid.uuid4())
        self.sources: list[Passage] = []
        self.checker = CitationChecker(0)
        self.texts: list[str] = []
        self.ended = Ending()
        self.called_ns: int | None = None
        self.model: str | None = None
        self.error: str | None = CLIENT_LEFT
        self._started = started

    def set_sources(self, passages: Sequence[Passage]) -> None:
        self.sources = [replace(passage, rank=rank) for rank, passage in enumerate(passages, 1)]
        self.checker = CitationChecker(len(passages))

    @property
    def cited(self) -> list[Passage]:
        return [source for source in self.sources if source.rank in self.checker.cited]

    @property
    def latency_ms(self) -> int:
        return round(1000 * (time.perf_counter() - self._started))

    def trace(self) -> None:
        """Record the call of the model, if there was one."""
        usage = self.ended.usage
        tokens = {} if usage is None else {"input": usage.prompt_tokens, "output": usage.completion_tokens}
        if self.called_ns is not None:
            counts = {f"gen_ai.usage.{kind}_tokens": count for kind, count in tokens.items()}
            tracing.record_answer(self.model or "", self.called_ns, counts, self.error)

    def final_answer(self) -> FinalAnswer:
        return FinalAnswer(
            query_id=self.query_id,
            answer="".join(self.texts),
            citations=self.cited,
            removed_citations=self.checker.removed,
            used_rag=bool(self.sources),
            model=self.model,
            usage=self.ended.usage,
            finish_reason=self.ended.finish_reason,
            latency_ms=self.latency_ms,
            hint=self.search.hint if self.sources else _why_nothing(self.search),
            reranked=self.search.reranked,
        )


def _nothing(search: Answer) -> str:
    if not search.passages:
        return f"{NOTHING}."
    nearest = search.passages[0]
    return f"{NOTHING}; nearest: {quotable(nearest.title or nearest.doc_id)}"


def _why_nothing(search: Answer) -> str | None:
    if not search.passages or search.floor is None:
        return search.hint
    relevance = max(each.relevance or 0.0 for each in search.passages)
    return (
        f"The best passage has a relevance of {relevance:.2f}, and unrelated questions reach up to {search.floor:.2f}: "
        "min_score 0 answers from any passage."
    )
