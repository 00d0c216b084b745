"""Lists documents and their chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, defer

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from domain import Json, chunk_id
from errors import NotFound
from models import Chunk, Doc, File, Project, Revision, RevisionStatus
from services.index import namespaces
from services.ingest.listing import DocQuery, count, listed
from services.ingest.planning import check_hash
from services.ingest.rows import IDS_PER_QUERY, DocView, fields_of, newest_revisions, require_doc
from text.filters import METADATA
from text.restriction import Restriction


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """A document and its newest accepted revision. *filename* is None where it came as text."""

    tenant_id: str
    namespace: str
    doc_id: str
    status: str
    error: str | None
    revision: int
    live_revision: int | None
    doc_hash: str
    title: str | None
    source_type: str
    mime_type: str
    metadata: Json
    chunk_count: int
    job_id: str | None
    filename: str | None
    warnings: list[str]
    warning_details: list[Json]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkInfo:
    """A live chunk. *metadata* is its own, without the document's."""

    chunk_id: str
    chunk_index: int
    text: str
    header: str
    section: str | None
    metadata: Json | None
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    token_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionInfo:
    """An accepted content of a document. *new_chunks* are those that the revision before did not have: only they can
    have needed embedding. None for a revision of more than MOST_COMPARED chunks.
    """

    revision: int
    status: str
    error: str | None
    title: str | None
    chunk_count: int
    new_chunks: int | None
    byte_count: int
    created_at: datetime
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """*next_cursor* is None on the last page. *total* counts the documents of all pages, if that was requested."""

    data: list[DocumentInfo]
    next_cursor: str | None = None
    total: int | None = None


MOST_COMPARED = 2000


@dataclass(frozen=True)
class BrowsingService:
    database: Database

    @repeatable
    def get(
        self, tenant_id: str, namespace: str, doc_id: str, *, restriction: Restriction | None = None
    ) -> DocumentInfo:
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace, restriction)
            views = [require_doc(session, project, doc_id, restriction)]
            counts = _mirrored_counts(session, project, views)
            return _documents((tenant_id, namespace), views, _files(session, project, views), counts)[0]

    @repeatable
    def page(
        self, tenant_id: str, namespace: str, query: DocQuery, *, limit: int, is_counted: bool = False
    ) -> DocumentPage:
        """Returns at most *limit* documents; of a list that compares titles or metadata perhaps fewer."""
        is_excluded = query.restriction is not None and not query.restriction.includes(namespace)
        with self.database.read() as session:
            project = None if is_excluded else namespaces.find(session, tenant_id, namespace)
            if project is None:
                return DocumentPage([], total=0 if is_counted else None)
            page = listed(session, project, query, limit=limit)
            counts = _mirrored_counts(session, project, page.views)
            documents = _documents((tenant_id, namespace), page.views, _files(session, project, page.views), counts)
            total = count(session, project, query) if is_counted else None
            return DocumentPage(documents, page.next_cursor, total)

    @repeatable
    def text(self, tenant_id: str, namespace: str, doc_id: str) -> str:
        """Returns the whole text that a search can return passages of; "" before the document is searchable."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            doc = require_doc(session, project, doc_id).doc
            key = (project.team_id, project.id, doc_id, doc.live_revision)
            revision = session.get(Revision, key) if doc.live_revision is not None else None
            return revision.text or "" if revision is not None else ""

    @repeatable
    def require_content(self, tenant_id: str, namespace: str, doc_id: str, *, expected_hash: str | None) -> None:
        """Raises NotFound for a document that was never stored, or was erased; one that was deleted is there."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            newest = newest_revisions(session, project, [doc_id]).get(doc_id)
        if newest is None:
            raise NotFound(f"There is no document {doc_id!r} in this namespace.", param="doc_id")
        if expected_hash is not None:
            check_hash(doc_id, newest[1] if newest[0].deleted_at is None else None, expected_hash)

    @repeatable
    def chunks(
        self,
        tenant_id: str,
        namespace: str,
        doc_id: str,
        *,
        limit: int,
        after: int | None,
        restriction: Restriction | None = None,
    ) -> list[ChunkInfo]:
        """Returns the chunks that a search can return, in document order, starting after index *after*."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace, restriction)
            doc: Doc | None = require_doc(session, project, doc_id, restriction).doc
            if project.serving_mirror is not None:
                doc = session.get(Doc, (project.team_id, project.serving_mirror, doc_id))
            query = select(Chunk).where(
                Chunk.team_id == project.team_id,
                Chunk.project_id == project.searched_id,
                Chunk.doc_id == doc_id,
                Chunk.revision == (None if doc is None else doc.live_revision),
                Chunk.chunk_index > (-1 if after is None else after),
                Chunk.deleted_at.is_(None),
            )
            query = query.order_by(Chunk.chunk_index)
            if restriction is not None and restriction.filters is not None:
                described = session.execute(query.with_only_columns(Chunk.chunk_index, Chunk.chunk_metadata)).all()
                is_visible = _shows_chunk(session, doc, restriction)
                indexes = islice((index for index, own in described if is_visible(own)), limit)
                query = query.where(Chunk.chunk_index.in_(list(indexes)))
            return [_chunk(row) for row in session.scalars(query.limit(limit))]

    @repeatable
    def revisions(self, tenant_id: str, namespace: str, doc_id: str, *, limit: int) -> list[RevisionInfo]:
        """Returns the newest first. Those that were replaced long ago are gone."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            require_doc(session, project, doc_id)
            of_project = (Revision.team_id == project.team_id, Revision.project_id == project.id)
            of_doc = select(Revision).where(*of_project, Revision.doc_id == doc_id)
            newest = of_doc.order_by(Revision.revision.desc()).limit(limit)
            rows = list(session.scalars(newest.options(defer(Revision.text))))
            return [_revision(row, _new_chunks(session, row)) for row in rows]


