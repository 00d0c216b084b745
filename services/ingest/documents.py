"""Put documents in, take them out. Each verb is one transaction; models work before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sqlalchemy import insert
from sqlalchemy.orm import Session

from database import Database, batched, repeatable
from engines.embedders.base import Embedder
from errors import Conflict, Invalid, NotFound, TooLarge
from job_queue import JobQueue
from models import Chunk, Doc, DocStatus, Project, Revision, RevisionStatus, utc_now
from services.index import namespaces
from services.index.counting import count_ingest
from services.index.embedding import EmbeddingService
from services.index.publishing import Publisher, drop_pending
from services.ingest.browsing import newest, view
from services.ingest.checking import checked
from services.ingest.cutting import draft
from services.ingest.drafts import Draft, Limits, NewDoc
from services.ingest.own_chunks import external_version, require_fit
from services.ingest.pending_blobs import take
from services.ingest.planning import Plan, Sorted, Wanted, check_hash, sort
from services.ingest.rows import chunk_rows, describe, file_row, revision_row

INGEST = "ingest_docs"
TEXTS_PER_STEP = 256
MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of some documents. *chunks_reused* had a vector, or came with one; *job_id* does the rest."""

    upserted_docs: int = 0
    skipped_docs: int = 0
    chunks_created: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    job_id: str | None = None

    def __add__(self, other: Upserted) -> Upserted:
        return Upserted(
            self.upserted_docs + other.upserted_docs,
            self.skipped_docs + other.skipped_docs,
            self.chunks_created + other.chunks_created,
            self.chunks_embedded + other.chunks_embedded,
            self.chunks_reused + other.chunks_reused,
            self.job_id or other.job_id,
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    chunks_deleted: int
    job_id: str


@dataclass(frozen=True, slots=True)
class Made:
    """*embedded* vectors were made by the model; some, and what came with the documents, are still to be stored."""

    unstored: Mapping[bytes, bytes]
    embedded: int


class _Overtaken(Exception):
    """Somebody changed what the transaction was prepared for: prepare it again."""


@dataclass(frozen=True)
class DocumentService:
    database: Database
    queue: JobQueue
    embedding: EmbeddingService
    publisher: Publisher
    limits: Limits
    chunk_tokens: int
    makes_namespaces: bool = True

    @repeatable
    def upsert(self, docs: Sequence[NewDoc]) -> Upserted:
        """Store, embed and publish the documents; when this returns they are found. All of them, or none."""
        return self._until_not_overtaken(self._upsert_once, docs)

    @repeatable
    def accept(self, docs: Sequence[NewDoc]) -> Upserted:
        """Store the documents and the job that will embed and publish them. What is found changes later."""
        if len({doc.tenant_id for doc in docs}) > 1:
            raise Invalid(
                "One tenant per batch with async_mode: a job belongs to one. Send a batch for each.", param="docs"
            )
        return self._until_not_overtaken(self._accept_once, docs)

    @repeatable
    def delete(self, tenant_id: str, namespace: str, doc_id: str, *, expected_hash: str | None = None) -> Deleted:
        """Hide the document from every search at once; its vectors leave the checkpoint with the next rebuild."""
        self.database.make_room_to_delete()
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            project, _ = self.publisher.next_numbers(session, project)
            found = view(session, project, doc_id)
            check_hash(doc_id, found.revision, expected_hash)
            drop_pending(session, project, [doc_id], RevisionStatus.SUPERSEDED)
            retired = self.publisher.withdraw(session, project, found.doc)
            found.doc.revision += 1
            found.doc.deleted_at = found.doc.updated_at = utc_now()
            return Deleted(retired, self.publisher.ask_for_rebuild(session, project))

    def _until_not_overtaken(self, verb: Callable[[list[NewDoc]], Upserted], docs: Sequence[NewDoc]) -> Upserted:
        """Of two documents with the same key in one call, the later one counts."""
        if len(docs) > self.limits.batch_docs:
            raise TooLarge(
                f"The batch has {len(docs)} documents; at most {self.limits.batch_docs} are accepted at once "
                "(MAX_BATCH_DOCS). Send several batches.",
                param="docs",
            )
        wanted = list({doc.key: checked(doc, self.limits) for doc in docs}.values())
        for _ in range(MOST_TRIES):
            try:
                return verb(wanted) + Upserted(skipped_docs=len(docs) - len(wanted))
            except _Overtaken:
                continue
        raise Conflict("These documents are being changed by others without a pause: try again.")

    def _upsert_once(self, docs: list[NewDoc]) -> Upserted:
        plans, done = self._plan(docs, counts_as_there=[RevisionStatus.LIVE])
        if not plans:
            return done
        made = [self._embed(plan) for plan in plans]
        with self.database.write() as session:
            for plan, vectors in zip(plans, made, strict=True):
                project, first_id = self._begin(session, plan, publications=1)
                self.embedding.store(session, project.team_id, project.embedding_version, vectors.unstored)
                for revision in _write(session, project, plan, first_id=first_id, live_seq=project.seq):
                    self.publisher.publish(session, project, revision)
                count_ingest(session, project, requests=1, chunks=plan.chunk_count, embedded=vectors.embedded)
                done += Upserted(
                    upserted_docs=len(plan.sorted.new) + len(plan.sorted.redescribed),
                    chunks_created=plan.chunk_count,
                    chunks_embedded=vectors.embedded,
                    chunks_reused=plan.chunk_count - vectors.embedded,
                )
        return done

    def _accept_once(self, docs: list[NewDoc]) -> Upserted:
        plans, done = self._plan(docs, counts_as_there=[RevisionStatus.LIVE, RevisionStatus.PENDING])
        job_id = None
        if not plans:
            return done
        with self.database.write() as session:
            for plan in plans:
                project, first_id = self._begin(session, plan, publications=1 if plan.sorted.redescribed else 0)
                done += Upserted(upserted_docs=len(plan.sorted.redescribed))
                if plan.drafts:
                    job_id = job_id or self.queue.create_job(session, INGEST, {}, project=project, dedupe_key=None)
                    self.embedding.store(session, project.team_id, project.embedding_version, plan.vectors)
                    _write(session, project, plan, first_id=first_id, job_id=job_id)
                count_ingest(session, project, requests=1)
        return replace(done, job_id=job_id or done.job_id)

    def _plan(self, docs: list[NewDoc], *, counts_as_there: Sequence[RevisionStatus]) -> tuple[list[Plan], Upserted]:
        """What has to be written, namespace by namespace and always in their order, and what is done without."""
        plans, done = [], Upserted()
        in_order = sorted(docs, key=lambda doc: (doc.tenant_id, doc.namespace))
        for place, group in groupby(in_order, key=lambda doc: (doc.tenant_id, doc.namespace)):
            sent = list(group)
            with self.database.read() as session:
                project = namespaces.find(session, *place)
                if project is None and not self.makes_namespaces:
                    raise NotFound(namespaces.missing(place[1]), param="namespace")
                there = newest(session, project, [doc.doc_id for doc in sent]) if project else {}
            found = sort(sent, there, counts_as_there=counts_as_there, chunk_tokens=self.chunk_tokens)
            done += Upserted(skipped_docs=found.skipped, job_id=found.waiting_job)
            if found.new or found.redescribed:
                self.database.refuse_when_nearly_full()
                plans.append(self._planned(*place, project, found))
        return plans, done

    def _planned(self, tenant_id: str, namespace: str, project: Project | None, found: Sorted) -> Plan:
        """The new documents, cut by the namespace's own model; the namespace is made if there was none."""
        if project is not None and not found.new:
            return Plan(project, found, [], project.embedding_version)
        version = self._version(tenant_id, namespace, project, found.new[0].doc)
        expected = self.embedding.external_dimension(version)
        for each in found.new:
            require_fit(each.doc.called, each.doc.dimension, expected)
        model = self.embedding.embedder(version) if expected is None else None
        cut = [self._cut(each.doc, model) for each in found.new]
        if project is None:
            dimension = expected or self.embedding.embedder(version).dimension
            project = namespaces.create(
                self.database, tenant_id, namespace, embedding_version=version, dimension=dimension
            )
        return Plan(project, found, cut, version)

    def _cut(self, doc: NewDoc, model: Embedder | None) -> Draft:
        return draft(doc, chunk_tokens=self.chunk_tokens, most_chunks=self.limits.chunks, model=model)

    def _version(self, tenant_id: str, namespace: str, project: Project | None, doc: NewDoc) -> str:
        """The first document of a namespace decides where its vectors come from, whoever made the namespace."""
        if project is not None and not self._may_decide(project, doc):
            return project.embedding_version
        if doc.dimension is None:
            return self.embedding.version
        version = external_version(tenant_id, namespace, doc.dimension)
        self.embedding.ensure_external(version, doc.dimension)
        return version

    def _may_decide(self, project: Project, doc: NewDoc) -> bool:
        """It does not fit, and there is nothing yet that it would have to fit to."""
        if self.embedding.external_dimension(project.embedding_version) == doc.dimension:
            return False
        with self.database.read() as session:
            return namespaces.is_unused(session, project)

    def _embed(self, plan: Plan) -> Made:
        """Make the vectors that are not there yet. All but the last step's are kept even if the request dies."""
        team_id, version, texts = plan.project.team_id, plan.version, plan.texts
        with self.database.read() as session:
            missing = self.embedding.missing(session, team_id, version, texts)
        todo = [key for key in texts if key in missing]
        vectors: dict[bytes, bytes] = {}
        for step in batched(todo, TEXTS_PER_STEP):
            if vectors:
                with self.database.write() as session:
                    self.embedding.store(session, team_id, version, vectors)
            vectors = self.embedding.embed(version, {key: texts[key] for key in step})
        return Made({**vectors, **plan.vectors}, embedded=len(todo))

    def _begin(self, session: Session, plan: Plan, *, publications: int) -> tuple[Project, int]:
        """Lock the namespace and take numbers; raise _Overtaken if the plan does not fit it any more."""
        project, first_id = self.publisher.next_numbers(
            session, plan.project, chunks=plan.chunk_count, publications=publications
        )
        if project.embedding_version != plan.project.embedding_version:
            raise _Overtaken
        if project.embedding_version != plan.version:
            if not namespaces.is_unused(session, project):
                raise _Overtaken
            self.publisher.start_under(session, project, plan.version)
        for wanted in plan.sorted.redescribed:
            doc, revision = newest(session, project, [wanted.doc.doc_id])[wanted.doc.doc_id]
            if doc.revision != wanted.seen_revision or doc.deleted_at is not None:
                raise _Overtaken
            describe(revision, wanted.doc)
            doc.updated_at = utc_now()
            if revision.status == RevisionStatus.LIVE:
                revision.published_seq, revision.published_at = project.seq, doc.updated_at
        return project, first_id


def _write(
    session: Session,
    project: Project,
    plan: Plan,
    *,
    first_id: int,
    live_seq: int | None = None,
    job_id: str | None = None,
) -> list[Revision]:
    """Write the new revisions and their chunks. One that still waited under the same doc_id is dropped."""
    new = plan.sorted.new
    drop_pending(session, project, [wanted.doc.doc_id for wanted in new], RevisionStatus.SUPERSEDED)
    revisions: list[Revision] = []
    chunks: list[Mapping[str, object]] = []
    for wanted, each in zip(new, plan.drafts, strict=True):
        row = _next_doc(session, project, wanted)
        revision = revision_row(each, project, row, first_id=first_id, job_id=job_id)
        session.add(revision)
        if wanted.doc.file is not None:
            session.flush()  # the revision's row goes first
            session.add(file_row(wanted.doc, wanted.doc.file, revision))
            take(session, wanted.doc.file.blob)
        revisions.append(revision)
        chunks += chunk_rows(each, revision, first_id=first_id, live_seq=live_seq)
        first_id += len(each.spans)
    session.flush()
    if chunks:
        session.execute(insert(Chunk), chunks)
    return revisions


def _next_doc(session: Session, project: Project, wanted: Wanted) -> Doc:
    """The doc's row with the number of the revision that is being accepted."""
    doc = session.get(Doc, (project.team_id, project.id, wanted.doc.doc_id))
    has_precondition = wanted.doc.must_be_new or wanted.doc.expected_hash is not None
    if has_precondition and (doc.revision if doc else 0) != wanted.seen_revision:
        raise _Overtaken
    if doc is None:
        doc = Doc(team_id=project.team_id, project_id=project.id, doc_id=wanted.doc.doc_id, revision=0)
        session.add(doc)
    doc.revision += 1
    doc.status = DocStatus.UPLOADED if wanted.doc.file else DocStatus.PROCESSING
    doc.error, doc.deleted_at, doc.updated_at = None, None, utc_now()
    return doc
