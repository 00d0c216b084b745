"""The files of a vector store: the documents of its namespace, whichever door they came through.

A file object is attached as the document whose doc_id is the file's id, with a copy of its blob. Attributes are those
of the document's metadata that are numbers, strings, true or false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from domain import Json, RawFile
from engines.blobs.base import BlobStore
from models import Doc, DocStatus, File, FileObject, Revision, RevisionStatus
from services.ingest.browsing import BrowsingService, ChunkInfo
from services.ingest.describing import DescribingService
from services.ingest.documents import DocumentService
from services.ingest.drafts import AUTO, NewDoc
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.rows import IDS_PER_QUERY, DocView, require_doc, select_docs
from services.ingest.uploading import UploadService
from services.stores.files import FileService
from services.stores.paging import ListPage, PageQuery, rows_of
from services.stores.stores import Store, StoreService, require_store

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
COPIES_AT_ONCE = 8
CHUNKS_PER_READ = 1000
CHARS_PER_TOKEN = 4
"""Of English text, roughly: overlaps are set in tokens there, and in characters here."""

STATUS_OF_REVISION: Mapping[str, FileStatus] = {
    RevisionStatus.PENDING: "in_progress",
    RevisionStatus.LIVE: "completed",
    RevisionStatus.RETIRED: "completed",
    RevisionStatus.FAILED: "failed",
    RevisionStatus.CANCELLED: "cancelled",
    RevisionStatus.SUPERSEDED: "cancelled",
}
FILENAME = "filename"


@dataclass(frozen=True, slots=True)
class Attachment:
    """*overlap* is the share of a chunk that repeats the one before."""

    file_id: str
    attributes: Json = field(default_factory=dict)
    overlap: float = 0.0


@dataclass(frozen=True, slots=True)
class StoreFileInfo:
    """*overlap_tokens* is None if the document was not cut from a file."""

    store_id: str
    doc_id: str
    filename: str
    status: FileStatus
    error: str | None
    was_read: bool
    byte_count: int
    attributes: Json
    overlap_tokens: int | None
    created_at: datetime
    updated_at: datetime


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
            query = query.where(Doc.deleted_at.is_(None), *_has_status(status))
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


def attributes_of(metadata: Json, filename: str) -> Json:
    """What the door can show of metadata: not the name of the file, which is shown beside them."""
    scalars = {key: value for key, value in metadata.items() if isinstance(value, str | int | float)}
    return {key: value for key, value in scalars.items() if (key, value) != (FILENAME, filename)}


def described(session: Session, store: Store, views: Sequence[DocView]) -> list[StoreFileInfo]:
    names = _files(session, store, [view.doc.doc_id for view in views if view.revision.blob_uri is not None])
    return [_described(store.id, view, names.get((view.doc.doc_id, view.revision.revision))) for view in views]


def _described(store_id: str, view: DocView, file: File | None) -> StoreFileInfo:
    doc, revision = view.doc, view.revision
    filename = file.filename if file else str(revision.doc_metadata.get(FILENAME) or revision.title or doc.doc_id)
    return StoreFileInfo(
        store_id=store_id,
        doc_id=doc.doc_id,
        filename=filename,
        status=STATUS_OF_REVISION[revision.status],
        error=doc.error,
        was_read=revision.chunk_count > 0,
        byte_count=revision.byte_count,
        attributes=attributes_of(revision.doc_metadata, filename),
        overlap_tokens=file.read_options["chunk_overlap"] // CHARS_PER_TOKEN if file else None,
        created_at=doc.created_at,
        updated_at=doc.updated_at,
    )


def _files(session: Session, store: Store, doc_ids: Sequence[str]) -> dict[tuple[str, int], File]:
    files: dict[tuple[str, int], File] = {}
    for batch in batched(doc_ids, IDS_PER_QUERY):
        of_docs = (File.team_id == store.key[0], File.project_id == store.key[1], File.doc_id.in_(batch))
        files |= {(file.doc_id, file.revision): file for file in session.scalars(select(File).where(*of_docs))}
    return files


def _has_status(status: FileStatus | None) -> list[ColumnElement[bool]]:
    """Of documents that are not ready there are few, which have an index of their own: its condition is repeated."""
    if status is None:
        return []
    if status == "completed":
        return [Doc.status == DocStatus.READY]
    is_status: Any = Revision.status.in_([name for name, shown in STATUS_OF_REVISION.items() if shown == status])
    return [Doc.status != literal_column("'ready'"), is_status]
