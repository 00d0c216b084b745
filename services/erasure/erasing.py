"""The job of an erasure: hides, removes rows and files store by store, cleans the media, looks, and writes the receipt.

Each part goes in short steps and finds by itself what is left to do, so that a kill at any point costs one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from database.engine import Database
from domain import EventType, Json
from event_log import record_events
from job_lease import Lease
from models import Chunk, Embedding, Erasure, ErasureDoc, ErasureKind, IndexRow, IndexVersion, Project, utc_now
from services.erasure.cleaning import Cleaning
from services.erasure.content import content_of
from services.erasure.hiding import Hiding
from services.erasure.indexes import IndexRemoval, set_purged
from services.erasure.ledger import ErasureLedger
from services.erasure.names import as_keys
from services.erasure.rows import RowRemoval, chunks_of_docs, count_left, lock_project
from services.erasure.steps import FreeSteps, LeasedSteps, Steps, Stride
from services.erasure.traces import TraceRemoval

DOCS_PER_READ = 50
_WHOLE = (ErasureKind.NAMESPACE, ErasureKind.TENANT)

SearchFor = Callable[[str, str, str], list[str]]
"""The doc_ids that a search of a tenant's namespace for a text returns."""

ListBackups = Callable[[], list[Json]]
"""The backups that were made so far: where, which, when, and until when each is kept."""

PublishLedger = Callable[[Json], list[str]]


