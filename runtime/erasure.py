"""The erasure wing: requests, the job, the ledger of receipts."""

from __future__ import annotations

from database.engine import Database
from engines.blobs.base import BlobStore
from errors import ServiceError
from job_queue import JobQueue
from runtime.parts import Erasing, Index
from services.erasure.cleaning import Cleaning
from services.erasure.erasing import ErasingService, ListBackups, PublishLedger
from services.erasure.hiding import Hiding
from services.erasure.indexes import IndexRemoval
from services.erasure.ledger import ErasureLedger
from services.erasure.mirrors import MirrorRemoval
from services.erasure.purging import PurgingService
from services.erasure.receipts import ReceiptSigner
from services.erasure.requests import ErasureService
from services.erasure.rows import RowRemoval
from services.erasure.traces import TraceRemoval
from services.search.question import Question
from services.search.searching import SearchService
from settings import Settings


def open_erasure(
    settings: Settings,
    database: Database,
    queue: JobQueue,
    *,
    index: Index,
    blobs: BlobStore,
    searching: SearchService,
    list_backups: ListBackups,
    publish_ledger: PublishLedger,
) -> Erasing:
    ledger = ErasureLedger(database, ReceiptSigner(settings.receipt_key_file, settings.receipt_key.get_secret_value()))
    hiding, rows = Hiding(database, index.publisher), RowRemoval(database, blobs)
    mirrors = MirrorRemoval(database, rows, index.vectors)

    def search_for(tenant_id: str, namespace: str, text: str) -> list[str]:
        mode = settings.search_mode if index.embedding.is_ready else "keyword"
        try:
            answer = searching.search(Question(tenant_id, namespace, text, 100, mode=mode))
        except ServiceError:
            answer = searching.search(Question(tenant_id, namespace, text, 100, mode="keyword"))
        return [passage.doc_id for passage in answer.passages]

    return Erasing(
        requests=ErasureService(database, queue, index.publisher, hiding, ledger),
        erasing=ErasingService(
            database,
            hiding,
            IndexRemoval(database, index.vectors, index.publisher),
            rows,
            TraceRemoval(database),
            Cleaning(database),
            ledger,
            search_for,
            list_backups,
            publish_ledger,
        ),
        purging=PurgingService(database, rows, settings.keep_deleted_days, mirrors),
        ledger=ledger,
    )
