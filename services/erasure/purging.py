"""Removes for good, after a while, what was deleted or replaced: in small steps that no writer notices.

Chunks that no search can see, with the revisions that they belonged to and their raw files; documents of which nothing
is left; vectors that no chunk names. Chunks stay until every index of their namespace has followed. What has no index
to be found by is found by walking the tables, some rows of them in each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select, tuple_
from sqlalchemy.orm import Session

from database.engine import Database
from models import Chunk, Doc, Embedding, IndexRow, Project, Revision, RevisionStatus, utc_now
from services.erasure.indexes import set_purged
from services.erasure.mirrors import MirrorRemoval
from services.erasure.rows import ChunkKey, RowRemoval, is_needed, lock_project
from services.erasure.steps import Stride
from times import shifted

SERVING = (RevisionStatus.LIVE, RevisionStatus.PENDING)
ROWS_PER_RUN, ROWS_PER_STEP = 2_000, 20
STEPS_PER_RUN = 20


@dataclass(frozen=True)
class PurgingService:
    """*_after* are the cursors of the walks, each of which begins anew when it has come to the end."""

    database: Database
    rows: RowRemoval
    keep_days: float
    mirrors: MirrorRemoval
    _after: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False)

    def purge(self) -> int:
        """One run. Returns how many chunks, revisions and vectors it removed."""
        before = shifted(utc_now(), days=-self.keep_days)
        with self.database.read() as session:
            projects = session.scalars(select(Project).where(Project.erased_at.is_(None))).all()
        count, steps = 0, STEPS_PER_RUN
        for project in projects:
            stride = Stride()
            while steps and (removed := self._purge_chunks(project, before, stride)):
                count, steps = count + removed, steps - 1
        count += self._purge_revisions(before) + self._purge_vectors(before) + self.mirrors.remove_dropped()
        self.rows.delete_doomed()
        return count

    def _purge_chunks(self, project: Project, before: datetime, stride: Stride) -> int:
        """The oldest ones first. A revision goes with the last of its chunks."""
        place = (project.team_id, project.id)
        with self.database.read() as session:
            columns = (Chunk.faiss_id, Chunk.embed_hash, Chunk.dead_seq, Chunk.deleted_at)
            is_covered = and_(Chunk.dead_seq > 0, Chunk.dead_seq <= _covered_seq(session, project))
            query = select(*columns, Chunk.doc_id, Chunk.revision).where(_of(Chunk, project), is_covered)
            oldest = session.execute(query.order_by(Chunk.dead_seq).limit(stride.rows)).all()
        dead = [row for row in oldest if row.deleted_at < before]
        if not dead:
            return 0
        with self.database.write() as session, stride.measured():
            lock_project(session, place)
            self.rows.remove_chunks(session, place, [ChunkKey(row.faiss_id, row.embed_hash) for row in dead])
            set_purged(session, project, max(row.dead_seq for row in dead))
            self._remove_bare(session, place, sorted({(row.doc_id, row.revision) for row in dead}), before)
        stride.pause()
        return len(dead)

    def _purge_revisions(self, before: datetime) -> int:
        """Those that had no chunks to lose, such as a file that was replaced before it was read."""
        key = (Revision.team_id, Revision.project_id, Revision.doc_id, Revision.revision)
        count, rows = 0, self._walked("revisions", key, Revision.status, Revision.created_at)
        old = [row for row in rows if row.status not in SERVING and row.created_at < before]
        for start in range(0, len(old), ROWS_PER_STEP):
            with self.database.write() as session:
                for row in old[start : start + ROWS_PER_STEP]:
                    count += self._remove_bare(session, row[:2], [(row.doc_id, row.revision)], before)
        return count

    def _purge_vectors(self, before: datetime) -> int:
        """Those that a request stored before it died, whose chunks were dropped before they were live, or whose version
        indexes none of the namespaces that have the text.
        """
        key = (Embedding.team_id, Embedding.embedding_version, Embedding.embed_hash)
        rows = self._walked("vectors", key, Embedding.created_at, is_needed().label("is_needed"))
        unused = [row for row in rows if not row.is_needed and row.created_at < before]
        count = 0
        for start in range(0, len(unused), ROWS_PER_STEP):
            with self.database.write() as session:
                for row in unused[start : start + ROWS_PER_STEP]:
                    count += self.rows.remove_unneeded(session, row.team_id, row.embedding_version, row.embed_hash)
        return count

    def _walked(self, table: str, key: tuple[Any, ...], *columns: Any) -> Sequence[Any]:
        query = select(*key, *columns).order_by(*key).limit(ROWS_PER_RUN)
        if table in self._after:
            query = query.where(tuple_(*key) > tuple_(*self._after[table]))
        with self.database.read() as session:
            rows = session.execute(query).all()
        self._after.pop(table, None)
        if len(rows) == ROWS_PER_RUN:
            self._after[table] = tuple(rows[-1][: len(key)])
        return rows

    def _remove_bare(
        self, session: Session, place: tuple[int, int], revisions: Sequence[tuple[str, int]], before: datetime
    ) -> int:
        """Those of the revisions that do not serve, have no chunks, and are not their document's newest."""
        count = 0
        for doc_id, revision in revisions:
            row = session.get(Revision, (*place, doc_id, revision))
            doc = session.get(Doc, (*place, doc_id))
            if row is None or doc is None or row.status in SERVING or row.created_at >= before:
                continue
            same = and_(Chunk.team_id == place[0], Chunk.project_id == place[1])
            has_chunks = exists().where(same, Chunk.doc_id == doc_id, Chunk.revision == revision)
            if doc.revision > revision and not session.scalar(select(has_chunks)):
                count += self.rows.remove_revisions(session, place, doc_id, revision, first=revision)["revisions"]
        return count


def count_waiting(session: Session, project: Project) -> int:
    """The chunks of the namespace that were deleted or replaced and are not removed yet. Counts by index."""
    return session.scalar(select(func.count()).where(_of(Chunk, project), Chunk.dead_seq > 0)) or 0


def _of(table: Any, project: Project) -> ColumnElement[bool]:
    return and_(table.team_id == project.team_id, table.project_id == project.id)


def _covered_seq(session: Session, project: Project) -> int:
    """Up to where every index of the namespace has followed."""
    of_project = and_(IndexRow.team_id == project.team_id, IndexRow.project_id == project.id)
    return session.scalar(select(func.min(IndexRow.covered_seq)).where(of_project)) or 0
