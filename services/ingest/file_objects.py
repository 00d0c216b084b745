"""The rows of file objects and of parts of uploads: removing them dooms their blobs and gives their bytes back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete
from sqlalchemy.orm import Session

from models import BatchFile, FileBatch, FileObject, Upload, UploadPart, VectorStoreRow
from services.index.counting import add_file_bytes
from services.ingest.pending_blobs import doom


def remove_file_objects(session: Session, team_id: int, *which: ColumnElement[bool]) -> list[str]:
    """Returns the blobs, which are doomed as of the caller's commit."""
    return _remove(session, FileObject, team_id, which)


def remove_parts(session: Session, team_id: int, *which: ColumnElement[bool]) -> list[str]:
    return _remove(session, UploadPart, team_id, which)


def remove_uploads(session: Session, team_id: int, *which: ColumnElement[bool]) -> None:
    """Without parts, which have to be removed before."""
    session.execute(delete(Upload).where(Upload.team_id == team_id, *which))


def forget_store(session: Session, team_id: int, project_id: int) -> None:
    """What a namespace is as a vector store, and the batches that were attached to it."""
    for table in (BatchFile, FileBatch, VectorStoreRow):
        session.execute(delete(table).where(table.team_id == team_id, table.project_id == project_id))


def _remove(
    session: Session,
    table: type[FileObject] | type[UploadPart],
    team_id: int,
    which: tuple[ColumnElement[bool], ...],
) -> list[str]:
    gone: Any = delete(table).where(table.team_id == team_id, *which).returning(table.blob, table.byte_count)
    rows = session.execute(gone, execution_options={"synchronize_session": False}).all()
    if rows:
        doom(session, [row.blob for row in rows])
        add_file_bytes(session, team_id, -sum(row.byte_count for row in rows))
    return [row.blob for row in rows]