def _shows_chunk(session: Session, doc: Doc | None, restriction: Restriction) -> Callable[[Json | None], bool]:
    """As in a search: the live revision decides, which need not be the newest, with a chunk's own metadata."""
    if doc is None or doc.live_revision is None:
        return lambda _: False
    key = (doc.team_id, doc.project_id, doc.doc_id, doc.live_revision)
    live = session.get_one(Revision, key, options=[defer(Revision.text)])
    fields = {**fields_of(doc, live), "updated_at": live.published_at or live.created_at}
    return lambda own: restriction.shows({**fields, METADATA: {**live.doc_metadata, **(own or {})}})


def _new_chunks(session: Session, revision: Revision) -> int | None:
    if revision.chunk_count > MOST_COMPARED:
        return None

    def chunks_of(number: int) -> Select[bytes]:
        return select(Chunk.embed_hash).where(
            Chunk.team_id == revision.team_id,
            Chunk.project_id == revision.project_id,
            Chunk.doc_id == revision.doc_id,
            Chunk.revision == number,
        )

    before = chunks_of(revision.revision - 1)
    own = chunks_of(revision.revision).where(Chunk.embed_hash.not_in(before)).subquery()
    return session.scalar(select(func.count()).select_from(own))


def _revision(row: Revision, new_chunks: int | None) -> RevisionInfo:
    return RevisionInfo(
        revision=row.revision,
        status=row.status,
        error=row.error,
        title=row.title,
        chunk_count=row.chunk_count,
        new_chunks=new_chunks,
        byte_count=row.byte_count,
        created_at=row.created_at,
        published_at=row.published_at,
    )


def _files(session: Session, project: Project, views: Sequence[DocView]) -> dict[str, File]:
    """Returns the files of the documents that were sent as files, by doc_id."""
    doc_ids = [view.doc.doc_id for view in views if view.revision.blob_uri is not None]
    files: dict[str, File] = {}
    for batch in batched(doc_ids, IDS_PER_QUERY):
        is_same = (File.team_id == Doc.team_id) & (File.project_id == Doc.project_id) & (File.doc_id == Doc.doc_id)
        query = select(File).join(Doc, is_same & (File.revision == Doc.revision))
        query = query.where(Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.doc_id.in_(batch))
        files |= {file.doc_id: file for file in session.scalars(query)}
    return files


def _mirrored_counts(session: Session, project: Project, views: Sequence[DocView]) -> dict[str, int]:
    """How many chunks the mirror that serves has of each document, if its newest revision is the live one."""
    live = [view.doc.doc_id for view in views if view.doc.revision == view.doc.live_revision]
    if project.serving_mirror is None:
        return {}
    counts: dict[str, int] = {}
    for batch in batched(live, IDS_PER_QUERY):
        query = select(Revision.doc_id, Revision.chunk_count).where(
            Revision.team_id == project.team_id,
            Revision.project_id == project.serving_mirror,
            Revision.doc_id.in_(batch),
            Revision.status == RevisionStatus.LIVE,
        )
        counts |= {row[0]: row[1] for row in session.execute(query)}
    return counts


def _documents(
    place: tuple[str, str], views: Sequence[DocView], files: dict[str, File], counts: dict[str, int]
) -> list[DocumentInfo]:
    return [
        _document(
            place,
            view.doc,
            view.revision,
            files.get(view.doc.doc_id),
            counts.get(view.doc.doc_id, view.revision.chunk_count),
        )
        for view in views
    ]


def _document(
    place: tuple[str, str], doc: Doc, revision: Revision, file: File | None, chunk_count: int
) -> DocumentInfo:
    return DocumentInfo(
        tenant_id=place[0],
        namespace=place[1],
        doc_id=doc.doc_id,
        status=doc.status,
        error=doc.error,
        revision=doc.revision,
        live_revision=doc.live_revision,
        doc_hash=revision.doc_hash,
        title=revision.title,
        source_type=revision.source_type,
        mime_type=revision.mime_type,
        metadata=revision.doc_metadata,
        chunk_count=chunk_count,
        job_id=revision.job_id,
        filename=file.filename if file else None,
        warnings=file.messages if file else [],
        warning_details=file.caveats if file else [],
        created_at=doc.created_at,
        updated_at=doc.updated_at,
    )


def _chunk(row: Chunk) -> ChunkInfo:
    return ChunkInfo(
        chunk_id=chunk_id(row.doc_id, row.chunk_index),
        chunk_index=row.chunk_index,
        text=row.text,
        header=row.header,
        section=row.section,
        metadata=row.chunk_metadata,
        page_start=row.page_start,
        page_end=row.page_end,
        char_start=row.char_start,
        char_end=row.char_end,
        token_count=row.token_count,
    )
