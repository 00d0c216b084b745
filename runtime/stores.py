"""The stores wing: file objects, uploads in parts, vector stores, their files and batches."""

from __future__ import annotations

from database.engine import Database
from runtime.parts import Index, Ingest, Stores
from services.stores.batches import BatchService
from services.stores.expiring import StoreExpiry
from services.stores.files import FileService
from services.stores.store_files import StoreFileService
from services.stores.stores import StoreService
from services.stores.tenants import Tenants
from services.stores.uploads import UploadPartsService
from settings import Settings


def open_stores(settings: Settings, database: Database, index: Index, ingest: Ingest) -> Stores:
    blobs, pending = ingest.blobs, ingest.pending_blobs
    tenants = Tenants(settings.max_name_chars, are_created=settings.auth_mode == "open")
    files = FileService(database, blobs, pending, ingest.quotas, ingest.documents.delete, tenants)
    stores = StoreService(database, index.embedding, tenants)
    store_files = StoreFileService(
        database,
        blobs,
        pending,
        stores,
        files,
        ingest.uploads,
        ingest.documents,
        ingest.browsing,
        ingest.describing,
        settings.chunk_tokens,
    )
    return Stores(
        files=files,
        uploads=UploadPartsService(
            database, blobs, pending, ingest.quotas, ingest.uploads, files, settings.max_upload_mb << 20
        ),
        stores=stores,
        store_files=store_files,
        batches=BatchService(database, stores.use, store_files.attach_all, ingest.jobs.cancel),
        expiry=StoreExpiry(database, ingest.deleting),
    )
