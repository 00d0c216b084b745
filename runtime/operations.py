"""The operations wing: health, diagnosis, folders of files, idempotency keys."""

from __future__ import annotations

from compression import Compression
from database.engine import Database
from engines.vectors.base import VectorStore
from job_queue import JobQueue
from runtime.parts import Ingest, Operations
from services.index.embedding import EmbeddingService
from services.operations.audit import AuditService
from services.operations.compressing import CompressingService
from services.operations.diagnosing import DiagnosingService
from services.operations.exporting import ExportService
from services.operations.exposing import ExposingService
from services.operations.folders import FileIngestingService
from services.operations.idempotency import IdempotencyService
from services.operations.importing import ImportService
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
    ingest: Ingest,
    backups: ScheduledBackups,
    compression: Compression,
    silence_seconds: float,
) -> Operations:
    blobs, documents = ingest.blobs, ingest.documents
    workers, scripts = WorkerService(database, silence_seconds), ScriptCheck(database, embedding)
    return Operations(
        audit=AuditService(database),
        idempotency=IdempotencyService(database, compression),
        folders=FileIngestingService(documents, ingest.extractor),
        workers=workers,
        backups=backups,
        compressing=CompressingService(database, compression),
        exporting=ExportService(database, blobs),
        importing=ImportService(database, embedding, documents, blobs, ingest.pending_blobs),
        exposing=ExposingService(database, vectors, workers),
        observing=ObservingService(database, vectors, workers, embedding, scripts, backups),
        diagnosing=DiagnosingService(
            database, vectors, queue, embedding, blobs, ingest.extractor, scripts, workers, backups
        ),
    )
