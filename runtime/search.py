"""The search wing: searching, reranking, and the thread that answers questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from database.engine import Database
from engines.keywords.base import KeywordStore
from engines.rerankers.opening import RerankerConfig
from engines.vectors.base import VectorStore
from runtime.parts import Search
from services.index.embedding import EmbeddingService
from services.search.checking import QuestionLimits
from services.search.executor import QueryExecutor
from services.search.filters.filtering import FilterService
from services.search.reranking import RerankingService
from services.search.searching import RequestRebuild, SearchService
from services.search.weighing import Weighing
from settings import Settings


@contextmanager
def open_search(
    settings: Settings,
    database: Database,
    embedding: EmbeddingService,
    *,
    vectors: VectorStore,
    keywords: KeywordStore,
    request_rebuild: RequestRebuild,
) -> Iterator[Search]:
    filters = FilterService(settings.filter_memory_mb << 20)
    reranking = RerankingService(_reranker_config(settings))
    searching = SearchService(
        database,
        embedding,
        vectors,
        keywords,
        filters,
        reranking,
        Weighing(embedding),
        request_rebuild,
    )
    try:
        with QueryExecutor.running(searching) as questions:
            yield Search(_question_limits(settings, reranking), searching, reranking, questions)
    finally:
        reranking.close()


def _question_limits(settings: Settings, reranking: RerankingService) -> QuestionLimits:
    return QuestionLimits(
        top_k=settings.max_top_k,
        query_chars=settings.max_query_chars,
        name_chars=settings.max_name_chars,
        default_mode=settings.search_mode,
        has_reranker=reranking.is_set,
    )


def _reranker_config(settings: Settings) -> RerankerConfig:
    return RerankerConfig(
        model_name=settings.rerank_model_name,
        base_url=settings.rerank_base_url,
        api_key=settings.rerank_api_key.get_secret_value(),
        shape=settings.rerank_api,
        depth=settings.rerank_depth,
        timeout_seconds=settings.rerank_timeout_seconds,
    )
