"""Removes the mirrors of index versions that were deleted: in small steps, as the purge does everything.

Logged questions that one of their chunks answered are kept, as the namespace's: each citation then names a chunk of the
same document, so that an erasure of the document goes on finding the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.orm import Session

from database.dialects import insert_or_ignore
from database.engine import Database
from domain import Partition
from engines.vectors.base import VectorStore
from models import Chunk, Doc, IndexRow, LoggedQuery, Project, QueryCitation
from services.erasure.rows import ChunkKey, RowRemoval, lock_project
from services.erasure.steps import Stride

STEPS_PER_RUN = 20
DOCS_PER_STEP, QUESTIONS_PER_STEP = 20, 50
_NO_SYNC: dict[str, Any] = {"synchronize_session": False}


@dataclass(frozen=True)
class MirrorRemoval:
    database: Database
    rows: RowRemoval
    vectors: VectorStore

    def remove_dropped(self) -> int:
        """One run. Returns how many rows of questions, chunks and documents it removed or changed."""
        with self.database.read() as session:
            is_dropped = and_(Project.mirror_of.is_not(None), Project.erased_at.is_not(None))
            mirrors = session.scalars(select(Project).where(is_dropped)).all()
        count, steps = 0, STEPS_PER_RUN
        for mirror in mirrors:
            stride = Stride()
            while steps and (removed := self._step(mirror, stride)):
                count, steps = count + removed, steps - 1
        return count

    def _step(self, mirror: Project, stride: Stride) -> int:
        """Returns 0 when nothing was left, and then the mirror is gone."""
        place = (mirror.team_id, mirror.id)
        with self.database.write() as session, stride.measured():
            if lock_project(session, place) is None:
                return 0
            count = (
                _hand_over_questions(session, mirror)
                or self._remove_chunks(session, place, stride.rows)
                or self._remove_docs(session, place)
            )
            if not count:
                of_mirror = (IndexRow.team_id == mirror.team_id, IndexRow.project_id == mirror.id)
                session.execute(delete(IndexRow).where(*of_mirror))
                session.execute(delete(Project).where(Project.team_id == mirror.team_id, Project.id == mirror.id))
        if not count:
            self.vectors.sweep(Partition(mirror.team_id, mirror.id, mirror.embedding_version))
        stride.pause()
        return count

    def _remove_chunks(self, session: Session, place: tuple[int, int], limit: int) -> int:
        of_mirror = and_(Chunk.team_id == place[0], Chunk.project_id == place[1])
        query = select(Chunk.faiss_id, Chunk.embed_hash).where(of_mirror).limit(limit)
        chunks = [ChunkKey(*row) for row in session.execute(query)]
        if chunks:
            self.rows.remove_chunks(session, place, chunks)
        return len(chunks)

    def _remove_docs(self, session: Session, place: tuple[int, int]) -> int:
        of_mirror = and_(Doc.team_id == place[0], Doc.project_id == place[1])
        docs = session.execute(select(Doc.doc_id, Doc.revision).where(of_mirror).limit(DOCS_PER_STEP)).all()
        ids = [doc_id for doc_id, _ in docs]
        hidden = update(Doc).where(of_mirror, Doc.doc_id.in_(ids)).values(live_revision=None)
        session.execute(hidden, execution_options=_NO_SYNC)
        for doc_id, revision in docs:
            self.rows.remove_revisions(session, place, doc_id, revision)
        return len(docs)


def _hand_over_questions(session: Session, mirror: Project) -> int:
    of_mirror = and_(LoggedQuery.team_id == mirror.team_id, LoggedQuery.project_id == mirror.id)
    query_ids = session.scalars(select(LoggedQuery.query_id).where(of_mirror).limit(QUESTIONS_PER_STEP)).all()
    if not query_ids:
        return 0
    is_listed = and_(QueryCitation.team_id == mirror.team_id, QueryCitation.query_id.in_(query_ids))
    citations = session.execute(_cited(mirror).where(is_listed)).all()
    session.execute(delete(QueryCitation).where(is_listed), execution_options=_NO_SYNC)
    kept = _of_own_chunks(session, mirror, sorted({row.doc_id for row in citations}))
    rows = [
        {"team_id": mirror.team_id, "query_id": each.query_id, "faiss_id": kept[each.doc_id], "rank": each.rank}
        for each in citations
        if each.doc_id in kept
    ]
    if rows:
        session.execute(insert_or_ignore(session, QueryCitation), rows)
    owned = update(LoggedQuery).where(of_mirror, LoggedQuery.query_id.in_(query_ids))
    session.execute(owned.values(project_id=mirror.namespace_id), execution_options=_NO_SYNC)
    return len(query_ids)


def _cited(mirror: Project) -> Any:
    is_chunk = and_(
        Chunk.team_id == QueryCitation.team_id,
        Chunk.project_id == mirror.id,
        Chunk.faiss_id == QueryCitation.faiss_id,
    )
    columns = (QueryCitation.query_id, QueryCitation.rank, Chunk.doc_id)
    return select(*columns).join(Chunk, is_chunk).order_by(QueryCitation.query_id, QueryCitation.rank)


def _of_own_chunks(session: Session, mirror: Project, doc_ids: Sequence[str]) -> dict[str, int]:
    """A chunk of each document in the namespace, by doc_id."""
    of_docs = and_(Chunk.team_id == mirror.team_id, Chunk.project_id == mirror.namespace_id, Chunk.doc_id.in_(doc_ids))
    query = select(Chunk.doc_id, func.max(Chunk.faiss_id)).where(of_docs).group_by(Chunk.doc_id)
    return {row[0]: row[1] for row in session.execute(query)}
