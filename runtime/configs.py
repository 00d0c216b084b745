"""From the settings to what each part wants to know of them; and the parts that are little else than their settings."""

from __future__ import annotations

from database import Database
from engines.answerers.opening import AnswererConfig
from engines.embedders.opening import EmbedderConfig
from engines.extraction.extractor import ExtractionLimits
from engines.rerankers.opening import RerankerConfig
from engines.vectors.opening import VectorsConfig
from engines.web.addresses import Allowed
from engines.web.fetcher import Fetcher
from job_queue import JobQueue
from services.accounts.rate_limits import FailureLimiter, RateLimiter
from services.ingest.drafts import Limits
from settings import Settings


def queue_of(database: Database, settings: Settings) -> JobQueue:
    return JobQueue(
        database,
        lease_seconds=settings.job_lease_seconds,
        max_attempts=settings.job_max_attempts,
        retry_seconds=settings.job_retry_seconds,
        slice_seconds=settings.worker_slice_seconds,
    )


def embedder_config(settings: Settings) -> EmbedderConfig:
    return EmbedderConfig(
        model_name=settings.embed_model_name,
        backend=settings.embed_backend,
        batch_size=settings.embed_batch_size,
        precision=settings.embed_precision,
        query_prompt=settings.embed_query_prompt,
        document_prompt=settings.embed_document_prompt,
        cache_dir=settings.model_cache_dir.expanduser(),
        base_url=settings.embed_base_url,
        api_key=settings.embed_api_key.get_secret_value(),
        timeout_seconds=settings.embed_timeout_seconds,
    )


def reranker_config(settings: Settings) -> RerankerConfig:
    return RerankerConfig(
        model_name=settings.rerank_model_name,
        base_url=settings.rerank_base_url,
        api_key=settings.rerank_api_key.get_secret_value(),
        shape=settings.rerank_api,
        depth=settings.rerank_depth,
        timeout_seconds=settings.rerank_timeout_seconds,
    )


def vectors_config(settings: Settings) -> VectorsConfig:
    return VectorsConfig(
        kind=settings.vector_store,
        index_dir=settings.index_dir,
        exact_up_to=settings.index_exact_up_to,
        memory_bytes=settings.index_memory_mb << 20,
        rebuild_min_changes=settings.rebuild_min_changes,
        rebuild_share=settings.rebuild_share,
        prefers_half=settings.pgvector_halfvec,
    )


def answerer_config(settings: Settings) -> AnswererConfig:
    return AnswererConfig(
        base_url=settings.llm_base_url,
        model=settings.llm_model,
        api_key=settings.llm_api_key.get_secret_value(),
        timeout_seconds=settings.llm_timeout_seconds,
        retries=settings.llm_retries,
    )


def document_limits(settings: Settings) -> Limits:
    return Limits(
        text_chars=settings.max_text_chars,
        metadata_bytes=settings.max_metadata_bytes,
        batch_docs=settings.max_batch_docs,
        name_chars=settings.max_name_chars,
        doc_id_chars=settings.max_doc_id_chars,
        chunks=settings.max_chunks_per_document,
    )


def rate_limiter_of(settings: Settings) -> RateLimiter:
    return RateLimiter(
        per_key=settings.rate_limit_per_key,
        per_team=settings.rate_limit_per_team,
        url=settings.rate_limit_url,
    )


def failure_limiter_of(settings: Settings) -> FailureLimiter:
    per_minute = settings.auth_failures_per_minute if settings.auth_mode == "keys" else 0
    return FailureLimiter(per_minute=per_minute, url=settings.rate_limit_url)


def extraction_limits(settings: Settings) -> ExtractionLimits:
    return ExtractionLimits(
        memory_bytes=settings.extract_memory_mb << 20,
        cpu_seconds=settings.extract_cpu_seconds,
        wall_seconds=settings.extract_seconds,
        pages=settings.max_pages,
        chars=settings.max_text_chars,
        ocr_languages=settings.ocr_languages if settings.ocr_enabled else "",
    )


def fetcher_of(settings: Settings) -> Fetcher | None:
    if not settings.fetch_enabled:
        return None
    return Fetcher(
        Allowed.parse(settings.fetch_allow_hosts),
        seconds=settings.fetch_timeout_seconds,
        most_bytes=settings.max_upload_mb << 20,
    )
