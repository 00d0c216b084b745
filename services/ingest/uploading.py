"""Files that are sent: received piece by piece into the store, accepted as documents for a worker, given back.

Accepted means that the blobs are durable and the rows that name them committed, in this order; what is received and
not accepted is removed.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from database.engine import Database
from domain import RawFile
from engines.blobs.base import BlobStore, BlobWriter
from errors import Invalid, NotFound, Unreadable
from models import File
from services.index import namespaces
from services.ingest.drafts import NewDoc, Upserted
from services.ingest.pending_blobs import PendingBlobs
from services.ingest.rows import view
from text.extract.kinds import HEAD_BYTES, kind_of
from text.hashing import UNFIT_FOR_A_LINE

LONGEST_FILENAME = 255
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
    accept_docs: Callable[[Sequence[NewDoc]], Upserted]

    def begin(self, filename: str, declared: str = "") -> IncomingFile:
        """A file that is about to come in. Its name, as it was sent, refuses nothing: see plain_filename."""
        blob = self.pending.note()
        try:
            return IncomingFile(self.blobs, blob, plain_filename(filename), declared)
        except BaseException:
            self.remove_untaken([blob])
            raise

    def accept(self, docs: Sequence[NewDoc]) -> Upserted:
        """Store the documents and the job that will read, embed and publish their files."""
        return self.accept_docs([_named(doc) for doc in docs])

    def remove_untaken(self, blobs: Sequence[str]) -> None:
        """Remove what was received and is not part of a document. Never raises; a crash leaves it to the sweep."""
        if blobs:
            self.pending.remove_untaken(blobs)

    def open(self, tenant_id: str, namespace: str, doc_id: str) -> StoredFile:
        """The raw file of the document's newest accepted revision. Raises NotFound where it came as text."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            revision = view(session, project, doc_id).revision
            key = (revision.team_id, revision.project_id, revision.doc_id, revision.revision)
            file = session.get(File, key)
        if file is None or revision.blob_uri is None:
            raise NotFound(f"Document {doc_id!r} did not come as a file.", param="doc_id")
        pieces = self.blobs.read(revision.blob_uri)
        return StoredFile(file.filename, revision.mime_type, file.byte_count, revision.doc_hash, pieces)


class _Aborted(Exception):
    """What makes a store take back the blob that is being written."""


class IncomingFile:
    """One file on its way into the store. Whatever happens, its blob is named to remove_untaken() afterwards."""

    def __init__(self, blobs: BlobStore, blob: str, filename: str, declared: str) -> None:
        self.blob, self.filename, self.declared = blob, filename, declared
        self._hash = hashlib.sha256()
        self._head = b""
        self._size = 0
        self._writing = ExitStack()
        self._writer: BlobWriter = self._writing.enter_context(blobs.writing(blob))

    def write(self, data: bytes) -> None:
        self._head += data[: HEAD_BYTES - len(self._head)]
        self._size += len(data)
        self._hash.update(data)
        self._writer.write(data)

    @property
    def is_empty(self) -> bool:
        return self._size == 0

    def finish(self) -> RawFile:
        """The file, durable. Raises Invalid for an empty one, Unreadable for a type that no reader is there for."""
        with self._writing:
            if not self._size:
                raise Invalid(f"{self.filename!r} is empty: it has 0 bytes.", param="file")
            try:
                kind = kind_of(self._head, self.filename, self.declared)
            except Unreadable as error:
                raise Unreadable(f"{self.filename!r} cannot be accepted. {error}", param="file") from error
        return RawFile(self.blob, self.filename, self._hash.hexdigest(), self._size, kind.mime_type, self.declared)

    def abort(self) -> None:
        """Leave nothing of it. After finish() this does nothing."""
        with suppress(_Aborted), self._writing:
            raise _Aborted


def plain_filename(sent: str) -> str:
    """The last part of what may be a path of somebody's machine, in NFC, so that it is the same from every system.
    It is shown, and names no file here. A name that is too long loses its middle; what is none becomes ``unnamed``.
    """
    name = unicodedata.normalize("NFC", sent.replace("\\", "/").rpartition("/")[2])
    name = UNFIT_FOR_A_LINE.sub("", name).strip()
    if name in ("", ".", ".."):
        return UNNAMED
    return name if len(name) <= LONGEST_FILENAME else _shortened(name)


def _shortened(name: str) -> str:
    """Two long names that differ stay different, and the suffix stays."""
    suffix = PurePosixPath(name).suffix[-_LONGEST_SUFFIX:]
    mark = f"~{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"{name[: LONGEST_FILENAME - len(suffix) - len(mark)]}{mark}{suffix}"


def doc_id_of(namespace: str, filename: str) -> str:
    """The same for the same name in the same namespace, whoever computes it."""
    return hashlib.sha256(f"{namespace}\n{filename}".encode()).hexdigest()[:32]


def _named(doc: NewDoc) -> NewDoc:
    assert doc.file is not None
    return replace(doc, metadata={"filename": doc.file.filename, **doc.metadata}, mime_type=doc.file.mime_type)
