"""The ingest wing: documents as text, as files and from URLs; and jobs."""

from __future__ import annotations

from functools import partial

from compression import Compression
from database.engine import Database
from domain import Amounts
from engines.blobs.opening import open_blob_store
from engines.extraction.extractor import ExtractionLimits, Extractor
from engines.web.addresses import AllowedHosts
from engines.web.fetcher import Fetcher
from job_queue import JobQueue
from runtime.parts import Ingest
from services.index.embedding import EmbeddingService
from services.index.lagging import Lagging
from services.index.publishing import Publisher
from services.index.quotas import QuotaService
from services.ingest.browsing import BrowsingService
from services.ingest.cutting import draft
from services.ingest.deleting import DeletingService
from services.ingest.describing import DescribingService
from services.ingest.documents import DocumentService
from services.ingest.drafts import DraftMaker, Limits
from services.ingest.extracting import ExtractingService
from services.ingest.fetching import FetchService
from services.ingest.following import Following
from services.ingest.ingesting import IngestingService
from services.ingest.jobs import JobService
from services.ingest.mirror_building import MirrorBuilding
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.preparing import Preparing
from services.ingest.previewing import FilePreviewer, PreviewService
from services.ingest.recutting import Recutting
from services.ingest.retrying import RetryingService
from services.ingest.uploading import UploadService
from settings import Settings


def open_ingest(
    settings: Settings, database: Database, queue: JobQueue, *, embedding: EmbeddingService, publisher: Publisher
) -> Ingest:
    chunk_tokens = settings.chunk_tokens
    blobs = open_blob_store(settings.blob_store_url, min_free_bytes=settings.min_free_disk_mb << 20)
    extractor, cut = Extractor(_extraction_limits(settings)), _draft_maker(settings)
    extracting = ExtractingService(database, blobs, extractor, embedding, publisher, cut)
    creates_namespaces = settings.auth_mode == "open"
    lagging = Lagging(database, queue)
    following = Following(database, embedding, lagging)
    quotas = QuotaService(database, quotas_of(settings))
    recutting = Recutting(database, embedding, lagging, cut)
    preparing = Preparing(
        database, embedding, lagging, _limits(settings), chunk_tokens, cut, creates_namespaces, quotas, recutting
    )
    documents = DocumentService(database, queue, embedding, publisher, preparing)
    pending_blobs = PendingBlobs(database, blobs)
    uploads = UploadService(database, blobs, pending_blobs, documents.accept)
    return Ingest(
        blobs=blobs,
        extractor=extractor,
        documents=documents,
        browsing=BrowsingService(database),
        pending_blobs=pending_blobs,
        uploads=uploads,
        previews=PreviewService(FilePreviewer(extractor, cut), preparing),
        fetching=FetchService(uploads, _fetcher(settings)),
        ingesting=IngestingService(database, embedding, publisher, following, extracting, quotas, recutting),
        jobs=JobService(database, queue, embedding, publisher),
        retrying=RetryingService(database, queue, publisher),
        quotas=quotas,
        mirrors=MirrorBuilding(database, publisher, recutting),
        deleting=DeletingService(database, queue, publisher),
        describing=DescribingService(database, publisher, _limits(settings)),
    )


def open_previewer(settings: Settings) -> FilePreviewer:
    """Reads files as a worker does, without a database."""
    return FilePreviewer(Extractor(_extraction_limits(settings)), _draft_maker(settings))


def quotas_of(settings: Settings) -> Amounts:
    return Amounts(
        documents=settings.quota_documents,
        chunks=settings.quota_chunks,
        bytes=settings.quota_bytes,
        embedded_chunks_per_day=settings.quota_embedded_chunks_per_day,
    )


def compression_of(settings: Settings) -> Compression:
    return Compression(settings.text_compression == "zstd")


def _draft_maker(settings: Settings) -> DraftMaker:
    return partial(
        draft,
        chunk_tokens=settings.chunk_tokens,
        max_chunks=settings.max_chunks_per_document,
        compression=compression_of(settings),
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        text_chars=settings.max_text_chars,
        metadata_bytes=settings.max_metadata_bytes,
        batch_docs=settings.max_batch_docs,
        name_chars=settings.max_name_chars,
        doc_id_chars=settings.max_doc_id_chars,
        chunks=settings.max_chunks_per_document,
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
        AllowedHosts.parse(settings.fetch_allow_hosts),
        seconds=settings.fetch_timeout_seconds,
        max_bytes=settings.max_upload_mb << 20,
    )
