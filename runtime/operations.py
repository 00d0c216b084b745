"""The operations wing: health, diagnosis, folders of files, idempotency keys."""

from __future__ import annotations

from database.engine import Database
from engines.blobs.base import BlobStore
from engines.extraction.extractor import Extractor
from engines.vectors.base import VectorStore
from job_queue import JobQueue
from runtime.parts import Operations
from services.index.embedding import EmbeddingService
from services.ingest.documents import DocumentService
from services.operations.diagnosing import DiagnosingService
from services.operations.exposing import ExposingService
from services.operations.folders import FileIngestingService
from services.operations.idempotency import IdempotencyService
from services.operations.observing import ObservingService
from services.operations.scheduled_backups import ScheduledBackups
from services.operations.script_check import ScriptCheck
from services.operations.workers import WorkerService


def open_operations(
    database: Database,
    queue: JobQueue,
    *,
    vectors: VectorStore,
    embedding: EmbeddingService,
    documents: DocumentService,
    blobs: BlobStore,
    extractor: Extractor,
    backups: ScheduledBackups,
    silence_seconds: float,
) -> Operations:
    workers, scripts = WorkerService(database, silence_seconds), ScriptCheck(database, embedding)
    return Operations(
        idempotency=IdempotencyService(database),
        folders=FileIngestingService(documents, extractor),
        workers=workers,
        backups=backups,
        exposing=ExposingService(database, vectors, workers),
        observing=ObservingService(database, vectors, workers, embedding, scripts, backups),
        diagnosing=DiagnosingService(database, vectors, queue, embedding, blobs, extractor, scripts, workers, backups),
    )
