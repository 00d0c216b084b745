"""The erasure wing: requests, the job, the ledger of receipts."""

from __future__ import annotations

from database.engine import Database
from domain import Json
from engines.blobs.base import BlobStore
from errors import ServiceError
from job_queue import JobQueue
from runtime.parts import Erasing, Index
from services.erasure.cleaning import Cleaning
from services.erasure.erasing import ErasingService
from services.erasure.hiding import Hiding
from services.erasure.indexes import IndexRemoval
from services.erasure.ledger import ErasureLedger
from services.erasure.receipts import ReceiptSigner
from services.erasure.requests import ErasureService
from services.erasure.rows import RowRemoval
from services.erasure.traces import TraceRemoval
from services.search.question import Question
from services.search.searching import SearchService
from settings import Settings


def open_erasure(
    settings: Settings, database: Database, queue: JobQueue, *, index: Index, blobs: BlobStore, searching: SearchService
) -> Erasing:
    ledger = ErasureLedger(database, ReceiptSigner(settings.receipt_key_file, settings.receipt_key.get_secret_value()))
    hiding = Hiding(database, index.publisher)

    def search_for(tenant_id: str, namespace: str, text: str) -> list[str]:
        mode = settings.search_mode if index.embedding.is_ready else "keyword"
        try:
            answer = searching.search(Question(tenant_id, namespace, text, 100, mode=mode))
        except ServiceError:
            answer = searching.search(Question(tenant_id, namespace, text, 100, mode="keyword"))
        return [passage.doc_id for passage in answer.passages]

    def list_backups() -> list[Json]:
        return []

    def publish(ledger: Json) -> list[str]:
        return []

    return Erasing(
        requests=ErasureService(database, queue, index.publisher, hiding, ledger),
        erasing=ErasingService(
            database,
            hiding,
            IndexRemoval(database, index.vectors, index.publisher),
            RowRemoval(database, blobs),
            TraceRemoval(database),
            Cleaning(database),
            ledger,
            search_for,
            list_backups,
            publish,
        ),
        ledger=ledger,
    )
