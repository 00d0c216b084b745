"""The answers wing: questions to a language model, the query log, usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.engine import Database
from engines.answerers.opening import AnswererConfig, open_answerer
from runtime.parts import Answers
from services.answers.asking import AskingService, Questions
from services.answers.query_log import QueryLog
from services.answers.usage import UsageService
from services.index.embedding import EmbeddingService
from settings import Settings


@contextmanager
def open_answers(
    settings: Settings, database: Database, embedding: EmbeddingService, questions: Questions
) -> Iterator[Answers]:
    answerer = open_answerer(_answerer_config(settings), embedding.comparison_embedder)
    is_on = settings.query_log == "on"
    with QueryLog.running(database, is_on=is_on, keeps_text=settings.log_query_text) as query_log:
        asking = AskingService(
            database,
            questions,
            answerer,
            query_log,
            settings.default_system_prompt,
            settings.llm_context_tokens,
        )
        yield Answers(asking, query_log, UsageService(database))


def _answerer_config(settings: Settings) -> AnswererConfig:
    return AnswererConfig(
        base_url=settings.llm_base_url,
        model=settings.llm_model,
        api_key=settings.llm_api_key.get_secret_value(),
        timeout_seconds=settings.llm_timeout_seconds,
        retries=settings.llm_retries,
    )
