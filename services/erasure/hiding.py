"""The publication with which every erasure begins: from then on no search finds what is to be erased.

It also records each document in erasure_docs, with the ids of its chunks: rows of logs still name those at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session, aliased, defer

from database.batching import batched
from database.dialects import insert_or_ignore
from database.engine import Database
from domain import Json
from models import Chunk, Doc, Erasure, ErasureDoc, ErasureKind, Project, Revision, utc_now
from services.erasure.steps import Steps, Stride
from services.index.mirroring import mirrors_of
from services.index.publishing import Publisher, supersede
from services.ingest.deleting import Order

DOCS_PER_READ = 200
PROBES, PROBE_CHARS = 20, 200


@dataclass(frozen=True)
class Hiding:
    database: Database
    publisher: Publisher

    def hide_all(self, erasure: Erasure, steps: Steps) -> None:
        """Walk what was not hidden when the erasure was accepted, step by step; goes on behind the last step."""
        work = erasure.work or {}
        for project_id in map(int, work["namespaces"]):
            with self.database.read() as session:
                project = session.get(Project, (erasure.team_id, project_id))
            if project is None:
                continue
            stride = Stride()
            while doc_ids := self._next(erasure, project, stride.rows):
                steps.give_way()
                with steps.step(10, dict(erasure.tally)) as session, stride.measured():
                    current = session.get_one(Erasure, (erasure.team_id, erasure.id))
                    self._list_and_hide(session, current, project, doc_ids)
                stride.pause()

    def hide(self, session: Session, erasure: Erasure, project: Project, doc_ids: Sequence[str]) -> None:
        """Hide the documents as far as they were accepted before the erasure, and record what they have.

        In the mirrors of a namespace, too: in each of them the documents have rows of their own.
        """
        self._hide(session, erasure, project, doc_ids)
        for mirror in mirrors_of(session, project):
            _list(session, erasure, mirror, doc_ids)
            self._hide(session, erasure, mirror, doc_ids)

    def _hide(self, session: Session, erasure: Erasure, project: Project, doc_ids: Sequence[str]) -> None:
        before = _before(erasure, project)
        rows = {target.Doc.doc_id: target for target in session.execute(_targets(project, doc_ids))}
        last = _last_revisions(session, project, list(rows), before)
        hidden = [rows[doc_id].Doc for doc_id in rows if doc_id in last]
        live = [doc for doc in hidden if doc.live_revision is not None and doc.live_revision <= last[doc.doc_id]]
        gone = [doc for doc in hidden if doc.deleted_at is None and doc.revision <= last[doc.doc_id]]
        if live or gone:
            current = self.publisher.next_of(session, project)
            _remember_texts(session, erasure, project, [doc.doc_id for doc in live])
            supersede(session, current, gone)
            self.publisher.withdraw(session, current, live)
            for doc in gone:
                doc.revision += 1
                doc.deleted_at = doc.updated_at = utc_now()
        erasures = _unfinished(session, erasure)
        for doc_id in doc_ids:
            ranges = _chunk_ranges(session, erasures, project, doc_id, last.get(doc_id, 0))
            recorded = {"last_revision": last.get(doc_id, 0), "chunk_ranges": ranges}
            session.execute(update(ErasureDoc).where(_is_row(erasure, project, doc_id)).values(**recorded))

    def _next(self, erasure: Erasure, project: Project, count: int) -> list[str]:
        """The next documents: those that are listed and not hidden, or those behind the cursor of the walk."""
        with self.database.read() as session:
            if erasure.kind == ErasureKind.DOCUMENTS:
                query = select(ErasureDoc.doc_id).where(_of(erasure, project), ErasureDoc.last_revision.is_(None))
                return list(session.scalars(query.order_by(ErasureDoc.doc_id).limit(count)))
            work = session.get_one(Erasure, (erasure.team_id, erasure.id)).work or {}
            after = work.get("walked", {}).get(str(project.id), "")
            in_project = and_(Doc.team_id == project.team_id, Doc.project_id == project.id)
            return list(
                session.scalars(
                    select(Doc.doc_id).where(in_project, Doc.doc_id > after).order_by(Doc.doc_id).limit(count)
                )
            )

    def _list_and_hide(self, session: Session, erasure: Erasure, project: Project, doc_ids: Sequence[str]) -> None:
        chosen = doc_ids
        if erasure.kind != ErasureKind.DOCUMENTS:
            work = dict(erasure.work or {})
            work["walked"] = {**work.get("walked", {}), str(project.id): doc_ids[-1]}
            erasure.work = work
            order = Order.of(work["filters"], _before(erasure, project))
            targets = session.execute(_targets(project, doc_ids)).all()
            chosen = [row.Doc.doc_id for row in targets if _covers(order, row)]
            _list(session, erasure, project, chosen)
        self.hide(session, erasure, project, chosen)


def _before(erasure: Erasure, project: Project) -> int:
    """What was accepted from that seq on stays. A mirror has the seqs of its namespace."""
    return int((erasure.work or {})["before"][str(project.namespace_id)])


def _list(session: Session, erasure: Erasure, project: Project, doc_ids: Sequence[str]) -> None:
    key = {"team_id": project.team_id, "erasure_id": erasure.id, "project_id": project.id}
    if rows := [{**key, "doc_id": doc_id, "chunk_ranges": []} for doc_id in doc_ids]:
        session.execute(insert_or_ignore(session, ErasureDoc), rows)


def _covers(order: Order, row: Any) -> bool:
    """Judged by the newest content and the live one; of a deleted document by its last one."""
    return order.covers(row.Doc, row.newest) or order.covers(row.Doc, row.live)


def _targets(project: Project, doc_ids: Sequence[str]) -> Any:
    """Documents, deleted ones too, with their newest and their live revision, without texts."""
    newest, live = aliased(Revision, name="newest"), aliased(Revision, name="live")
    last = select(func.max(Revision.revision)).where(_same_doc(Revision)).correlate(Doc).scalar_subquery()
    query = select(Doc, newest, live).select_from(Doc).options(defer(newest.text), defer(live.text))
    query = query.outerjoin(newest, and_(_same_doc(newest), newest.revision == last))
    query = query.outerjoin(live, and_(_same_doc(live), live.revision == Doc.live_revision))
    return query.where(Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.doc_id.in_(doc_ids))


def _same_doc(revision: Any) -> Any:
    same_project = and_(revision.team_id == Doc.team_id, revision.project_id == Doc.project_id)
    return and_(same_project, revision.doc_id == Doc.doc_id)


def _last_revisions(session: Session, project: Project, doc_ids: Sequence[str], before: int) -> dict[str, int]:
    """The newest revision of each document that was accepted before that seq."""
    last: dict[str, int] = {}
    for batch in batched(doc_ids, DOCS_PER_READ):
        of_docs = and_(
            Revision.team_id == project.team_id,
            Revision.project_id == project.id,
            Revision.doc_id.in_(batch),
            func.coalesce(Revision.accepted_seq, 0) < before,
        )
        query = select(Revision.doc_id, func.max(Revision.revision)).where(of_docs).group_by(Revision.doc_id)
        last.update({doc_id: revision for doc_id, revision in session.execute(query)})
    return last


def _unfinished(session: Session, erasure: Erasure) -> list[str]:
    """This erasure and others of the tenant that were not finished."""
    of_team = and_(Erasure.team_id == erasure.team_id, Erasure.work.is_not(None))
    return list(session.scalars(select(Erasure.id).where(of_team)))


def _chunk_ranges(
    session: Session, erasures: Sequence[str], project: Project, doc_id: str, last: int
) -> list[list[int]]:
    """Those of the document's rows, and those that an unfinished erasure of it has recorded before it removed them."""
    of_doc = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id, Chunk.doc_id == doc_id)
    ids = set(session.scalars(select(Chunk.faiss_id).where(of_doc, Chunk.revision <= last)))
    others = select(ErasureDoc.chunk_ranges).where(
        ErasureDoc.team_id == project.team_id,
        ErasureDoc.erasure_id.in_(erasures),
        ErasureDoc.project_id == project.id,
        ErasureDoc.doc_id == doc_id,
    )
    for ranges in session.scalars(others):
        ids.update(number for first, count in ranges for number in range(first, first + count))
    return as_ranges(sorted(ids))


