"""Removes the rows of chunks, vectors, words, revisions and documents. Erasing and purging share it.

A vector goes with the last chunk of its team that has its text, in every embedding version that there is. Vectors are
locked before chunks are looked for, and writers lock those that they use again: neither misses what the other does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database, DatabaseKind
from engines.blobs.base import BlobStore
from job_queue import FINISHED
from models import (
    BatchFile,
    Chunk,
    Doc,
    Embedding,
    EmbeddingVersion,
    ErasureDoc,
    File,
    FileObject,
    IndexVersion,
    Job,
    KeywordRow,
    PendingBlob,
    Project,
    Revision,
    VectorRow,
)
from services.index.publishing import REBUILD
from services.ingest.file_objects import remove_file_objects, remove_parts, remove_uploads
from services.ingest.pending_blobs import doom

HASHES_PER_QUERY = 200
_NO_SYNC: dict[str, Any] = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class ChunkKey:
    faiss_id: int
    embed_hash: bytes


@dataclass(frozen=True)
class RowRemoval:
    database: Database
    blobs: BlobStore

    def remove_chunks(self, session: Session, place: tuple[int, int], chunks: Sequence[ChunkKey]) -> Counter[str]:
        """The chunks of a project with all that is made of them. Returns the numbers of rows by store."""
        team_id, project_id = place
        ids = [chunk.faiss_id for chunk in chunks]
        removed: Counter[str] = Counter()
        of_keywords = and_(KeywordRow.team_id == team_id, KeywordRow.project_id == project_id)
        removed["keywords"] = _deleted(session, delete(KeywordRow).where(of_keywords, KeywordRow.faiss_id.in_(ids)))
        if self.database.kind is DatabaseKind.POSTGRES:
            of_vectors = and_(VectorRow.team_id == team_id, VectorRow.project_id == project_id)
            for version in _versions(session):
                is_listed = and_(VectorRow.embedding_version == version, VectorRow.faiss_id.in_(ids))
                removed["vector_rows"] += _deleted(session, delete(VectorRow).where(of_vectors, is_listed))
        of_chunks = and_(Chunk.team_id == team_id, Chunk.project_id == project_id)
        removed["chunks"] = _deleted(session, delete(Chunk).where(of_chunks, Chunk.faiss_id.in_(ids)))
        removed["vectors"] = self.remove_vectors(session, team_id, [chunk.embed_hash for chunk in chunks])
        return removed

    def remove_vectors(self, session: Session, team_id: int, hashes: Sequence[bytes]) -> int:
        """Those of the vectors that no chunk of the team has any more."""
        count = 0
        is_used = exists().where(Chunk.team_id == Embedding.team_id, Chunk.embed_hash == Embedding.embed_hash)
        for version in _versions(session):
            for batch in batched(sorted(set(hashes)), HASHES_PER_QUERY):
                of_version = and_(Embedding.team_id == team_id, Embedding.embedding_version == version)
                is_listed = and_(of_version, Embedding.embed_hash.in_(batch))
                if self.database.kind is DatabaseKind.POSTGRES:
                    session.execute(select(Embedding.embed_hash).where(is_listed).with_for_update()).all()
                count += _deleted(session, delete(Embedding).where(is_listed, ~is_used))
        return count

    def remove_unneeded(self, session: Session, team_id: int, version: str, embed_hash: bytes) -> int:
        """The vector, unless something needs it by now. Whoever begins to use the version waits until the commit."""
        session.get(EmbeddingVersion, version, with_for_update=True)
        key = (Embedding.team_id == team_id, Embedding.embedding_version == version, Embedding.embed_hash == embed_hash)
        session.execute(select(Embedding.embed_hash).where(*key).with_for_update()).all()
        return _deleted(session, delete(Embedding).where(*key, ~is_needed()))

    def remove_revisions(
        self, session: Session, place: tuple[int, int], doc_id: str, last: int, *, first: int = 0
    ) -> Counter[str]:
        """The revisions of a document from *first* to *last*, without chunks, and the document if that was all of it.

        Their raw files are doomed in the same transaction; delete_doomed() deletes them.
        """
        removed: Counter[str] = Counter()
        key = {"team_id": place[0], "project_id": place[1], "doc_id": doc_id}
        of_files = and_(
            *(getattr(File, name) == value for name, value in key.items()), File.revision.between(first, last)
        )
        of_revisions = and_(*(getattr(Revision, name) == value for name, value in key.items()))
        is_listed = and_(of_revisions, Revision.revision.between(first, last))
        blobs = session.scalars(select(Revision.blob_uri).where(is_listed, Revision.blob_uri.is_not(None))).all()
        names = {blob for blob in blobs if blob is not None}
        doom(session, names)
        removed["raw_files"] = len(names)
        removed["files"] = _deleted(session, delete(File).where(of_files))
        removed["revisions"] = _deleted(session, delete(Revision).where(is_listed))
        is_bare = and_(
            *(getattr(Doc, name) == value for name, value in key.items()),
            Doc.live_revision.is_(None),
            ~exists().where(of_revisions),
        )
        removed["documents"] = _deleted(session, delete(Doc).where(is_bare))
        return removed

    def remove_attached_files(
        self, session: Session, place: tuple[int, int], docs: Sequence[ErasureDoc], *, keeps_files: bool
    ) -> Counter[str]:
        """The file objects that the documents were attached from, unless they are kept, and their names in batches."""
        ids = [doc.doc_id for doc in docs]
        in_project = and_(BatchFile.team_id == place[0], BatchFile.project_id == place[1])
        session.execute(delete(BatchFile).where(in_project, BatchFile.doc_id.in_(ids)), execution_options=_NO_SYNC)
        blobs = [] if keeps_files else remove_file_objects(session, place[0], FileObject.id.in_(ids))
        return Counter(file_objects=len(blobs))

    def remove_all_files(self, session: Session, team_id: int) -> Counter[str]:
        """All file objects and uploads of a team."""
        blobs = [*remove_file_objects(session, team_id), *remove_parts(session, team_id)]
        remove_uploads(session, team_id)
        return Counter(file_objects=len(blobs))

    def delete_doomed(self) -> int:
        """Delete the raw files that are doomed, a few at a time. Returns how many there were."""
        count = 0
        while True:
            with self.database.read() as session:
                query = select(PendingBlob.name).where(PendingBlob.is_doomed).limit(HASHES_PER_QUERY)
                names = list(session.scalars(query))
            if not names:
                return count
            for name in names:
                self.blobs.delete(name)
            with self.database.write() as session:
                session.execute(delete(PendingBlob).where(PendingBlob.name.in_(names)), execution_options=_NO_SYNC)
            count += len(names)


def chunks_of_docs(session: Session, docs: Sequence[ErasureDoc], *, limit: int) -> list[ChunkKey]:
    """At most *limit* chunks that are left of the documents, which are of one project."""
    chunks: list[ChunkKey] = []
    for doc in docs:
        query = select(Chunk.faiss_id, Chunk.embed_hash).where(_of_doc(Chunk, doc)).limit(limit - len(chunks))
        chunks += [ChunkKey(*row) for row in session.execute(query)]
        if len(chunks) >= limit:
            break
    return chunks


def count_left(session: Session, docs: Sequence[ErasureDoc], *, keeps_files: bool) -> Counter[str]:
    """What the database still has of the documents."""
    left: Counter[str] = Counter()
    for doc in docs:
        of_file = (FileObject.team_id == doc.team_id, FileObject.id == doc.doc_id)
        if not keeps_files:
            left["file_objects"] += session.scalar(select(func.count()).select_from(FileObject).where(*of_file)) or 0
        for store, table in (("chunks", Chunk), ("revisions", Revision), ("files", File)):
            left[store] += session.scalar(select(func.count()).select_from(table).where(_of_doc(table, doc))) or 0
        for first, count in doc.chunk_ranges:
            of_rows = and_(KeywordRow.team_id == doc.team_id, KeywordRow.project_id == doc.project_id)
            is_listed = and_(of_rows, KeywordRow.faiss_id >= first, KeywordRow.faiss_id < first + count)
            left["keywords"] += session.scalar(select(func.count()).select_from(KeywordRow).where(is_listed)) or 0
    return left


def is_needed() -> ColumnElement[bool]:
    """Whether a chunk has the text of the vector, in a project that is indexed, or being indexed, under its version."""
    named = and_(
        IndexVersion.team_id == Project.team_id,
        IndexVersion.chunks_of == Project.id,
        IndexVersion.embedding_version == Embedding.embedding_version,
    )
    moving = and_(
        Job.team_id == Project.team_id,
        Job.project_id == Project.id,
        Job.dedupe_key == REBUILD + ":" + Embedding.embedding_version,
        Job.status.not_in(FINISHED),
    )
    others = (exists().where(condition).correlate(Project, Embedding) for condition in (named, moving))
    is_indexed = or_(Project.embedding_version == Embedding.embedding_version, *others)
    of_chunk = and_(Project.team_id == Chunk.team_id, Project.id == Chunk.project_id)
    has_text = and_(Chunk.team_id == Embedding.team_id, Chunk.embed_hash == Embedding.embed_hash)
    return select(Chunk.faiss_id).join(Project, of_chunk).where(has_text, is_indexed).correlate(Embedding).exists()


def lock_project(session: Session, place: tuple[int, int]) -> Project | None:
    return session.get(Project, place, with_for_update=True)


def _of_doc(table: Any, doc: ErasureDoc) -> Any:
    same = and_(table.team_id == doc.team_id, table.project_id == doc.project_id, table.doc_id == doc.doc_id)
    return and_(same, table.revision <= (doc.last_revision or 0))


def _versions(session: Session) -> Sequence[str]:
    return session.scalars(select(EmbeddingVersion.name).order_by(EmbeddingVersion.name)).all()


def _deleted(session: Session, statement: Any) -> int:
    result = session.execute(statement, execution_options=_NO_SYNC)
    assert isinstance(result, CursorResult)
    return result.rowcount
