"""The documents of a namespace as files of a vector store.

Attributes are those of a document's metadata that are numbers, strings, true or false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.orm import Session

from database.batching import batched
from domain import Json
from models import Doc, DocStatus, File, Revision, RevisionStatus
from services.ingest.rows import IDS_PER_QUERY, DocView
from services.stores.stores import Store

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
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


def has_status(status: FileStatus | None) -> list[ColumnElement[bool]]:
    """Of documents that are not ready there are few, which have an index of their own: its condition is repeated."""
    if status is None:
        return []
    if status == "completed":
        return [Doc.status == DocStatus.READY]
    is_status: Any = Revision.status.in_([name for name, shown in STATUS_OF_REVISION.items() if shown == status])
    return [Doc.status != literal_column("'ready'"), is_status]
