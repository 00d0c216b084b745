"""Exports a tenant: what is searchable in each of its namespaces, as of one seq, as one stream. Equal states give
equal bytes.

A namespace's documents are read in one transaction into a temporary file, and sent when it has ended: however slowly
somebody reads, the database does not wait. Raw files never change and are read as they are sent.
"""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from engines.blobs.base import READ_BYTES, BlobStore
from errors import Conflict, StorageFull
from models import Chunk, Doc, Embedding, EmbeddingVersion, File, Project, Revision, RevisionStatus
from services.index import namespaces
from services.index.auditing import record
from services.index.embedding import ModelSpec
from services.operations.archives import FORMAT, FORMAT_VERSION, HEAD_PART, ArchiveWriter
from services.operations.exported_documents import ExportedNamespace, described, file_of, line_of
from version import VERSION

log = logging.getLogger(__name__)

DOCS_PER_READ = 50
CHUNKS_PER_READ = 500
BYTES_PER_PART = 4 << 20
HASHES_PER_QUERY = 500
ROWS_PER_FETCH = 500

Report = Callable[[int, int, str], None]
"""Called with the number of documents read, that of all of the namespace, and the namespace."""


def _silent(done: int, total: int, name: str) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """*namespace* None: all of the tenant's. External vectors are always exported: nothing can compute them."""

    namespace: str | None = None
    with_vectors: bool = False
    with_files: bool = True


@dataclass(frozen=True, slots=True)
class _RawFile:
    part: str
    blob: str
    size: int
    doc_id: str


@dataclass(frozen=True, slots=True)
class _Segment:
    """A part of documents in the temporary file, and their raw files."""

    size: int
    files: list[_RawFile]


@dataclass(frozen=True)
class ExportService:
    database: Database
    blobs: BlobStore

    def export(self, tenant_id: str, options: ExportOptions, report: Report = _silent) -> Iterator[bytes]:
        """The bytes of the file. Raises NotFound at once; what fails later leaves a file that is not complete."""
        with self.database.read() as session:
            team = namespaces.require_team(session, tenant_id)
            if options.namespace is not None:
                names = [namespaces.require(session, tenant_id, options.namespace).name]
            else:
                listed = select(Project.name).where(Project.team_id == team.id, namespaces.is_listed())
                query = listed.order_by(Project.name)
                names = list(session.scalars(query))
        with self.database.write() as session:
            details = {"with_files": options.with_files, "with_vectors": options.with_vectors}
            record(session, "tenant.exported", tenant_id=tenant_id, object=options.namespace or "", **details)
        return filter(None, self._stream(tenant_id, names, options, report))

    def _stream(self, tenant_id: str, names: Sequence[str], options: ExportOptions, report: Report) -> Iterator[bytes]:
        writer = ArchiveWriter()
        head = {"format": FORMAT, "version": FORMAT_VERSION, "software": VERSION}
        yield from writer.add_json(HEAD_PART, {**head, "tenant_id": tenant_id, "with_files": options.with_files})
        for number, name in enumerate(names, 1):
            reading = _NamespaceReading(tenant_id, name, f"{number:04d}", options, report)
            with _temporary_file() as spool:
                with self.database.read() as session:
                    namespace = reading.read(session, spool)
                if namespace is not None:  # otherwise it was deleted a moment ago
                    yield from writer.add_json(f"{reading.folder}/namespace.json", described(namespace))
                    yield from self._documents(writer, reading, spool)
        yield from writer.close()

    def _documents(self, writer: ArchiveWriter, reading: _NamespaceReading, spool: IO[bytes]) -> Iterator[bytes]:
        spool.seek(0)
        for number, segment in enumerate(reading.segments, 1):
            name = f"{reading.folder}/documents-{number:06d}.jsonl"
            yield from writer.add(name, segment.size, _pieces(spool, segment.size))
            for file in segment.files:
                yield from writer.add(file.part, file.size, self._raw_file(file))

    def _raw_file(self, file: _RawFile) -> Iterator[bytes]:
        try:
            yield from self.blobs.read(file.blob)
        except Exception as error:
            log.error("The export stopped at the raw file of %r: %s", file.doc_id, error)
            raise


class _NamespaceReading:
    """One namespace in one snapshot. Documents are in the order of their chunks' numbers, which decides ties."""

    def __init__(self, tenant_id: str, namespace: str, folder: str, options: ExportOptions, report: Report) -> None:
        self.tenant_id, self.namespace, self.folder, self.options, self.report = (
            *(tenant_id, namespace, folder, options, report),
        )
        self.segments: list[_Segment] = []
        self._size, self._files, self._file_count = 0, list[_RawFile](), 0

    def read(self, session: Session, spool: IO[bytes]) -> ExportedNamespace | None:
        project = namespaces.find(session, self.tenant_id, self.namespace)
        if project is None:
            return None
        searched = session.get_one(Project, (project.team_id, project.searched_id))
        version = session.get_one(EmbeddingVersion, searched.embedding_version)
        has_vectors = self.options.with_vectors or version.is_external
        documents = chunks = 0
        for keys in _batches(session, project):
            rows = _rows(session, project, keys)
            texts = _chunks(
                session, searched, keys if searched.mirror_of is None else _mirrored(session, searched, keys)
            )
            vectors = _vectors(session, searched, texts) if has_vectors else {}
            for doc, revision, file in rows:
                self._write(spool, line_of(doc, revision, self._file(file, revision), texts[doc.doc_id], vectors))
                chunks += len(texts[doc.doc_id])
            documents += len(rows)
            self.report(documents, project.live_docs, self.namespace)
            session.expunge_all()
        self._end_segment()
        return ExportedNamespace(
            self.namespace,
            project.seq,
            version.name,
            ModelSpec.of_row(version),
            version.is_external,
            documents,
            chunks,
            _not_searchable(session, project),
        )

    def _file(self, file: File | None, revision: Revision) -> dict[str, Any] | None:
        if file is None or revision.blob_uri is None or not self.options.with_files:
            return None
        self._file_count += 1
        part = f"{self.folder}/files/{self._file_count:06d}"
        self._files.append(_RawFile(part, revision.blob_uri, file.byte_count, file.doc_id))
        return file_of(file, revision, part)

    def _write(self, spool: IO[bytes], line: bytes) -> None:
        with _room():
            spool.write(line)
        self._size += len(line)
        if self._size >= BYTES_PER_PART:
            self._end_segment()

    def _end_segment(self) -> None:
        if self._size:
            self.segments.append(_Segment(self._size, self._files))
            self._size, self._files = 0, []


