"""File objects: raw files that are uploaded by themselves, and attached to vector stores afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from domain import RawFile
from engines.blobs.base import BlobStore
from errors import NotFound
from models import Doc, FileObject, Project, Team, utc_now
from services.index.auditing import record
from services.index.namespaces import is_listed
from services.index.quotas import QuotaService
from services.ingest.file_objects import remove_file_objects
from services.ingest.pending_blobs import PendingBlobs, attach
from services.ingest.uploading import StoredFile
from services.stores.ids import FILE, new_id
from services.stores.paging import ListPage, PageQuery, rows_of
from services.stores.tenants import Tenants
from times import shifted

IDS_PER_QUERY = 500
FILES_PER_SWEEP = 100

DeleteDoc = Callable[[str, str, str], object]
"""Deletes a document, by tenant, namespace and doc_id."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was received. *seconds* is how long it is kept; None: until it is deleted."""

    raw: RawFile
    purpose: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class FileInfo:
    id: str
    filename: str
    purpose: str
    byte_count: int
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, row: FileObject) -> FileInfo:
        return cls(row.id, row.filename, row.purpose, row.byte_count, row.created_at, row.expires_at)


@dataclass(frozen=True)
class FileService:
    database: Database
    blobs: BlobStore
    pending: PendingBlobs
    quotas: QuotaService
    delete_doc: DeleteDoc
    tenants: Tenants

    def keep(self, tenant_id: str, file: NewFile) -> FileInfo:
        """Store the file. Raises QuotaExceeded."""
        self.database.refuse_when_nearly_full()
        with self.database.write() as session:
            return FileInfo.of(self.add(session, self.tenants.team(session, tenant_id), file))

    def add(self, session: Session, team: Team, file: NewFile) -> FileObject:
        raw, now = file.raw, utc_now()
        row = FileObject(
            team_id=team.id,
            id=new_id(FILE),
            filename=raw.filename,
            purpose=file.purpose,
            byte_count=raw.byte_count,
            sha256=raw.sha256,
            mime_type=raw.mime_type,
            declared=raw.declared,
            blob=raw.blob,
            created_at=now,
            expires_at=None if file.seconds is None else shifted(now, seconds=file.seconds),
        )
        session.add(row)
        attach(session, raw.blob)
        session.flush()
        self.quotas.add_file_bytes(session, team.id, raw.byte_count)
        return row

    def get(self, tenant_id: str, file_id: str) -> FileInfo:
        return FileInfo.of(self.rows(tenant_id, [file_id])[0])

    @repeatable
    def rows(self, tenant_id: str, file_ids: Sequence[str]) -> list[FileObject]:
        """In their order. Raises NotFound, which names the first that is missing."""
        with self.database.read() as session:
            return _required(session, tenant_id, file_ids)

    @repeatable
    def page(self, tenant_id: str, page: PageQuery, *, purpose: str | None = None) -> ListPage[FileInfo]:
        query = select(FileObject).join(Team, Team.id == FileObject.team_id).where(Team.name == tenant_id, _is_kept())
        if purpose is not None:
            query = query.where(FileObject.purpose == purpose)
        with self.database.read() as session:
            rows = rows_of(session, query, FileObject.id, page)
            return ListPage([FileInfo.of(row[0]) for row in rows.data], rows.has_more)

    def open(self, tenant_id: str, file_id: str) -> StoredFile:
        [file] = self.rows(tenant_id, [file_id])
        pieces = self.blobs.read(file.blob)
        return StoredFile(file.filename, file.mime_type, file.byte_count, file.sha256, pieces)

    def delete(self, tenant_id: str, file_id: str) -> None:
        """Delete the file, and the document that it is in each vector store. Repeating it after a crash goes on."""
        [file] = self.rows(tenant_id, [file_id])
        self.database.make_room_to_delete()
        with self.database.read() as session:
            places = _attached_to(session, file)
        for namespace in places:
            self._detach(tenant_id, namespace, file_id)
        with self.database.write() as session:
            blobs = remove_file_objects(session, file.team_id, FileObject.id == file_id)
            if blobs:
                record(session, "file.deleted", tenant_id=tenant_id, object=file_id)
        self.pending.delete_unattached(blobs)

    def sweep(self) -> int:
        """Delete files whose time is over; a chore. Returns how many."""
        with self.database.read() as session:
            query = select(Team.name, FileObject).join(Team, Team.id == FileObject.team_id)
            is_over = FileObject.expires_at < utc_now()
            rows = session.execute(query.where(FileObject.expires_at.is_not(None), is_over).limit(FILES_PER_SWEEP))
            expired = [(name, file, _attached_to(session, file)) for name, file in rows]
        for tenant_id, file, places in expired:
            for namespace in places:
                self._detach(tenant_id, namespace, file.id)
            with self.database.write() as session:
                remove_file_objects(session, file.team_id, FileObject.id == file.id)
        return len(expired)

    def _detach(self, tenant_id: str, namespace: str, file_id: str) -> None:
        try:
            self.delete_doc(tenant_id, namespace, file_id)
        except NotFound:
            return  # somebody else has deleted it


def _is_kept() -> ColumnElement[bool]:
    return or_(FileObject.expires_at.is_(None), FileObject.expires_at > utc_now())


def _required(session: Session, tenant_id: str, file_ids: Sequence[str]) -> list[FileObject]:
    files: dict[str, FileObject] = {}
    for batch in batched(file_ids, IDS_PER_QUERY):
        query = select(FileObject).join(Team, Team.id == FileObject.team_id)
        query = query.where(Team.name == tenant_id, FileObject.id.in_(batch), _is_kept())
        files |= {file.id: file for file in session.scalars(query)}
    missing = [each for each in file_ids if each not in files]
    if missing:
        more = f", nor {len(missing) - 1} others of these" if len(missing) > 1 else ""
        raise NotFound(f"There is no file {missing[0]!r}{more}: upload it first (POST /v1/files).", param="file_id")
    return [files[each] for each in file_ids]


def _attached_to(session: Session, file: FileObject) -> list[str]:
    """The namespaces that have it as a document."""
    in_project = (Project.team_id == Doc.team_id, Project.id == Doc.project_id)
    of_team = select(Project.id).where(Project.team_id == file.team_id, is_listed())
    query = select(Project.name).join(Doc, and_(*in_project))
    is_doc = (Doc.team_id == file.team_id, Doc.project_id.in_(of_team), Doc.doc_id == file.id)
    return list(session.scalars(query.where(*is_doc, Doc.deleted_at.is_(None)).order_by(Project.name)))
