"""The worker's side of an asynchronous batch: embeds what was accepted and publishes it document by document."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session, defer

from database.engine import Database, DatabaseKind
from domain import Amounts, Json
from errors import DailyQuotaExceeded, EmbeddingRefused, Overtaken, QuotaExceeded, ServiceError, Unreadable
from job_lease import Claim, Estimate, Lease
from models import Doc, DocStatus, File, Project, Revision, RevisionStatus, utc_now
from services.index.announcing import record_failed
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.pacing import Pace
from services.index.publishing import Publisher
from services.index.quotas import QuotaService, stored_in
from services.index.stored_vectors import of_chunks
from services.ingest.extracting import ExtractingService
from services.ingest.following import Following, texts_of
from services.ingest.mirrored import MirroredDocs, cuts_of
from services.ingest.recutting import Recutting
from services.ingest.rows import docs_by_id

log = logging.getLogger(__name__)

MAX_ERRORS_REPORTED = 100
_OF_ONE_DOCUMENT = (EmbeddingRefused, QuotaExceeded, DailyQuotaExceeded, Unreadable)
RETRYABLE = (RevisionStatus.FAILED, RevisionStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class _Course:
    """*chunks_total* is None while files of the job have not been read."""

    share_of_docs: float
    chunks_done: int
    chunks_total: int | None

    @property
    def percent(self) -> int:
        share = self.chunks_done / self.chunks_total if self.chunks_total else self.share_of_docs
        return min(int(100 * share), 99)

    def estimate(self, pace: Pace) -> Estimate:
        left = None
        if self.chunks_total is not None:
            left = pace.seconds_left(max(self.chunks_total - self.chunks_done, 0))
        return Estimate(self.chunks_done, self.chunks_total, left)


@dataclass(frozen=True)
class IngestingService:
    database: Database
    embedding: EmbeddingService
    publisher: Publisher
    following: Following
    extracting: ExtractingService
    quotas: QuotaService
    recutting: Recutting

    def ingest(self, lease: Lease) -> Json:
        """Extract, embed and publish every revision of the job. Returns the job's result.

        A step extracts one raw file, or embeds as many texts as take a few seconds and commits them with the documents
        that they complete. So a worker that dies loses one step, and the next attempt continues after the last commit.
        """
        counts: Counter[str] = Counter(lease.claim.result.get("counts", {}))
        pace = Pace()
        pending = self._next_docs(lease.claim, pace)
        while pending:
            lease.check()
            if _is_unextracted(pending[0]):
                self._read_file(lease, pending[0], counts)
            else:
                self._embed(lease, pending, counts, pace)
            pending = self._next_docs(lease.claim, pace)
            if pending:
                lease.give_way()
        return self._result(lease.claim, counts)

    def _next_docs(self, claim: Claim, pace: Pace) -> list[Revision]:
        """Returns the next revisions that fit a step; a large one or an unextracted file is a step of its own."""
        most = pace.texts_per_step
        with self.database.read() as session:
            query = select(Revision).where(Revision.job_id == claim.job_id, Revision.status == RevisionStatus.PENDING)
            query = query.order_by(Revision.team_id, Revision.project_id, Revision.doc_id).options(defer(Revision.text))
            chosen: list[Revision] = []
            total = 0
            for revision in session.scalars(query.limit(most)):
                is_same_project = not chosen or _project_key(revision) == _project_key(chosen[0])
                is_too_much = total + revision.chunk_count > most or _is_unextracted(revision)
                if chosen and (not is_same_project or is_too_much):
                    break
                chosen.append(revision)
                total += revision.chunk_count
                if _is_unextracted(revision):
                    break
            return chosen

    def _read_file(self, lease: Lease, pending: Revision, counts: Counter[str]) -> None:
        """A file that cannot be read fails its own document only."""
        progress, result = self._course(lease.claim).percent, {"counts": dict(counts)}
        try:
            self.extracting.extract(lease, pending, progress=progress, result=result)
        except Unreadable as error:
            self._fail(lease, pending, counts, error)

    def _embed(self, lease: Lease, pending: Sequence[Revision], counts: Counter[str], pace: Pace) -> None:
        """Embed the documents' missing vectors step by step, and publish the documents in the last step.

        Stops early if a document was changed meanwhile: the next call starts over from the current state.
        """
        project = self._project(pending[0])
        progress, result = self._course(lease.claim).percent, {"counts": dict(counts)}
        if not self.following.embed(lease, project, pending, pace, progress=progress, result=result):
            return None
        try:
            require = partial(self._require_quota, project)
            mirrored = self.recutting.prepare(lease, project, pending, pace, require=require)
        except _OF_ONE_DOCUMENT as error:
            return self._isolate_refused(lease, pending, counts, error)
        return None if mirrored is None else self._embed_and_publish(lease, project, pending, counts, pace, mirrored)

    def _embed_and_publish(
        self,
        lease: Lease,
        project: Project,
        pending: Sequence[Revision],
        counts: Counter[str],
        pace: Pace,
        mirrored: Sequence[MirroredDocs],
    ) -> None:
        missing, start, is_first = self.following.missing(project, project.embedding_version, pending), 0, True
        while is_first or start < len(missing):
            if not is_first:
                lease.give_way()
            is_first = False
            step = dict(missing[start : start + pace.texts_per_step])
            start += len(step)
            remaining = len(missing) - start
            with self.database.read() as session:
                texts = texts_of(session, project, list(step.values()))
            if texts.keys() != step.keys():
                return None
            try:
                self._require_quota(project, len(step))
                with pace.measured(len(step)):
                    vectors = self.embedding.embed(project.embedding_version, texts)
                result = {"counts": counts + Counter(chunks_embedded=len(step))}
                course = self._course(lease.claim, pending, remaining)
                with lease.step(course.percent, result, course.estimate(pace)) as session:
                    kept = of_chunks(session, project.team_id, vectors)
                    self.embedding.store(session, project.team_id, project.embedding_version, kept)
                    published = 0 if remaining else self._publish(session, project, pending, mirrored)
                    computed = 0 if remaining else sum(each.computed for each in mirrored)
                    count_ingest(session, project, chunks=published, embedded=len(step) + computed)
            except Overtaken:
                return None
            except _OF_ONE_DOCUMENT as error:
                return self._isolate_refused(lease, pending, counts, error)
            counts["chunks_embedded"] += len(step)
        return None

    def _require_quota(self, project: Project, chunks: int) -> None:
        with self.database.read() as session:
            self.quotas.foresee(session, project, Amounts(embedded_chunks_per_day=chunks))

    def _publish(
        self, session: Session, project: Project, pending: Sequence[Revision], mirrored: Sequence[MirroredDocs]
    ) -> int:
        """Publish the revisions that are still pending, unless the namespace's versions were changed meanwhile.

        Returns how many chunks were published.
        """
        current, _ = self.publisher.next_numbers(session, project, locks_team=self.quotas.concern(project))
        stored = stored_in(current)
        if current.version_set != project.version_set:
            return 0
        doc_ids = [revision.doc_id for revision in pending]
        is_pending = and_(
            Revision.team_id == project.team_id,
            Revision.project_id == project.id,
            Revision.doc_id.in_(doc_ids),
            Revision.job_id == pending[0].job_id,
            Revision.status == RevisionStatus.PENDING,
        )
        revisions = session.scalars(select(Revision).where(is_pending).options(defer(Revision.text))).all()
        docs = docs_by_id(session, project, doc_ids)
        if revisions:
            in_mirrors = [each.only({revision.doc_id for revision in revisions}) for each in mirrored]
            for each in in_mirrors:
                self.recutting.store(session, current, each, is_alone=self.database.kind is DatabaseKind.SQLITE)
            published = [docs[revision.doc_id] for revision in revisions]
            self.publisher.publish(session, current, published, revisions, cuts=cuts_of(in_mirrors))
            self.quotas.check(session, current, stored)
        return sum(revision.chunk_count for revision in revisions)

    def _isolate_refused(
        self, lease: Lease, pending: Sequence[Revision], counts: Counter[str], error: ServiceError
    ) -> None:
        """Embed the documents one by one, so that what is refused fails its own document only."""
        if len(pending) > 1:
            for revision in pending:
                self._embed(lease, [revision], counts, Pace())
            return
        self._fail(lease, pending[0], counts, error)

    def _fail(self, lease: Lease, pending: Revision, counts: Counter[str], error: ServiceError) -> None:
        with lease.step(self._course(lease.claim).percent, {"counts": dict(counts)}) as session:
            revision = session.get(Revision, _key(pending), options=[defer(Revision.text)])
            if revision is not None and revision.status == RevisionStatus.PENDING:
                _fail(session, [revision], RevisionStatus.FAILED, str(error))

    def _project(self, revision: Revision) -> Project:
        with self.database.read() as session:
            return session.get_one(Project, (revision.team_id, revision.project_id))

    def _course(self, claim: Claim, embedding: Sequence[Revision] = (), remaining: int = 0) -> _Course:
        """Where the job stands. The documents in *embedding* still lack *remaining* vectors."""
        chunks, docs, unread = Counter[str](), Counter[str](), 0
        with self.database.read() as session:
            is_unread = case((and_(Revision.blob_uri.is_not(None), Revision.chunk_count == 0), 1), else_=0)
            columns = (Revision.status, func.count(), func.sum(Revision.chunk_count), func.sum(is_unread))
            of_job = select(*columns).where(Revision.job_id == claim.job_id)
            for status, count, size, files in session.execute(of_job.group_by(Revision.status)):
                docs[status], chunks[status] = count, size
                unread += files if status == RevisionStatus.PENDING else 0
        own = sum(revision.chunk_count for revision in embedding)
        done = chunks[RevisionStatus.LIVE] + chunks[RevisionStatus.RETIRED] + own - remaining
        total = chunks[RevisionStatus.LIVE] + chunks[RevisionStatus.RETIRED] + chunks[RevisionStatus.PENDING]
        embedded_docs = len(embedding) * (own - remaining) / (own or 1)
        docs_done = sum(docs.values()) - docs[RevisionStatus.PENDING] + embedded_docs
        return _Course(docs_done / (sum(docs.values()) or 1), done, None if unread else total)

    def _count(self, claim: Claim) -> Counter[str]:
        with self.database.read() as session:
            query = select(Revision.status, func.count()).where(Revision.job_id == claim.job_id)
            rows = session.execute(query.group_by(Revision.status))
            return Counter({status: count for status, count in rows})

    def _result(self, claim: Claim, counts: Counter[str]) -> Json:
        """Returns the job's result, with an error for each document that failed."""
        by_status = self._count(claim)
        published = by_status[RevisionStatus.LIVE] + by_status[RevisionStatus.RETIRED]
        with self.database.read() as session:
            of_job = Revision.job_id == claim.job_id
            is_published = Revision.status.in_((RevisionStatus.LIVE, RevisionStatus.RETIRED))
            created = session.scalar(select(func.sum(Revision.chunk_count)).where(of_job, is_published)) or 0
            failed = session.execute(
                select(Revision.doc_id, Revision.error)
                .where(of_job, Revision.status == RevisionStatus.FAILED)
                .limit(MAX_ERRORS_REPORTED)
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


def abandon(session: Session, job_id: str, error: str, status: RevisionStatus) -> int:
    """End the job's pending revisions; their docs get *error*. Returns how many documents of the job failed in all."""
    query = select(Revision).where(Revision.job_id == job_id, Revision.status == RevisionStatus.PENDING)
    _fail(session, session.scalars(query.options(defer(Revision.text))).all(), status, error)
    session.flush()
    of_job = select(func.count()).where(Revision.job_id == job_id, Revision.status.in_(RETRYABLE))
    return session.scalars(of_job).one()


def _fail(session: Session, revisions: Sequence[Revision], status: RevisionStatus, error: str) -> None:
    """Mark the revisions and their docs as failed. Their chunks stay, for a retry, and so do the previous revisions."""
    for revision in revisions:
        revision.status, revision.error = status, error
        doc = session.get_one(Doc, (revision.team_id, revision.project_id, revision.doc_id), with_for_update=True)
        if doc.revision == revision.revision:
            doc.status, doc.error, doc.updated_at = DocStatus.FAILED, error, utc_now()
    record_failed(session, revisions, error)


def _is_unextracted(revision: Revision) -> bool:
    """Returns whether it is a raw file without extracted text. Extracted files have at least one chunk."""
    return revision.blob_uri is not None and revision.chunk_count == 0


def _warnings(session: Session, of_job: ColumnElement[bool]) -> list[Json]:
    """Returns the extraction warnings of the job's files, file by file."""
    is_same = and_(
        File.team_id == Revision.team_id,
        File.project_id == Revision.project_id,
        File.doc_id == Revision.doc_id,
        File.revision == Revision.revision,
    )
    query = select(File).join(Revision, is_same).where(of_job, Revision.chunk_count > 0)
    files = [file for file in session.scalars(query) if file.warnings]
    return [{"doc_id": file.doc_id, "warnings": file.messages} for file in files[:MAX_ERRORS_REPORTED]]


def _project_key(revision: Revision) -> tuple[int, int]:
    return revision.team_id, revision.project_id


def _key(revision: Revision) -> tuple[int, int, str, int]:
    return revision.team_id, revision.project_id, revision.doc_id, revision.revision