def as_ranges(ids: Iterable[int]) -> list[list[int]]:
    """Ascending ids as pairs of the first and how many."""
    ranges: list[list[int]] = []
    for number in ids:
        if ranges and number == sum(ranges[-1]):
            ranges[-1][1] += 1
        else:
            ranges.append([number, 1])
    return ranges


def _remember_texts(session: Session, erasure: Erasure, project: Project, doc_ids: Sequence[str]) -> None:
    """Some texts, for which the service searches when the erasure is done. They go with the rest of the work."""
    work: Json = dict(erasure.work or {})
    probes = list(work.get("probes", []))
    if len(probes) >= PROBES or not doc_ids:
        return
    in_project = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
    query = select(Chunk.text, Chunk.doc_id).where(in_project, Chunk.doc_id.in_(doc_ids[:PROBES]))
    live = session.execute(query.where(Chunk.live_seq.is_not(None), Chunk.dead_seq.is_(None)).limit(PROBES))
    probes += [[project.namespace_id, doc_id, text[:PROBE_CHARS]] for text, doc_id in live]
    erasure.work = {**work, "probes": probes[:PROBES]}


def _of(erasure: Erasure, project: Project) -> Any:
    return and_(
        ErasureDoc.team_id == erasure.team_id,
        ErasureDoc.erasure_id == erasure.id,
        ErasureDoc.project_id == project.id,
    )


def _is_row(erasure: Erasure, project: Project, doc_id: str) -> Any:
    return and_(_of(erasure, project), ErasureDoc.doc_id == doc_id)
