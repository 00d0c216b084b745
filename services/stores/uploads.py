"""Uploads in parts: parts are kept as blobs, and joined into a file object when the client says that all are there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import RawFile
from engines.blobs.base import BlobStore
from errors import Ended, Invalid, NotFound, TooLarge
from models import FileObject, Team, Upload, UploadPart, UploadStatus, utc_now
from services.index.quotas import QuotaService
from services.ingest.file_objects import remove_parts, remove_uploads
from services.ingest.pending_blobs import PendingBlobs, attach
from services.ingest.uploading import IncomingFile, UploadService, plain_filename
from services.stores.files import FileInfo, FileService, NewFile
from services.stores.ids import PART, UPLOAD, new_id
from times import shifted

LIFETIME_HOURS = 1
KEPT_DAYS = 1
"""How long it can be looked up what became of an upload."""
UPLOADS_PER_SWEEP = 100
MOST_TIMES_ANNOUNCED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    filename: str
    purpose: str
    mime_type: str
    byte_count: int
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """*file* is what became of a completed upload, unless it has been deleted since."""

    id: str
    filename: str
    purpose: str
    byte_count: int
    status: UploadStatus
    created_at: datetime
    expires_at: datetime
    file: FileInfo | None = None

    @classmethod
    def of(cls, row: Upload, file: FileObject | None = None) -> UploadInfo:
        common = (row.id, row.filename, row.purpose, row.byte_count, _status(row), row.created_at, row.expires_at)
        return cls(*common, FileInfo.of(file) if file is not None else None)


@dataclass(frozen=True, slots=True)
class PartInfo:
    id: str
    upload_id: str
    created_at: datetime


class IncomingPart(IncomingFile):
    """A piece of a file, of no type that could be read."""

    def finish(self) -> RawFile:
        if self.is_empty:
            self.abort()
            raise Invalid("The part is empty: it has 0 bytes.", param="data")
        return self.close("application/octet-stream")


@dataclass(frozen=True)
class PartUploads:
    """Where the parts of a form go."""

    pending: PendingBlobs
    blobs: BlobStore

    def begin(self, filename: str, declared: str = "") -> IncomingFile:
        blob = self.pending.reserve()
        return IncomingPart(self.blobs.open_writer(blob), blob, filename, declared)


@dataclass(frozen=True)
class UploadPartsService:
    database: Database
    blobs: BlobStore
    pending: PendingBlobs
    quotas: QuotaService
    uploads: UploadService
    files: FileService
    most_bytes: int

    @property
    def parts(self) -> PartUploads:
        return PartUploads(self.pending, self.blobs)

    def create(self, tenant_id: str, new: NewUpload) -> UploadInfo:
        if new.byte_count > self.most_bytes:
            size = f"{self.most_bytes >> 20} MB"
            raise TooLarge(f"A file of {new.byte_count} bytes is more than {size} (MAX_UPLOAD_MB).", param="bytes")
        self.database.refuse_when_nearly_full()
        now = utc_now()
        with self.database.write() as session:
            upload = Upload(
                team_id=self.files.tenants.team(session, tenant_id).id,
                id=new_id(UPLOAD),
                filename=plain_filename(new.filename),
                purpose=new.purpose,
                declared=new.mime_type,
                byte_count=new.byte_count,
                file_seconds=new.seconds,
                status=UploadStatus.PENDING,
                created_at=now,
                expires_at=shifted(now, seconds=3600 * LIFETIME_HOURS),
            )
            session.add(upload)
            session.flush()
        return UploadInfo.of(upload)

    def add_part(self, tenant_id: str, upload_id: str, raw: RawFile) -> PartInfo:
        """Raises NotFound, Ended, and Invalid for far more bytes than were announced.

        A client that missed an answer sends a part again: what it does not name in the end is deleted.
        """
        with self.database.write() as session:
            upload = _required(session, tenant_id, upload_id, for_update=True)
            _require_pending(upload)
            sizes = session.scalars(select(UploadPart.byte_count).where(*_of(upload))).all()
            if (size := sum(sizes) + raw.byte_count) > MOST_TIMES_ANNOUNCED * upload.byte_count:
                raise Invalid(
                    f"With this part the upload has {size} bytes, and {upload.byte_count} were announced.", param="data"
                )
            row = UploadPart(
                team_id=upload.team_id, upload_id=upload_id, id=new_id(PART), blob=raw.blob, byte_count=raw.byte_count
            )
            session.add(row)
            attach(session, raw.blob)
            session.flush()
            self.quotas.add_file_bytes(session, upload.team_id, raw.byte_count)
            return PartInfo(row.id, upload_id, row.created_at)

    def complete(self, tenant_id: str, upload_id: str, part_ids: Sequence[str], *, md5: str | None) -> UploadInfo:
        """Join the parts in this order. An upload that was completed before is answered again."""
        with self.database.read() as session:
            upload = _required(session, tenant_id, upload_id)
            if upload.status == UploadStatus.COMPLETED:
                return _info(session, upload)
            parts = {part.id: part for part in session.scalars(select(UploadPart).where(*_of(upload)))}
        _require_pending(upload)
        chosen = _chosen(upload, parts, part_ids)
        raw = self._joined(upload, chosen, md5=md5)
        try:
            return self._complete(upload, raw)
        finally:
            self.pending.delete_unattached([raw.blob, *(part.blob for part in parts.values())])

    def cancel(self, tenant_id: str, upload_id: str) -> UploadInfo:
        with self.database.write() as session:
            upload = _required(session, tenant_id, upload_id, for_update=True)
            if upload.status != UploadStatus.CANCELLED:
                _require_pending(upload)
            upload.status = UploadStatus.CANCELLED
            blobs = remove_parts(session, upload.team_id, UploadPart.upload_id == upload_id)
        self.pending.delete_unattached(blobs)
        return UploadInfo.of(upload)

    def sweep(self) -> int:
        """Delete the parts of uploads whose time is over, and then what is known of them; a chore."""
        now = utc_now()
        with self.database.read() as session:
            query = select(Upload).where(Upload.expires_at < shifted(now, days=-KEPT_DAYS)).limit(UPLOADS_PER_SWEEP)
            forgotten = {(each.team_id, each.id) for each in session.scalars(query)}
            is_over = Upload.expires_at < now
            parts = select(UploadPart.team_id, UploadPart.upload_id).join(Upload, _has_part()).where(is_over)
            expired = {(row[0], row[1]) for row in session.execute(parts.distinct().limit(UPLOADS_PER_SWEEP))}
        for team_id, upload_id in sorted(forgotten | expired):
            with self.database.write() as session:
                remove_parts(session, team_id, UploadPart.upload_id == upload_id)
                if (team_id, upload_id) in forgotten:
                    remove_uploads(session, team_id, Upload.id == upload_id)
        return len(forgotten | expired)

    def _joined(self, upload: Upload, parts: Iterable[UploadPart], *, md5: str | None) -> RawFile:
        digest = hashlib.md5(usedforsecurity=False)
        incoming = self.uploads.begin(upload.filename, upload.declared)
        try:
            for part in parts:
                for piece in self.blobs.read(part.blob):
                    digest.update(piece)
                    incoming.write(piece)
            if md5 is not None and md5.lower() != digest.hexdigest():
                raise Invalid(f"The parts have the MD5 {digest.hexdigest()}, not {md5}: send them again.", param="md5")
            return incoming.finish()
        except BaseException:
            incoming.abort()
            self.uploads.delete_unattached([incoming.blob])
            raise

    @repeatable
    def _complete(self, upload: Upload, raw: RawFile) -> UploadInfo:
        with self.database.write() as session:
            current = session.get_one(Upload, (upload.team_id, upload.id), with_for_update=True)
            if current.status == UploadStatus.COMPLETED:
                return _info(session, current)
            _require_pending(current)
            remove_parts(session, upload.team_id, UploadPart.upload_id == upload.id)
            team = session.get_one(Team, upload.team_id)
            file = self.files.add(session, team, NewFile(raw, current.purpose, current.file_seconds))
            current.status, current.file_id = UploadStatus.COMPLETED, file.id
            return UploadInfo.of(current, file)


def _required(session: Session, tenant_id: str, upload_id: str, *, for_update: bool = False) -> Upload:
    query = select(Upload).join(Team, Team.id == Upload.team_id).where(Team.name == tenant_id, Upload.id == upload_id)
    upload = session.scalar(query.with_for_update(of=Upload) if for_update else query)
    if upload is None:
        raise NotFound(f"There is no upload {upload_id!r}.", param="upload_id")
    return upload


def _require_pending(upload: Upload) -> None:
    status = _status(upload)
    if status != UploadStatus.PENDING:
        raise Ended(f"The upload {upload.id} is {status}: begin another one.", param="upload_id")


def _status(upload: Upload) -> UploadStatus:
    status = UploadStatus(upload.status)
    is_over = status is UploadStatus.PENDING and upload.expires_at <= utc_now()
    return UploadStatus.EXPIRED if is_over else status


def _chosen(upload: Upload, parts: dict[str, UploadPart], part_ids: Sequence[str]) -> list[UploadPart]:
    unknown = [each for each in part_ids if each not in parts]
    if unknown:
        raise Invalid(f"The upload has no part {unknown[0]!r}.", param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise Invalid("A part is named twice.", param="part_ids")
    chosen = [parts[each] for each in part_ids]
    size = sum(part.byte_count for part in chosen)
    if size != upload.byte_count:
        raise Invalid(f"The parts have {size} bytes, and {upload.byte_count} were announced.", param="part_ids")
    return chosen


def _info(session: Session, upload: Upload) -> UploadInfo:
    file = session.get(FileObject, (upload.team_id, upload.file_id)) if upload.file_id else None
    return UploadInfo.of(upload, file)


def _of(upload: Upload) -> tuple[ColumnElement[bool], ...]:
    return UploadPart.team_id == upload.team_id, UploadPart.upload_id == upload.id


def _has_part() -> ColumnElement[bool]:
    return and_(Upload.team_id == UploadPart.team_id, Upload.id == UploadPart.upload_id)
