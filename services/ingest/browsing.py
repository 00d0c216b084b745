"""Lists documents and their chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from database.repeating import repeatable
from models import Chunk, Doc, File, Project, Revision
from services.index import namespaces
from services.ingest.rows import IDS_PER_QUERY, DocView, require_doc, select_docs


@dataclass(frozen=True)
class BrowsingService:
    database: Database

    @repeatable
    def get(self, tenant_id: str, namespace: str, doc_id: str) -> DocView:
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            return _with_files(session, project, [require_doc(session, project, doc_id)])[0]

    @repeatable
    def page(self, tenant_id: str, namespace: str, *, limit: int, after: str | None) -> list[DocView]:
        """Returns at most *limit* documents in order of doc_id, starting after *after*."""
        with self.database.read() as session:
            project = namespaces.find(session, tenant_id, namespace)
            if project is None:
                return []
            query = select_docs(project, Revision.revision == Doc.revision).where(Doc.deleted_at.is_(None))
            if after is not None:
                query = query.where(Doc.doc_id > after)
            rows = session.execute(query.order_by(Doc.doc_id).limit(limit))
            return _with_files(session, project, [DocView(doc, revision) for doc, revision in rows])

    @repeatable
    def chunks(self, tenant_id: str, namespace: str, doc_id: str, *, limit: int, after: int | None) -> list[Chunk]:
        """Returns the chunks that a search can return, in document order, starting after index *after*."""
        with self.database.read() as session:
            project = namespaces.require(session, tenant_id, namespace)
            doc = require_doc(session, project, doc_id).doc
            query = select(Chunk).where(
                Chunk.team_id == project.team_id,
                Chunk.project_id == project.id,
                Chunk.doc_id == doc_id,
                Chunk.revision == doc.live_revision,
                Chunk.chunk_index > (-1 if after is None else after),
                Chunk.deleted_at.is_(None),
            )
            return list(session.scalars(query.order_by(Chunk.chunk_index).limit(limit)))


def _with_files(session: Session, project: Project, views: Sequence[DocView]) -> list[DocView]:
    doc_ids = [view.doc.doc_id for view in views if view.revision.blob_uri is not None]
    files: dict[str, File] = {}
    for batch in batched(doc_ids, IDS_PER_QUERY):
        is_same = (File.team_id == Doc.team_id) & (File.project_id == Doc.project_id) & (File.doc_id == Doc.doc_id)
        query = select(File).join(Doc, is_same & (File.revision == Doc.revision))
        query = query.where(Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.doc_id.in_(batch))
        files |= {file.doc_id: file for file in session.scalars(query)}
    return [replace(view, file=files.get(view.doc.doc_id)) for view in views]