def _batches(session: Session, project: Project) -> Iterator[list[tuple[str, int]]]:
    """The keys of live revisions, of so many that their texts are bounded."""
    query = select(Revision.doc_id, Revision.revision, Revision.chunk_count).where(_live(project))
    batch: list[tuple[str, int]] = []
    chunks = 0
    for doc_id, number, count in session.execute(
        query.order_by(Revision.first_id), execution_options={"yield_per": ROWS_PER_FETCH}
    ):
        if batch and (len(batch) == DOCS_PER_READ or chunks + count > CHUNKS_PER_READ):
            yield batch
            batch, chunks = [], 0
        batch.append((doc_id, number))
        chunks += count
    if batch:
        yield batch


def _live(project: Project) -> Any:
    return and_(
        Revision.team_id == project.team_id, Revision.project_id == project.id, Revision.status == RevisionStatus.LIVE
    )


def _rows(
    session: Session, project: Project, keys: Sequence[tuple[str, int]]
) -> list[tuple[Doc, Revision, File | None]]:
    """In the order of the keys."""
    is_docs = and_(
        Doc.team_id == Revision.team_id, Doc.project_id == Revision.project_id, Doc.doc_id == Revision.doc_id
    )
    is_file = and_(
        File.team_id == Revision.team_id,
        File.project_id == Revision.project_id,
        File.doc_id == Revision.doc_id,
        File.revision == Revision.revision,
    )
    query = select(Doc, Revision, File).join(Doc, is_docs).outerjoin(File, is_file).select_from(Revision)
    rows = session.execute(query.where(_live(project), Revision.doc_id.in_([doc_id for doc_id, _ in keys])))
    by_id = {row[0].doc_id: (row[0], row[1], row[2]) for row in rows}
    return [by_id[doc_id] for doc_id, _ in keys]


def _chunks(session: Session, project: Project, keys: Sequence[tuple[str, int]]) -> dict[str, list[Chunk]]:
    """By doc_id, in their order."""
    numbers = dict(keys)
    query = select(Chunk).where(
        Chunk.team_id == project.team_id, Chunk.project_id == project.id, Chunk.doc_id.in_(numbers)
    )
    chunks: dict[str, list[Chunk]] = defaultdict(list)
    live = query.where(Chunk.revision.in_(set(numbers.values()))).order_by(
        Chunk.doc_id, Chunk.revision, Chunk.chunk_index
    )
    for chunk in session.scalars(live):
        if chunk.revision == numbers[chunk.doc_id]:
            chunks[chunk.doc_id].append(chunk)
    return chunks


def _mirrored(session: Session, mirror: Project, keys: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same documents with the revisions that the mirror has of them."""
    doc_ids = [doc_id for doc_id, _ in keys]
    query = select(Revision.doc_id, Revision.revision).where(_live(mirror), Revision.doc_id.in_(doc_ids))
    return [(row[0], row[1]) for row in session.execute(query)]


def _vectors(session: Session, project: Project, texts: dict[str, list[Chunk]]) -> dict[bytes, bytes]:
    hashes = list({chunk.embed_hash for chunks in texts.values() for chunk in chunks})
    of_version = select(Embedding.embed_hash, Embedding.vector).where(
        Embedding.team_id == project.team_id, Embedding.embedding_version == project.embedding_version
    )
    vectors: dict[bytes, bytes] = {}
    for batch in batched(hashes, HASHES_PER_QUERY):
        vectors |= {row[0]: row[1] for row in session.execute(of_version.where(Embedding.embed_hash.in_(batch)))}
    return vectors


def _not_searchable(session: Session, project: Project) -> int:
    in_project = and_(Doc.team_id == project.team_id, Doc.project_id == project.id)
    query = select(func.count()).where(in_project, Doc.deleted_at.is_(None), Doc.live_revision.is_(None))
    return session.scalar(query) or 0


def _pieces(spool: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = spool.read(min(size, READ_BYTES))
        if not piece:
            raise Conflict("The temporary file of the export was cut short.")
        size -= len(piece)
        yield piece


@contextmanager
def _temporary_file() -> Iterator[IO[bytes]]:
    with _room(), tempfile.TemporaryFile(prefix="adf-export-") as file:
        yield file


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFull(
            f"The temporary file of the export cannot be written ({error.strerror}): free some space, or let TMPDIR "
            "name another folder."
        ) from error
