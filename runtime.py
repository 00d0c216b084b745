"""The one place where the parts are joined. Read it to know what a process is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from database import Database
from engines.answerers.opening import AnswererConfig, open_answerer
from engines.blobs.opening import open_blob_store
from engines.embedders.opening import EmbedderConfig
from engines.extraction.extractor import ExtractionLimits, Extractor
from engines.keywords.opening import open_keywords
from engines.rerankers.opening import RerankerConfig
from engines.vectors.opening import VectorsConfig, open_store
from engines.web.addresses import Allowed
from engines.web.fetcher import Fetcher
from errors import DatabaseUnavailable, NotFound
from job_queue import JobQueue
from migrations.upgrade import bring_up_to_date, current_revision
from services.accounts import AccountService
from services.api_keys import KeyService
from services.asking import AskingService
from services.authentication import Authenticator
from services.browsing import BrowsingService
from services.diagnosing import DiagnosingService
from services.documents import DocumentService
from services.drafting import Limits
from services.embedding import EmbeddingService
from services.evaluating import EvaluatingService
from services.extracting import ExtractingService
from services.fetching import FetchService
from services.filtering import FilterService
from services.idempotency import IdempotencyService
from services.indexing import IndexingService
from services.ingesting import IngestingService
from services.ingesting_files import FileIngestingService
from services.jobs import JobService
from services.moving import MovingService
from services.observing import ObservingService
from services.pending_blobs import PendingBlobs
from services.publishing import Publisher
from services.query_executor import QueryExecutor
from services.query_log import QueryLog
from services.rate_limits import RateLimiter
from services.search import SearchService
from services.searching.reranking import RerankingService
from services.uploading import UploadService
from services.usage import UsageService
from services.verifying import VerifyingService
from settings import Settings


@dataclass(frozen=True)
class Runtime:
    """What one process holds open. Made by open_runtime, handed on, never looked up."""

    settings: Settings
    database: Database
    queue: JobQueue
    embedding: EmbeddingService
    documents: DocumentService
    uploads: UploadService
    fetching: FetchService
    pending_blobs: PendingBlobs
    browsing: BrowsingService
    ingesting: IngestingService
    indexing: IndexingService
    jobs: JobService
    searching: SearchService
    reranking: RerankingService
    questions: QueryExecutor
    authentication: Authenticator
    accounts: AccountService
    keys: KeyService
    rate_limits: RateLimiter
    asking: AskingService
    query_log: QueryLog
    usage: UsageService
    evaluating: EvaluatingService
    idempotency: IdempotencyService
    files: FileIngestingService
    observing: ObservingService
    diagnosing: DiagnosingService
    verifying: VerifyingService


@contextmanager
def open_runtime(settings: Settings, *, statement_timeout_seconds: float = 0.0) -> Iterator[Runtime]:
    """Open the database, bring its schema up to date, and join the parts. The model is not loaded yet.

    Whoever answers requests limits its statements; a rebuild or a verification reads for as long as it takes.
    """
    with Database.open(
        settings.database_url,
        min_free_bytes=settings.min_free_disk_mb << 20,
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=statement_timeout_seconds,
        lock_timeout_seconds=settings.database_lock_timeout_seconds,
    ) as database:
        bring_up_to_date(database)
        database.keep_reserve()
        vectors = open_store(database, _vectors_config(settings))
        queue = _queue(database, settings)
        keywords = open_keywords(database)
        publisher = Publisher(queue, vectors, keywords)
        embedding = EmbeddingService(database, _embedder_config(settings), settings.version)
        reranking = RerankingService(_reranker_config(settings))
        filtering = FilterService(settings.filter_memory_mb << 20)
        searching = SearchService(database, embedding, vectors, keywords, publisher, filtering, reranking)
        documents = DocumentService(
            database,
            queue,
            embedding,
            publisher,
            _limits(settings),
            settings.chunk_tokens,
            makes_namespaces=settings.auth_mode == "open",
        )
        blobs = open_blob_store(settings.blob_store_url, min_free_bytes=settings.min_free_disk_mb << 20)
        pending_blobs = PendingBlobs(database, blobs)
        uploads = UploadService(database, blobs, pending_blobs, documents)
        extractor = Extractor(_extraction_limits(settings))
        extracting = ExtractingService(database, blobs, extractor, embedding, publisher, settings.chunk_tokens)
        rate_limits = _rate_limits(settings)
        logging = QueryLog.running(database, is_on=settings.query_log == "on", keeps_text=settings.log_query_text)
        with (
            logging as query_log,
            QueryExecutor.running(searching) as questions,
            Authenticator.running(database, trust_seconds=settings.auth_trust_seconds) as authentication,
        ):
            try:
                yield Runtime(
                    settings=settings,
                    database=database,
                    queue=queue,
                    embedding=embedding,
                    documents=documents,
                    uploads=uploads,
                    fetching=FetchService(uploads, _fetcher(settings)),
                    pending_blobs=pending_blobs,
                    browsing=BrowsingService(database),
                    ingesting=IngestingService(database, embedding, publisher, extracting),
                    indexing=IndexingService(database, vectors, keywords, embedding, publisher),
                    jobs=JobService(database, queue, embedding, publisher),
                    searching=searching,
                    reranking=reranking,
                    questions=questions,
                    asking=AskingService(
                        database,
                        questions,
                        open_answerer(_answerer_config(settings), embedding.reader),
                        query_log,
                        settings.default_system_prompt,
                        settings.llm_context_tokens,
                    ),
                    query_log=query_log,
                    usage=UsageService(database),
                    evaluating=EvaluatingService(database, searching),
                    files=FileIngestingService(documents, extractor),
                    authentication=authentication,
                    accounts=AccountService(database, embedding, settings.max_name_chars),
                    keys=KeyService(database, authentication.forget),
                    rate_limits=rate_limits,
                    idempotency=IdempotencyService(database),
                    observing=ObservingService(database, vectors, queue, embedding),
                    diagnosing=DiagnosingService(database, vectors, queue, embedding, blobs, extractor),
                    verifying=VerifyingService(database, vectors, keywords),
                )
            finally:
                embedding.close()
                reranking.close()


@contextmanager
def open_move(settings: Settings, *, source: str, target: str, batch_rows: int) -> Iterator[MovingService]:
    """Open the databases that the URLs *source* and *target* name. Their errors speak of --from and --to."""
    with ExitStack() as opened:
        old = _reached(opened, "--from", source, settings)
        new = _reached(opened, "--to", target, settings)
        yield MovingService(old, new, _queue(new, settings), batch_rows)


def _reached(opened: ExitStack, option: str, url: str, settings: Settings) -> Database:
    """A source that is a file must be there: SQLite would make an empty one."""
    try:
        database = opened.enter_context(Database.open(url, min_free_bytes=settings.min_free_disk_mb << 20))
        if option == "--from" and database.file is not None and not database.file.exists():
            raise NotFound(f"There is no database file {database.file}: --from names the one to move.")
        current_revision(database)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(str(error).replace("DATABASE_URL", option)) from error
    return database


def _queue(database: Database, settings: Settings) -> JobQueue:
    return JobQueue(
        database,
        lease_seconds=settings.job_lease_seconds,
        max_attempts=settings.job_max_attempts,
        retry_seconds=settings.job_retry_seconds,
    )


def _embedder_config(settings: Settings) -> EmbedderConfig:
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


def _reranker_config(settings: Settings) -> RerankerConfig:
    return RerankerConfig(
        model_name=settings.rerank_model_name,
        base_url=settings.rerank_base_url,
        api_key=settings.rerank_api_key.get_secret_value(),
        shape=settings.rerank_api,
        depth=settings.rerank_depth,
        timeout_seconds=settings.rerank_timeout_seconds,
    )


def _vectors_config(settings: Settings) -> VectorsConfig:
    return VectorsConfig(
        kind=settings.vector_store,
        index_dir=settings.index_dir,
        exact_up_to=settings.index_exact_up_to,
        memory_bytes=settings.index_memory_mb << 20,
        rebuild_min_changes=settings.rebuild_min_changes,
        rebuild_share=settings.rebuild_share,
        prefers_half=settings.pgvector_halfvec,
    )


def _answerer_config(settings: Settings) -> AnswererConfig:
    return AnswererConfig(
        base_url=settings.llm_base_url,
        model=settings.llm_model,
        api_key=settings.llm_api_key.get_secret_value(),
        timeout_seconds=settings.llm_timeout_seconds,
        retries=settings.llm_retries,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        text_chars=settings.max_text_chars,
        metadata_bytes=settings.max_metadata_bytes,
        batch_docs=settings.max_batch_docs,
        name_chars=settings.max_name_chars,
        doc_id_chars=settings.max_doc_id_chars,
    )


def _rate_limits(settings: Settings) -> RateLimiter:
    return RateLimiter(
        per_key=settings.rate_limit_per_key,
        per_team=settings.rate_limit_per_team,
        url=settings.rate_limit_url,
    )


def _extraction_limits(settings: Settings) -> ExtractionLimits:
    return ExtractionLimits(
        memory_bytes=settings.extract_memory_mb << 20,
        cpu_seconds=settings.extract_cpu_seconds,
        wall_seconds=settings.extract_seconds,
        pages=settings.max_pages,
        chars=settings.max_text_chars,
        ocr_languages=settings.ocr_languages if settings.ocr_enabled else "",
    )


def _fetcher(settings: Settings) -> Fetcher | None:
    if not settings.fetch_enabled:
        return None
    return Fetcher(
        Allowed.parse(settings.fetch_allow_hosts),
        seconds=settings.fetch_timeout_seconds,
        most_bytes=settings.max_upload_mb << 20,
    )
