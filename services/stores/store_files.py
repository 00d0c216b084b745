"""The files of a vector store: the documents of its namespace, whichever door they came through.

A file object is attached as the document whose doc_id is the file's id, with a copy of its blob.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from domain import Json, RawFile
from engines.blobs.base import BlobStore
from models import Doc, FileObject, Revision
from services.ingest.browsing import BrowsingService, ChunkInfo
from services.ingest.describing import DescribingService
from services.ingest.documents import DocumentService
from services.ingest.drafts import AUTO, NewDoc
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.rows import DocView, require_doc, select_docs
from services.ingest.uploading import UploadService
from services.stores.files import FileService
from services.stores.paging import ListPage, PageQuery, rows_of
from services.stores.store_file_rows import (
    CHARS_PER_TOKEN,
    Attachment,
    FileStatus,
    StoreFileInfo,
    attributes_of,
    described,
    has_status,
)
from services.stores.stores import Store, StoreService, require_store

COPIES_AT_ONCE = 8
CHUNKS_PER_READ = 1000


@dataclass(frozen=True)
class StoreFileService:
    database: Database
    blobs: BlobStore
    pending: PendingBlobs
    stores: StoreService
    files: FileService
    uploads: UploadService
    documents: DocumentService
    browsing: BrowsingService
    describing: DescribingService
    chunk_tokens: int

    def attach(self, tenant_id: str, store_id: str, attachment: Attachment) -> StoreFileInfo:
        """Accept a file object as a document. A worker publishes it; an unchanged one keeps its chunks."""
        store = self.stores.use(tenant_id, store_id)
        self.attach_all(store, [attachment])
        return self.get(tenant_id, store_id, attachment.file_id)

    def attach_all(self, store: Store, attachments: Sequence[Attachment]) -> list[str]:
        """Returns the ids of the jobs. At most MAX_BATCH_DOCS files are accepted together, all or none."""
        files = self.files.rows(store.tenant_id, [each.file_id for each in attachments])
        copies = self.pending.reserve_many(len(files))
        try:
            with ThreadPoolExecutor(COPIES_AT_ONCE, thread_name_prefix="copy") as pool:
                list(pool.map(self.blobs.copy, [file.blob for file in files], copies))
            docs = [self._doc(store, *each) for each in zip(attachments, files, copies, strict=True)]
            accepted = [self.uploads.accept(group) for group in batched(docs, self.documents.limits.batch_docs)]
        finally:
            self.uploads.delete_unattached(copies)
        return [result.job_id for result in accepted if result.job_id is not None]

    @repeatable
    def get(self, tenant_id: str, store_id: str, doc_id: str) -> StoreFileInfo:
        """Raises NotFound."""
        with self.database.read() as session:
            store = require_store(session, tenant_id, store_id)
            return described(session, store, [require_doc(session, store.project, doc_id)])[0]

    @repeatable
    def page(
        self, tenant_id: str, store_id: str, page: PageQuery, *, status: FileStatus | None = None
    ) -> ListPage[StoreFileInfo]:
        """By id: those of file objects are in the order of their upload."""
        with self.database.read() as session:
            store = require_store(session, tenant_id, store_id)
            query = select_docs(store.project, Revision.revision == Doc.revision)
            query = query.where(Doc.deleted_at.is_(None), *has_status(status))
            rows = rows_of(session, query, Doc.doc_id, page)
            return ListPage(described(session, store, [DocView(*row) for row in rows.data]), rows.has_more)

    def chunks(self, tenant_id: str, store_id: str, doc_id: str) -> Iterator[ChunkInfo]:
        """All that searches can find of it, in document order."""
        with self.database.read() as session:
            namespace = require_store(session, tenant_id, store_id).namespace
        after = None
        while True:
            chunks = self.browsing.chunks(tenant_id, namespace, doc_id, limit=CHUNKS_PER_READ, after=after)
            yield from chunks
            if len(chunks) < CHUNKS_PER_READ:
                return
            after = chunks[-1].chunk_index

    def change_attributes(self, tenant_id: str, store_id: str, doc_id: str, attributes: Json) -> StoreFileInfo:
        """Searches filter by the new ones as of this commit. Metadata that are no attributes stay."""
        info = self.get(tenant_id, store_id, doc_id)
        namespace = self.stores.get(tenant_id, store_id).store.namespace

        def change(metadata: Json) -> Json:
            shown = attributes_of(metadata, info.filename)
            return {**{key: value for key, value in metadata.items() if key not in shown}, **attributes}

        self.describing.change_metadata(tenant_id, namespace, doc_id, change)
        return self.get(tenant_id, store_id, doc_id)

    def delete(self, tenant_id: str, store_id: str, doc_id: str) -> None:
        """Take the document out of the namespace; a file object stays."""
        namespace = self.stores.get(tenant_id, store_id).store.namespace
        self.documents.delete(tenant_id, namespace, doc_id)

    def _doc(self, store: Store, attachment: Attachment, file: FileObject, blob: str) -> NewDoc:
        raw = RawFile(blob, file.filename, file.sha256, file.byte_count, file.mime_type, file.declared)
        return NewDoc(
            tenant_id=store.tenant_id,
            namespace=store.namespace,
            doc_id=file.id,
            text="",
            metadata=attachment.attributes,
            source_type="upload",
            chunk_strategy=AUTO,
            chunk_overlap=round(attachment.overlap * self.chunk_tokens * CHARS_PER_TOKEN),
            file=raw,
        )
