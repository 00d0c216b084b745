"""What finds passages, and the thread that answers questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from database.engine import Database
from engines.rerankers.opening import RerankerConfig
from runtime.index import Index
from services.search.executor import QueryExecutor
from services.search.filters.filtering import FilterService
from services.search.reranking import RerankingService
from services.search.searching import SearchService
from settings import Settings


@dataclass(frozen=True)
class Search:
    searching: SearchService
    reranking: RerankingService
    questions: QueryExecutor


@contextmanager
def open_search(settings: Settings, database: Database, index: Index) -> Iterator[Search]:
    filters = FilterService(settings.filter_memory_mb << 20)
    reranking = RerankingService(_reranker_config(settings))
    searching = SearchService(
        database, index.embedding, index.vectors, index.keywords, index.publisher, filters, reranking
    )
    try:
        with QueryExecutor.running(searching) as questions:
            yield Search(searching, reranking, questions)
    finally:
        reranking.close()


def _reranker_config(settings: Settings) -> RerankerConfig:
    return RerankerConfig(
        model_name=settings.rerank_model_name,
        base_url=settings.rerank_base_url,
        api_key=settings.rerank_api_key.get_secret_value(),
        shape=settings.rerank_api,
        depth=settings.rerank_depth,
        timeout_seconds=settings.rerank_timeout_seconds,
    )
