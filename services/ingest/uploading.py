"""Receives files piece by piece into the blob store, accepts them as documents, and returns them.

Accepted means that the blobs are durable and then the rows that refer to them are committed. A blob that was received
but not accepted is deleted.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from database.engine import Database
from domain import RawFile
from engines.blobs.base import BlobStore, BlobWriter
from errors import Invalid, NotFound, Unreadable
from models import File
from services.index import namespaces
from services.ingest.drafts import NewDoc, UpsertResult
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.rows import require_doc
from text.extract.kinds import HEAD_BYTES, kind_of
from text.hashing import UNFIT_FOR_A_LINE
from text.restriction import Restriction

MAX_FILENAME_CHARS = 255
UNNAMED = "unnamed"
_LONGEST_SUFFIX = 16


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A document's raw file. *pieces* may be read once."""

    filename: str
    mime_type: str
    byte_count: int
    sha256: str
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class UploadService:
    database: Database
    blobs: BlobStore
    pending: PendingBlobs
    accept_docs: Callable[[Sequence[NewDoc]], UpsertResult]

    def begin(self, filename: str, declared: str = "") -> IncomingFile:
        """Start receiving a file. No name is refused: see plain_filename."""
        blob = self.pending.reserve()
        try:
            return IncomingFile(self.blobs.open_writer(blob), blob, filename, declared)
        except BaseException:
            self.delete_unattached([blob])
            raise

    def accept(self, docs: Sequence[NewDoc]) -> UpsertResult:
        """Store the documents and the job that will extract, embed and publish their files."""
        return self.accept_docs([with_filename(doc) for doc in docs])

    def delete_unattached(self, blobs: Sequence[str]) -> None:
        """Delete blobs that belong to no document. Never raises; after a crash the sweep deletes them."""
        if blobs:
            self.pending.delete_unattached(blobs)

    def open(
        self, tenant_id: str, namespace: str, doc_id: str, *, restriction: Restriction | None = None
    ) -> StoredFile:
        """Returns the raw file of the document's newest accepted revision. Raises NotFound if it was sent as text."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace, restriction)
            revision = require_doc(session, project, doc_id, restriction).revision
            key = (revision.team_id, revision.project_id, revision.doc_id, revision.revision)
            file = session.get(File, key)
        if file is None or revision.blob_uri is None:
            raise NotFound(f"Document {doc_id!r} did not come as a file.", param="doc_id")
        pieces = self.blobs.read(revision.blob_uri)
        return StoredFile(file.filename, revision.mime_type, file.byte_count, revision.doc_hash, pieces)


class _Aborted(Exception):
    """Makes the blob store discard the blob that is being written."""


class IncomingFile:
    """A file that is being received through *writing*, as *blob*. Whatever happens, its owner deletes it afterwards:
    uploads with delete_unattached().
    """

    def __init__(self, writing: AbstractContextManager[BlobWriter], blob: str, filename: str, declared: str) -> None:
        self.blob, self.filename, self.declared = blob, plain_filename(filename), declared
        self._hash = hashlib.sha256()
        self._head = b""
        self._size = 0
        self._writing = ExitStack()
        self._writer: BlobWriter = self._writing.enter_context(writing)

    def write(self, data: bytes) -> None:
        self._head += data[: HEAD_BYTES - len(self._head)]
        self._size += len(data)
        self._hash.update(data)
        self._writer.write(data)

    @property
    def is_empty(self) -> bool:
        return self._size == 0

    def finish(self) -> RawFile:
        """Make the file durable. Raises Invalid if it is empty, Unreadable if no reader supports its type."""
        with self._writing:
            if not self._size:
                raise Invalid(f"{self.filename!r} is empty: it has 0 bytes.", param="file")
            try:
                kind = kind_of(self._head, self.filename, self.declared)
            except Unreadable as error:
                raise Unreadable(f"{self.filename!r} cannot be accepted. {error}", param="file") from error
        return self._received(kind.mime_type)

    def close(self, mime_type: str) -> RawFile:
        """Make it durable, whatever it is."""
        with self._writing:
            return self._received(mime_type)

    def _received(self, mime_type: str) -> RawFile:
        return RawFile(self.blob, self.filename, self._hash.hexdigest(), self._size, mime_type, self.declared)

    def abort(self) -> None:
        """Discard the file. Does nothing after finish()."""
        with suppress(_Aborted), self._writing:
            raise _Aborted


def plain_filename(path: str) -> str:
    """Returns the last part of the client's path, in NFC, so that it is the same from every system.

    It is for display and names no file here. A name that is too long loses its middle; an empty one becomes
    ``unnamed``.
    """
    name = unicodedata.normalize("NFC", path.replace("\\", "/").rpartition("/")[2])
    name = UNFIT_FOR_A_LINE.sub("", name).strip()
    if name in ("", ".", ".."):
        return UNNAMED
    return name if len(name) <= MAX_FILENAME_CHARS else _shortened(name)


def _shortened(name: str) -> str:
    """Keeps the suffix, and keeps different names different."""
    suffix = PurePosixPath(name).suffix[-_LONGEST_SUFFIX:]
    digest = f"~{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"{name[: MAX_FILENAME_CHARS - len(suffix) - len(digest)]}{digest}{suffix}"


def doc_id_of(namespace: str, filename: str) -> str:
    """Returns the default doc_id of a file: the same for the same name in the same namespace."""
    return hashlib.sha256(f"{namespace}\n{filename}".encode()).hexdigest()[:32]


def with_filename(doc: NewDoc) -> NewDoc:
    """Returns the document of a file with what the file says of itself."""
    assert doc.file is not None
    return replace(doc, metadata={"filename": doc.file.filename, **doc.metadata}, mime_type=doc.file.mime_type)