@dataclass(frozen=True)
class ErasingService:
    """*publish_ledger* copies the ledger to where backups are, and returns the places that could not be reached."""

    database: Database
    hiding: Hiding
    indexes: IndexRemoval
    rows: RowRemoval
    traces: TraceRemoval
    cleaning: Cleaning
    ledger: ErasureLedger
    search_for: SearchFor
    list_backups: ListBackups
    publish_ledger: PublishLedger

    def erase(self, lease: Lease) -> Json:
        key = (lease.claim.team_id, str(lease.claim.payload["erasure_id"]))
        with self.database.write() as session:  # it may be a retry of another job
            session.get_one(Erasure, key).job_id = lease.claim.job_id
        return self.run(key, LeasedSteps(lease))

    def run(self, key: tuple[int, str], steps: Steps | None = None) -> Json:
        """Complete the erasure, from wherever it stands. Returns what was erased, by store."""
        steps = steps or FreeSteps(self.database)
        erasure = self._read(key)
        if erasure.receipt is None:
            if erasure.work is not None:
                self._remove(erasure, steps)
            how = self.cleaning.clean(self._read(key), steps)
            self._finish(key, how, steps)
            self.cleaning.empty_log(steps)
        self.publish_ledger(self.ledger.export_for_backups())
        erasure = self._read(key)
        return {"erasure_id": erasure.id, "receipt": erasure.number, "erased": dict(erasure.tally)}

    def _remove(self, erasure: Erasure, steps: Steps) -> None:
        key = (erasure.team_id, erasure.id)
        self.hiding.hide_all(erasure, steps)
        for project in self._projects(erasure):
            self.indexes.await_others(erasure, project.id, steps)
            self._remove_from(key, project, steps)
        if erasure.kind == ErasureKind.TENANT:
            with steps.step(78, {}) as session:
                self._count(session, key, self.rows.remove_all_files(session, erasure.team_id))
        self.rows.delete_doomed()
        for project in self._projects(erasure):
            self._add(key, steps, jobs=self.traces.erase_jobs(erasure, project.id, steps))
            self._add(key, steps, events=self.traces.erase_events(erasure, project.id, steps))
            self._add(key, steps, questions=self.traces.erase_questions(erasure, project.id, steps))
        self._add(key, steps, answers=self.traces.erase_answers(erasure, steps))
        self._add(key, steps, audit_rows=self.traces.erase_audit(erasure, steps))
        if erasure.kind in _WHOLE:
            self._remove_place(erasure, steps)
        self._conclude(key, steps)

    def _remove_from(self, key: tuple[int, str], project: Project, steps: Steps) -> None:
        erasure = self._read(key)
        hidden_at = self._read_project(project).seq
        if erasure.kind not in _WHOLE and self._has_chunks(erasure, project):
            removed = self.indexes.rewrite(erasure, project, steps)
        else:
            removed = self.indexes.sweep(erasure, project, steps)
        self._add(key, steps, index_files=removed)
        stride, after = Stride(), ""
        while docs := self._docs(erasure, project, after):
            self._remove_docs(key, project, docs, stride, steps)
            after = docs[-1].doc_id
        with steps.step(75, dict(erasure.tally)) as session:
            set_purged(session, project, hidden_at)

    def _remove_docs(
        self, key: tuple[int, str], project: Project, docs: Sequence[ErasureDoc], stride: Stride, steps: Steps
    ) -> None:
        place = (project.team_id, project.id)
        keeps_files = self._read(key).scope.get("keeps_files", False)
        while True:
            with self.database.read() as session:
                chunks = chunks_of_docs(session, docs, limit=stride.rows)
            if not chunks:
                break
            steps.give_way()
            with steps.step(70, {}) as session, stride.measured():
                lock_project(session, place)
                self._count(session, key, self.rows.remove_chunks(session, place, chunks))
            stride.pause()
        for start in range(0, len(docs), 10):
            steps.give_way()
            with steps.step(75, {}) as session, stride.measured():
                lock_project(session, place)
                some = docs[start : start + 10]
                removed = self.rows.remove_attached_files(session, place, some, keeps_files=keeps_files)
                for doc in some:
                    removed += self.rows.remove_revisions(session, place, doc.doc_id, doc.last_revision or 0)
                self._count(session, key, removed if project.mirror_of is None else Counter())
            stride.pause()

    def _remove_place(self, erasure: Erasure, steps: Steps) -> None:
        """What a namespace has beside its documents. Its shell, nameless, goes when its jobs are pruned."""
        for project in self._projects(erasure):
            for version in self._versions_of(project):
                self.indexes.forget(erasure, project, version, steps)
            self.indexes.forget_names(project, steps)
        if erasure.kind == ErasureKind.TENANT:
            while True:
                with self.database.read() as session:
                    query = select(Embedding.embed_hash).where(Embedding.team_id == erasure.team_id).distinct()
                    hashes = session.scalars(query.limit(200)).all()
                if not hashes:
                    return
                steps.give_way()
                with steps.step(85, {}) as session:
                    count = self.rows.remove_vectors(session, erasure.team_id, hashes)
                    self._count(session, (erasure.team_id, erasure.id), Counter(vectors=count))
                if not count:
                    return

    def _conclude(self, key: tuple[int, str], steps: Steps) -> None:
        """Look for what is left, search for the texts, and forget the request, its texts and the documents' names."""
        erasure = self._read(key)
        left, names, docs = self._look(erasure)
        searches = self._search(erasure)
        while True:
            with self.database.read() as session:
                ids = session.scalars(select(ErasureDoc.doc_id).where(_of(erasure)).limit(500)).all()
            if not ids:
                break
            with steps.step(88, {}) as session:
                if names:
                    session.get_one(Erasure, key).doc_keys = b"".join(sorted(names))
                    names = set()
                session.execute(delete(ErasureDoc).where(_of(erasure), ErasureDoc.doc_id.in_(ids)))
        with steps.step(89, {}) as session:
            current = session.get_one(Erasure, key)
            current.tally = {**current.tally, "left": left, "documents_named": docs, "search": searches}
            current.work = None

    def _look(self, erasure: Erasure) -> tuple[Json, set[bytes], int]:
        """What is left, by store; the keyed names of the documents, and how many they are."""
        left: Counter[str] = Counter()
        work, keeps_files = erasure.work or {}, erasure.scope.get("keeps_files", False)
        names: set[bytes] = set(as_keys(erasure.doc_keys or b""))
        with self.database.write() as session:
            keys = self.ledger.name_keys(session)
        for project in self._projects(erasure):
            namespace, after = work["namespaces"][str(project.namespace_id)], ""
            while True:
                with self.database.read() as session:
                    of_project = and_(_of(erasure), ErasureDoc.project_id == project.id, ErasureDoc.doc_id > after)
                    query = select(ErasureDoc).where(of_project).order_by(ErasureDoc.doc_id).limit(DOCS_PER_READ)
                    docs = session.scalars(query).all()
                    left += count_left(session, docs, keeps_files=keeps_files)
                if not docs:
                    break
                after = docs[-1].doc_id
                names.update(keys.document(work["tenant_id"], namespace, doc.doc_id) for doc in docs)
        return dict(left), names, len(names)

    def _search(self, erasure: Erasure) -> Json:
        """Whether the service itself finds one of the documents, by its own words."""
        work = erasure.work or {}
        probes, hits = work.get("probes", []), 0
        if erasure.kind in _WHOLE:
            return {"searches": 0, "hits": 0, "why": "the namespace is not there any more"}
        for project_id, doc_id, text in probes:
            with self.database.read() as session:
                is_back = session.get(Project, (erasure.team_id, project_id)) is not None and session.scalar(
                    select(func.count()).where(
                        Chunk.team_id == erasure.team_id, Chunk.project_id == project_id, Chunk.doc_id == doc_id
                    )
                )
            doc_ids = self.search_for(work["tenant_id"], work["namespaces"][str(project_id)], text)
            hits += doc_id in doc_ids and not is_back
        return {"searches": len(probes), "hits": hits}

    def _finish(self, key: tuple[int, str], how: str, steps: Steps) -> None:
        backups = self.list_backups()
        with steps.step(99, {}) as session:
            erasure = session.get_one(Erasure, key)
            erasure.finished_at = utc_now()
            self.ledger.issue(session, erasure, content_of(erasure, how, backups))
            data = {"erasure_id": erasure.id, "kind": erasure.kind, "receipt": erasure.number}
            record_events(session, EventType.ERASURE_FINISHED, team_id=key[0], project_id=None, data=[data])

    def _count(self, session: Session, key: tuple[int, str], removed: Counter[str]) -> None:
        erasure = session.get_one(Erasure, key)
        erasure.tally = {**erasure.tally, **(Counter(_numbers(erasure.tally)) + removed)}

    def _add(self, key: tuple[int, str], steps: Steps, **removed: int) -> None:
        with steps.step(80, {}) as session:
            self._count(session, key, Counter(removed))

    def _read(self, key: tuple[int, str]) -> Erasure:
        with self.database.read() as session:
            return session.get_one(Erasure, key)

    def _read_project(self, project: Project) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (project.team_id, project.id))

    def _projects(self, erasure: Erasure) -> list[Project]:
        ids = [int(each) for each in (erasure.work or {})["namespaces"]]
        with self.database.read() as session:
            is_reached = or_(Project.id.in_(ids), Project.mirror_of.in_(ids))
            in_team = and_(Project.team_id == erasure.team_id, is_reached)
            return list(session.scalars(select(Project).where(in_team).order_by(Project.id)))

    def _docs(self, erasure: Erasure, project: Project, after: str) -> list[ErasureDoc]:
        with self.database.read() as session:
            of_project = and_(_of(erasure), ErasureDoc.project_id == project.id, ErasureDoc.doc_id > after)
            query = select(ErasureDoc).where(of_project, ErasureDoc.last_revision > 0)
            return list(session.scalars(query.order_by(ErasureDoc.doc_id).limit(DOCS_PER_READ)))

    def _has_chunks(self, erasure: Erasure, project: Project) -> bool:
        with self.database.read() as session:
            of_docs = and_(
                Chunk.team_id == ErasureDoc.team_id,
                Chunk.project_id == ErasureDoc.project_id,
                Chunk.doc_id == ErasureDoc.doc_id,
                Chunk.revision <= ErasureDoc.last_revision,
                Chunk.live_seq.is_not(None),
            )
            query = select(Chunk.faiss_id).join(ErasureDoc, of_docs)
            return session.scalar(query.where(_of(erasure), ErasureDoc.project_id == project.id).limit(1)) is not None

    def _versions_of(self, project: Project) -> list[str]:
        with self.database.read() as session:
            of_project = and_(IndexRow.team_id == project.team_id, IndexRow.project_id == project.id)
            named = and_(IndexVersion.team_id == project.team_id, IndexVersion.project_id == project.id)
            built = select(IndexRow.embedding_version).where(of_project)
            return list(session.scalars(built.union(select(IndexVersion.embedding_version).where(named))))

    def drop_shells(self) -> int:
        """Remove the shells of erased namespaces and tenants whose jobs have been pruned. Returns how many."""
        return self.indexes.drop_shells()


def _of(erasure: Erasure) -> Any:
    return and_(ErasureDoc.team_id == erasure.team_id, ErasureDoc.erasure_id == erasure.id)


def _numbers(tally: Json) -> dict[str, int]:
    return {name: value for name, value in tally.items() if isinstance(value, int)}
