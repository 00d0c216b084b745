"""The worker's side of an asynchronous batch: embed what was accepted, publish it document by document."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session, defer

from database.engine import Database
from domain import Json
from errors import EmbeddingRefused, ServiceError, Unreadable
from job_lease import Claim, Lease
from models import Chunk, Doc, DocStatus, File, Project, Revision, RevisionStatus, utc_now
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher, chunks_of, drop
from services.ingest.extracting import ExtractingService
from services.ingest.rows import docs_by_id
from snapshot import has_vector
from text.enrich import embedded_text

log = logging.getLogger(__name__)

TEXTS_PER_STEP = 128
ERRORS_KEPT = 100


@dataclass(frozen=True)
class IngestingService:
    database: Database
    embedding: EmbeddingService
    publisher: Publisher
    extracting: ExtractingService

    def ingest(self, lease: Lease) -> Json:
        """Read, embed and publish every revision that the job is for. Returns the job's result.

        A step reads one raw file, or embeds at most TEXTS_PER_STEP texts and commits them, with whatever documents
        they complete. So a worker that dies loses one step, and the next one goes on behind it.
        """
        counts: Counter[str] = Counter(lease.claim.result.get("counts", {}))
        waiting = self._next_docs(lease.claim)
        while waiting:
            lease.check()
            if _is_unread(waiting[0]):
                self._read_file(lease, waiting[0], counts)
            else:
                self._embed(lease, waiting, counts)
            waiting = self._next_docs(lease.claim)
            if waiting:
                lease.give_way()
        return self._result(lease.claim, counts)

    def _next_docs(self, claim: Claim) -> list[Revision]:
        """Waiting documents that fit a step, in order; a large one comes alone, and so does an unread one."""
        with self.database.read() as session:
            query = select(Revision).where(Revision.job_id == claim.job_id, Revision.status == RevisionStatus.PENDING)
            query = query.order_by(Revision.team_id, Revision.project_id, Revision.doc_id).options(defer(Revision.text))
            chosen: list[Revision] = []
            total = 0
            for revision in session.scalars(query.limit(TEXTS_PER_STEP)):
                is_same_place = not chosen or _place(revision) == _place(chosen[0])
                is_too_much = total + revision.chunk_count > TEXTS_PER_STEP or _is_unread(revision)
                if chosen and (not is_same_place or is_too_much):
                    break
                chosen.append(revision)
                total += revision.chunk_count
                if _is_unread(revision):
                    break
            return chosen

    def _read_file(self, lease: Lease, waiting: Revision, counts: Counter[str]) -> None:
        """A file that cannot be read costs its own document and no other."""
        progress, result = self._progress(lease.claim), {"counts": dict(counts)}
        try:
            self.extracting.extract(lease, waiting, progress=progress, result=result)
        except Unreadable as error:
            self._fail(lease, waiting, counts, error)

    def _embed(self, lease: Lease, waiting: Sequence[Revision], counts: Counter[str]) -> None:
        """Embed, step by step, what the documents lack, and publish them with the last of it.

        What is not there any more, since a document was changed meanwhile, is left for the next call.
        """
        project = self._project(waiting[0])
        lacking = self._lacking(project, waiting)
        for start in range(0, max(len(lacking), 1), TEXTS_PER_STEP):
            if start:
                lease.give_way()
            step = dict(lacking[start : start + TEXTS_PER_STEP])
            left = len(lacking) - start - len(step)
            with self.database.read() as session:
                texts = _texts(session, project, list(step.values()))
            if texts.keys() != step.keys():
                return None
            try:
                vectors = self.embedding.embed(project.embedding_version, texts)
            except EmbeddingRefused as error:
                return self._refused(lease, waiting, counts, error)
            counts["chunks_embedded"] += len(step)
            with lease.step(self._progress(lease.claim, waiting, left), {"counts": dict(counts)}) as session:
                self.embedding.store(session, project.team_id, project.embedding_version, vectors)
                published = 0 if left else self._publish(session, project, waiting)
                count_ingest(session, project, chunks=published, embedded=len(step))
        return None

    def _lacking(self, project: Project, waiting: Sequence[Revision]) -> list[tuple[bytes, int]]:
        """What is to be embedded for the documents, each once, and the number of a chunk that has it."""
        found: dict[bytes, int] = {}
        with self.database.read() as session:
            for revision in waiting:
                query = select(Chunk.embed_hash, Chunk.faiss_id).where(
                    chunks_of(revision), ~has_vector(project.embedding_version)
                )
                rows = session.execute(query.order_by(Chunk.chunk_index))
                found |= {key: faiss_id for key, faiss_id in rows if key not in found}
        return list(found.items())

    def _publish(self, session: Session, project: Project, waiting: Sequence[Revision]) -> int:
        """Publish each revision that still waits; what came later has ended it. The version may have moved: not yet.

        Returns how many chunks that were.
        """
        current, _ = self.publisher.next_numbers(session, project)
        if current.embedding_version != project.embedding_version:
            return 0
        doc_ids = [each.doc_id for each in waiting]
        still_waits = and_(
            Revision.team_id == project.team_id,
            Revision.project_id == project.id,
            Revision.doc_id.in_(doc_ids),
            Revision.job_id == waiting[0].job_id,
            Revision.status == RevisionStatus.PENDING,
        )
        revisions = session.scalars(select(Revision).where(still_waits).options(defer(Revision.text))).all()
        docs = docs_by_id(session, project, doc_ids)
        if revisions:
            self.publisher.publish(session, current, [docs[each.doc_id] for each in revisions], revisions)
        return sum(each.chunk_count for each in revisions)

    def _refused(
        self, lease: Lease, waiting: Sequence[Revision], counts: Counter[str], error: EmbeddingRefused
    ) -> None:
        """One text that the model refuses costs its own document and no other: take them one by one."""
        if len(waiting) > 1:
            for each in waiting:
                self._embed(lease, [each], counts)
            return
        self._fail(lease, waiting[0], counts, error)

    def _fail(self, lease: Lease, waiting: Revision, counts: Counter[str], error: ServiceError) -> None:
        with lease.step(self._progress(lease.claim), {"counts": dict(counts)}) as session:
            revision = session.get_one(Revision, _key(waiting), options=[defer(Revision.text)])
            if revision.status == RevisionStatus.PENDING:
                _give_up(session, revision, RevisionStatus.FAILED, str(error))

    def _project(self, revision: Revision) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (revision.team_id, revision.project_id))

    def _progress(self, claim: Claim, embedding: Sequence[Revision] = (), left: int = 0) -> int:
        """In percent of the documents. Of those in *embedding*, *left* texts lack a vector still."""
        by_status = self._count(claim)
        total = sum(by_status.values()) or 1
        chunks = sum(revision.chunk_count for revision in embedding) or 1
        done = total - by_status[RevisionStatus.PENDING] + len(embedding) * (chunks - left) / chunks
        return min(int(100 * done / total), 99)

    def _count(self, claim: Claim) -> Counter[str]:
        with self.database.read() as session:
            query = select(Revision.status, func.count()).where(Revision.job_id == claim.job_id)
            rows = session.execute(query.group_by(Revision.status))
            return Counter({status: count for status, count in rows})

    def _result(self, claim: Claim, counts: Counter[str]) -> Json:
        """What was done, document by document where some were not published."""
        by_status = self._count(claim)
        published = by_status[RevisionStatus.LIVE] + by_status[RevisionStatus.RETIRED]
        with self.database.read() as session:
            of_job = Revision.job_id == claim.job_id
            is_published = Revision.status.in_((RevisionStatus.LIVE, RevisionStatus.RETIRED))
            created = session.scalar(select(func.sum(Revision.chunk_count)).where(of_job, is_published)) or 0
            failed = session.execute(
                select(Revision.doc_id, Revision.error)
                .where(of_job, Revision.status == RevisionStatus.FAILED)
                .limit(ERRORS_KEPT)
            )
            errors = [{"doc_id": doc_id, "error": error} for doc_id, error in failed]
            warnings = _warnings(session, of_job)
        return {
            "docs": sum(by_status.values()),
            "published": published,
            "superseded": by_status[RevisionStatus.SUPERSEDED],
            "failed": by_status[RevisionStatus.FAILED],
            "errors": errors,
            "warnings": warnings,
            "chunks_created": created,
            "chunks_embedded": counts["chunks_embedded"],
            "chunks_reused": max(created - counts["chunks_embedded"], 0),
            "counts": dict(counts),
        }


def abandon(session: Session, job_id: str, error: str, status: RevisionStatus) -> None:
    """The job ends without them: its waiting revisions are dropped, and their docs say why."""
    query = select(Revision).where(Revision.job_id == job_id, Revision.status == RevisionStatus.PENDING)
    for revision in session.scalars(query.options(defer(Revision.text))):
        _give_up(session, revision, status, error)


def _give_up(session: Session, revision: Revision, status: RevisionStatus, error: str) -> None:
    """The previous revision, if there is one, goes on being found."""
    drop(session, revision, status, error)
    doc = session.get_one(Doc, (revision.team_id, revision.project_id, revision.doc_id), with_for_update=True)
    if doc.revision == revision.revision:
        doc.status, doc.error, doc.updated_at = DocStatus.FAILED, error, utc_now()


def _is_unread(revision: Revision) -> bool:
    """Is it a raw file that has no chunks yet? What was read has one at least."""
    return revision.blob_uri is not None and revision.chunk_count == 0


def _warnings(session: Session, of_job: ColumnElement[bool]) -> list[Json]:
    """What is not in the text of the files that were read, file by file."""
    same = and_(
        File.team_id == Revision.team_id,
        File.project_id == Revision.project_id,
        File.doc_id == Revision.doc_id,
        File.revision == Revision.revision,
    )
    query = select(File).join(Revision, same).where(of_job, Revision.chunk_count > 0)
    files = [file for file in session.scalars(query) if file.warnings]
    return [{"doc_id": file.doc_id, "warnings": file.messages} for file in files[:ERRORS_KEPT]]


def _texts(session: Session, project: Project, numbers: Sequence[int]) -> dict[bytes, str]:
    """What is embedded for the chunks with these numbers, by its hash."""
    query = select(Chunk.embed_hash, Chunk.text, Chunk.header).where(
        Chunk.team_id == project.team_id, Chunk.project_id == project.id, Chunk.faiss_id.in_(numbers)
    )
    return {key: embedded_text(text, head) for key, text, head in session.execute(query)}


def _place(revision: Revision) -> tuple[int, int]:
    return revision.team_id, revision.project_id


def _key(revision: Revision) -> tuple[int, int, str, int]:
    return revision.team_id, revision.project_id, revision.doc_id, revision.revision
