"""Answer a question from what a search finds: search, pack, ask the answerer, check what it cites, log it."""

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

from database.engine import Database
from domain import Excerpt
from engines.answerers.base import Answerer, Asked, Ended, Usage
from errors import Forbidden, ServiceError, TooLarge
from models import Team
from services.answers.query_log import ASK, QueryLog, QueryRecord
from services.search.question import Answer, Passage, Question
from text.citations import CitationChecker
from text.prompts import about_tokens, fitting

NOTHING_FOUND = "Nothing was found that answers this question."
CLIENT_LEFT = "client_left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question with what it is to be answered like. What is None is left to the service, or to the model."""

    question: Question
    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    is_streamed: bool = False
    api_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """The passages that the answer is made of."""

    query_id: str
    passages: list[Passage]


@dataclass(frozen=True, slots=True)
class Token:
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """*citations* are those of the given passages that *answer* names, *removed_citations* the markers that named none.

    *model* is None where nothing was found, so that no model was asked; *hint* may then say why. *reranked* is the
    search's.
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


Event = Given | Token | Answered


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

    async def answer(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """First what is given, then the answer in pieces, at last all about it. Closing it ends the work.

        Raises what a search raises before the first event, and what an answerer raises after it; Forbidden, before
        either, where the team lets nobody bring a system_prompt.
        """
        started = time.perf_counter()
        if ask.system_prompt is not None:
            await asyncio.to_thread(self._require_may_prompt, ask.question.tenant_id)
        found = await asyncio.wrap_future(self.questions.submit(ask.question))
        asking = _Asking(ask, found, started)
        try:
            asking.give(self._chosen(found))
            yield Given(asking.query_id, asking.given)
            async with aclosing(self._pieces(asking)) as pieces:
                async for text in pieces:
                    asking.texts.append(text)
                    yield Token(text)
            asking.error = None
            yield asking.answered()
        except Exception as error:
            asking.error = error.code if isinstance(error, ServiceError) else "internal_error"
            raise
        finally:
            self._log(asking)

    def _require_may_prompt(self, tenant_id: str) -> None:
        with self.database.read() as session:
            may = session.scalar(select(Team.allow_system_prompt).where(Team.name == tenant_id))
        if may is False:
            raise Forbidden(
                "This team lets no question bring a system_prompt of its own: leave it out, or have an admin of the "
                "team allow it (allow_system_prompt of PATCH /v1/teams/{tenant_id}).",
                param="system_prompt",
            )

    def _chosen(self, found: Answer) -> list[Passage]:
        """Best first, as many as the prompt has room for."""
        near = found.passages
        tokens = [each.token_count or about_tokens(each.text) for each in near]
        chosen = fitting(tokens, [each.title for each in near], self.context_tokens)
        if near and not chosen:
            raise TooLarge(
                f"The nearest passage has {tokens[0]} tokens, more than a prompt has room for: "
                f"LLM_CONTEXT_TOKENS is {self.context_tokens}."
            )
        return [near[position] for position in chosen]

    async def _pieces(self, asking: _Asking) -> AsyncGenerator[str, None]:
        """The answer as it may be shown, so far as it is checked."""
        if not asking.given:
            yield NOTHING_FOUND
            return
        asking.model = self.answerer.model
        asked = await asyncio.to_thread(self._asked, asking)
        async with aclosing(self.answerer.answer(asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Ended):
                    asking.ended = piece
                elif text := asking.checker.feed(piece):
                    yield text
        if rest := asking.checker.end():
            yield rest

    def _asked(self, asking: _Asking) -> Asked:
        ask = asking.ask
        return Asked(
            question=ask.question.query or "",
            excerpts=[Excerpt(each.rank, each.title, each.text) for each in asking.given],
            embedding_version=asking.found.embedding_version or "",
            system_prompt=self._system_prompt(asking),
            temperature=ask.temperature,
            max_tokens=ask.max_tokens,
            is_streamed=ask.is_streamed,
        )

    def _system_prompt(self, asking: _Asking) -> str:
        """The request's own, else the team's, else that of the installation."""
        if asking.ask.system_prompt is not None or asking.found.partition is None:
            return asking.ask.system_prompt or ""
        with self.database.read() as session:
            told = session.scalar(select(Team.system_prompt).where(Team.id == asking.found.partition.team_id))
        return self.default_system_prompt if told is None else told

    def _log(self, asking: _Asking) -> None:
        """A question to a namespace that does not exist has no place to be logged at."""
        ask, usage, place = asking.ask, asking.ended.usage, asking.found.partition
        if place is None:
            return
        self.query_log.add(
            QueryRecord(
                query_id=asking.query_id,
                kind=ASK,
                place=place,
                question=ask.question.query or "",
                top_k=ask.question.top_k,
                latency_ms=asking.latency_ms,
                used_rag=bool(asking.given),
                model=asking.model,
                prompt_tokens=usage.prompt_tokens if usage else None,
                completion_tokens=usage.completion_tokens if usage else None,
                error=asking.error,
                api_key_id=ask.api_key_id,
                citations=[(each.rank, each.faiss_id, each.score) for each in asking.cited],
            )
        )


class _Asking:
    """One question on its way to its answer. Whoever stops listening before its end has left."""

    def __init__(self, ask: Ask, found: Answer, started: float) -> None:
        self.ask, self.found = ask, found
        self.query_id = str(uuid.uuid4())
        self.given: list[Passage] = []
        self.checker = CitationChecker(0)
        self.texts: list[str] = []
        self.ended = Ended()
        self.model: str | None = None
        self.error: str | None = CLIENT_LEFT
        self._started = started

    def give(self, passages: Sequence[Passage]) -> None:
        self.given = [replace(passage, rank=rank) for rank, passage in enumerate(passages, 1)]
        self.checker = CitationChecker(len(passages))

    @property
    def cited(self) -> list[Passage]:
        return [each for each in self.given if each.rank in self.checker.cited]

    @property
    def latency_ms(self) -> int:
        return round(1000 * (time.perf_counter() - self._started))

    def answered(self) -> Answered:
        return Answered(
            query_id=self.query_id,
            answer="".join(self.texts),
            citations=self.cited,
            removed_citations=self.checker.removed,
            used_rag=bool(self.given),
            model=self.model,
            usage=self.ended.usage,
            finish_reason=self.ended.finish_reason,
            latency_ms=self.latency_ms,
            hint=self.found.hint,
            reranked=self.found.reranked,
        )
