"""The parts, joined: first what they share, then each concern on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from database import Database
from engines.answerers.opening import open_answerer
from engines.blobs.base import BlobStore
from engines.blobs.opening import open_blob_store
from engines.extraction.extractor import Extractor
from engines.keywords.base import KeywordStore
from engines.keywords.opening import open_keywords
from engines.vectors.base import VectorStore
from engines.vectors.opening import open_store
from job_queue import JobQueue
from migrations.upgrade import bring_up_to_date
from runtime.configs import (
    answerer_config,
    document_limits,
    embedder_config,
    extraction_limits,
    failure_limiter_of,
    fetcher_of,
    queue_of,
    rate_limiter_of,
    reranker_config,
    vectors_config,
)
from runtime.parts import Runtime
from services.accounts.api_keys import KeyService
from services.accounts.authentication import Authenticator
from services.accounts.teams import AccountService
from services.answers.asking import AskingService
from services.answers.query_log import QueryLog
from services.answers.usage import UsageService
from services.evaluation.evaluating import EvaluatingService
from services.index.embedding import EmbeddingService
from services.index.indexing import IndexingService
from services.index.publishing import Publisher
from services.index.verifying import VerifyingService
from services.index.versions import VersionService
from services.ingest.browsing import BrowsingService
from services.ingest.documents import DocumentService
from services.ingest.extracting import ExtractingService
from services.ingest.fetching import FetchService
from services.ingest.ingesting import IngestingService
from services.ingest.jobs import JobService
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.uploading import UploadService
from services.operations.diagnosing import DiagnosingService
from services.operations.folders import FileIngestingService
from services.operations.idempotency import IdempotencyService
from services.operations.observing import ObservingService
from services.search.executor import QueryExecutor
from services.search.filters.filtering import FilterService
from services.search.reranking import RerankingService
from services.search.searching import SearchService
from settings import Settings


@contextmanager
def open_runtime(settings: Settings, *, statement_timeout_seconds: float = 0.0) -> Iterator[Runtime]:
    """Open the database, bring its schema up to date, and join the parts. The model is not loaded yet.

    Whoever answers requests limits its statements; a rebuild or a verification reads for as long as it takes.
    """
    with _database(settings, statement_timeout_seconds) as database:
        shared = _shared(settings, database)
        searching = _searching(shared)
        with _running(shared, searching) as running:
            try:
                yield _joined(shared, searching, running)
            finally:
                shared.embedding.close()
                searching.reranking.close()


@contextmanager
def _database(settings: Settings, statement_timeout_seconds: float) -> Iterator[Database]:
    """At the schema of today, with its reserve of disk."""
    with Database.open(
        settings.database_url,
        min_free_bytes=settings.min_free_disk_mb << 20,
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=statement_timeout_seconds,
        lock_timeout_seconds=settings.database_lock_timeout_seconds,
    ) as database:
        bring_up_to_date(database)
        database.keep_reserve()
        yield database


@dataclass(frozen=True)
class _Shared:
    """What several concerns stand on: where things are kept, and what makes vectors and text."""

    settings: Settings
    database: Database
    queue: JobQueue
    vectors: VectorStore
    keywords: KeywordStore
    blobs: BlobStore
    publisher: Publisher
    embedding: EmbeddingService
    extractor: Extractor


def _shared(settings: Settings, database: Database) -> _Shared:
    vectors = open_store(database, vectors_config(settings))
    queue = queue_of(database, settings)
    keywords = open_keywords(database)
    return _Shared(
        settings=settings,
        database=database,
        queue=queue,
        vectors=vectors,
        keywords=keywords,
        blobs=open_blob_store(settings.blob_store_url, min_free_bytes=settings.min_free_disk_mb << 20),
        publisher=Publisher(queue, vectors, followers=(keywords, *filter(None, [vectors.follower]))),
        embedding=EmbeddingService(database, embedder_config(settings), settings.version),
        extractor=Extractor(extraction_limits(settings)),
    )


def _searching(shared: _Shared) -> SearchService:
    return SearchService(
        shared.database,
        shared.embedding,
        shared.vectors,
        shared.keywords,
        shared.publisher,
        FilterService(shared.settings.filter_memory_mb << 20),
        RerankingService(reranker_config(shared.settings)),
    )


@dataclass(frozen=True)
class _Running:
    """What has a thread of its own, for as long as the process lives."""

    query_log: QueryLog
    questions: QueryExecutor
    authentication: Authenticator


@contextmanager
def _running(shared: _Shared, searching: SearchService) -> Iterator[_Running]:
    database, settings = shared.database, shared.settings
    logging = QueryLog.running(database, is_on=settings.query_log == "on", keeps_text=settings.log_query_text)
    with (
        logging as query_log,
        QueryExecutor.running(searching) as questions,
        Authenticator.running(database, trust_seconds=settings.auth_trust_seconds) as authentication,
    ):
        yield _Running(query_log, questions, authentication)


def _asking(shared: _Shared, running: _Running) -> AskingService:
    return AskingService(
        shared.database,
        running.questions,
        open_answerer(answerer_config(shared.settings), shared.embedding.reader),
        running.query_log,
        shared.settings.default_system_prompt,
        shared.settings.llm_context_tokens,
    )


def _documents(shared: _Shared) -> DocumentService:
    return DocumentService(
        shared.database,
        shared.queue,
        shared.embedding,
        shared.publisher,
        document_limits(shared.settings),
        shared.settings.chunk_tokens,
        makes_namespaces=shared.settings.auth_mode == "open",
    )


def _ingesting(shared: _Shared) -> IngestingService:
    extracting = ExtractingService(
        shared.database,
        shared.blobs,
        shared.extractor,
        shared.embedding,
        shared.publisher,
        shared.settings.chunk_tokens,
        shared.settings.max_chunks_per_document,
    )
    return IngestingService(shared.database, shared.embedding, shared.publisher, extracting)


def _joined(shared: _Shared, searching: SearchService, running: _Running) -> Runtime:
    """A line for each part."""
    settings, database, queue, embedding = shared.settings, shared.database, shared.queue, shared.embedding
    vectors, keywords, blobs, extractor = shared.vectors, shared.keywords, shared.blobs, shared.extractor
    documents = _documents(shared)
    pending_blobs = PendingBlobs(database, blobs)
    uploads = UploadService(database, blobs, pending_blobs, documents)
    return Runtime(
        settings=settings,
        database=database,
        queue=queue,
        embedding=embedding,
        documents=documents,
        uploads=uploads,
        fetching=FetchService(uploads, fetcher_of(settings)),
        pending_blobs=pending_blobs,
        browsing=BrowsingService(database),
        ingesting=_ingesting(shared),
        indexing=IndexingService(database, vectors, keywords, embedding, shared.publisher),
        jobs=JobService(database, queue, embedding, shared.publisher),
        searching=searching,
        reranking=searching.reranking,
        questions=running.questions,
        authentication=running.authentication,
        accounts=AccountService(database, embedding, settings.max_name_chars),
        keys=KeyService(database, running.authentication.forget),
        rate_limits=rate_limiter_of(settings),
        login_failures=failure_limiter_of(settings),
        asking=_asking(shared, running),
        query_log=running.query_log,
        usage=UsageService(database),
        evaluating=EvaluatingService(database, searching),
        idempotency=IdempotencyService(database),
        files=FileIngestingService(documents, extractor),
        observing=ObservingService(database, vectors, queue, embedding),
        diagnosing=DiagnosingService(database, vectors, queue, embedding, blobs, extractor),
        verifying=VerifyingService(database, vectors, keywords),
        versions=VersionService(database, own_version=settings.version),
    )
