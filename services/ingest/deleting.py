"""Deletes many documents as a job: those that meet a filter, or all of a namespace.

Accepting the job takes a seq. What was accepted from then on, content or description, is not the job's to delete; all
else is judged when a step reaches it, in order of doc_id. Each step is a publication: what it deletes is found no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased, defer

from database.engine import Database
from database.repeating import repeatable
from domain import Json
from errors import Invalid
from job_lease import Lease, write
from job_queue import JobQueue
from models import Doc, Project, Revision, utc_now
from services.index import namespaces
from services.index.auditing import record
from services.index.publishing import Publisher, supersede
from text.filter_spellings import parse
from text.filters import METADATA, PAGE, Filter, conditions, matches

DELETE = "delete_docs"
DOCS_PER_READ = 200
CHUNKS_PER_STEP = 1000


class _Target(NamedTuple):
    """A document with its newest revision, and its live one, which may be the same."""

    doc: Doc
    newest: Revision
    live: Revision | None


@dataclass(frozen=True, slots=True)
class Order:
    """What a job has to delete: what was accepted before *before_seq* and matches; None matches everything."""

    chosen_by: Filter | None
    before_seq: int

    @classmethod
    def of(cls, filters: Json | None, before_seq: int) -> Order:
        return cls(None if filters is None else parsed_filter(filters), before_seq)

    def covers(self, doc: Doc, revision: Revision | None) -> bool:
        if revision is None or (revision.accepted_seq or 0) >= self.before_seq:
            return False
        return self.chosen_by is None or matches(self.chosen_by, _fields(doc, revision))

    def covers_any(self, target: _Target) -> bool:
        return self.covers(target.doc, target.newest) or self.covers(target.doc, target.live)


@dataclass(frozen=True)
class DeletingService:
    database: Database
    queue: JobQueue
    publisher: Publisher

    @repeatable
    def accept(self, tenant_id: str, namespace: str, *, filters: Json | None, whole_namespace: str | None) -> str:
        """Queue the deletion of what the filter matches, or of the whole namespace, confirmed by its name.

        Returns the job's id. Raises Invalid for a filter without conditions, which would match everything.
        """
        _require_one(namespace, filters, whole_namespace)
        self.database.make_room_to_delete()
        with self.database.write() as session:
            project = namespaces.require(session, tenant_id, namespace)
            return self._queue(session, project, tenant_id, filters)

    def queue_all(self, session: Session, project: Project, tenant_id: str) -> str:
        """Queue the deletion of a whole namespace in the caller's transaction. Returns the job's id."""
        return self._queue(session, project, tenant_id, None)

    def _queue(self, session: Session, project: Project, tenant_id: str, filters: Json | None) -> str:
        current, _ = self.publisher.next_numbers(session, project)
        payload = {"filters": filters, "before_seq": current.seq}
        job_id = self.queue.create_job(session, DELETE, payload, project=current)
        action = "namespace.emptied" if filters is None else "documents.deleted_by_filter"
        record(session, action, tenant_id=tenant_id, object=current.name, filters=filters, job_id=job_id)
        return job_id

    def delete(self, lease: Lease) -> Json:
        """Walk the namespace and delete step by step; a job that was interrupted goes on behind its last step."""
        payload, result = lease.claim.payload, dict(lease.claim.result)
        order = Order.of(payload["filters"], payload["before_seq"])
        with self.database.read() as session:
            project = session.get_one(Project, (lease.claim.team_id, lease.claim.project_id))
            result.setdefault("docs", session.scalar(_count(project)))
        while targets := self._read(project, result.get("after", "")):
            for group in _steps(targets, order):
                self._step(lease, project, group, order, result)
                lease.give_way()
        result.pop("after", None)
        if result.get("docs_deleted"):
            with lease.step(99, result) as session:
                self.publisher.request_rebuild(session, project)
        return {"docs_deleted": 0, "chunks_deleted": 0, **result}

    def _read(self, project: Project, after: str) -> list[_Target]:
        with self.database.read() as session:
            query = _targets(project).where(Doc.doc_id > after).order_by(Doc.doc_id).limit(DOCS_PER_READ)
            return [_Target(*row) for row in session.execute(query)]

    def _step(self, lease: Lease, project: Project, group: Sequence[_Target], order: Order, result: Json) -> None:
        """Delete those of the group that the order covers now, under the project's lock."""
        result["after"] = group[-1].doc.doc_id
        result["docs_examined"] = result.get("docs_examined", 0) + len(group)
        progress = min(99 * result["docs_examined"] // max(result["docs"], 1), 99)
        doc_ids = [target.doc.doc_id for target in group if order.covers_any(target)]
        with lease.step(progress, result) as session:
            if doc_ids:
                docs, chunks = self._delete(session, project, doc_ids, order)
                result["docs_deleted"] = result.get("docs_deleted", 0) + docs
                result["chunks_deleted"] = result.get("chunks_deleted", 0) + chunks
                write(session, lease.claim, {"result_json": dict(result)})

    def _delete(self, session: Session, project: Project, doc_ids: Sequence[str], order: Order) -> tuple[int, int]:
        """Returns how many documents and chunks are found no more. A newer revision that is not covered stays."""
        current, _ = self.publisher.next_numbers(session, project)
        rows = session.execute(_targets(current).where(Doc.doc_id.in_(doc_ids)))
        targets = [target for target in (_Target(*row) for row in rows) if order.covers_any(target)]
        gone = [target.doc for target in targets if order.covers(target.doc, target.newest)]
        supersede(session, current, gone)
        chunks = self.publisher.withdraw(session, current, [target.doc for target in targets])
        for doc in gone:
            doc.revision += 1
            doc.deleted_at = doc.updated_at = utc_now()
        return len(targets), chunks


def _require_one(namespace: str, filters: Json | None, whole_namespace: str | None) -> None:
    if (filters is None) == (whole_namespace is None):
        raise Invalid(
            "Send either filters or, to delete every document, the namespace's name as whole_namespace.",
            param="filters",
        )
    if filters is not None:
        parsed_filter(filters)
    elif whole_namespace != namespace:
        raise Invalid(
            "To delete every document of a namespace, send its own name as whole_namespace.", param="whole_namespace"
        )


def parsed_filter(filters: Json) -> Filter:
    """Raises Invalid for a filter without conditions, or by page."""
    chosen_by = parse(filters)
    if chosen_by is None:
        raise Invalid(
            "A filter without conditions would delete everything: if that is meant, send whole_namespace instead.",
            param="filters",
        )
    if any(condition.key == PAGE for condition in conditions(chosen_by)):
        raise Invalid("Documents are deleted as a whole: they cannot be chosen by page.", param="filters")
    return chosen_by


def _count(project: Project) -> Any:
    in_project = and_(Doc.team_id == project.team_id, Doc.project_id == project.id)
    return select(func.count()).where(in_project, Doc.deleted_at.is_(None))


def _targets(project: Project) -> Any:
    """The project's documents with their newest and their live revisions, without texts."""
    newest, live = aliased(Revision), aliased(Revision)
    query = select(Doc, newest, live).options(defer(newest.text), defer(live.text))
    query = query.join(newest, and_(_of_doc(newest), newest.revision == Doc.revision))
    query = query.outerjoin(live, and_(_of_doc(live), live.revision == Doc.live_revision))
    in_project = and_(Doc.team_id == project.team_id, Doc.project_id == project.id)
    return query.where(in_project, Doc.deleted_at.is_(None))


def _of_doc(revision: Any) -> Any:
    same_project = and_(revision.team_id == Doc.team_id, revision.project_id == Doc.project_id)
    return and_(same_project, revision.doc_id == Doc.doc_id)


def _fields(doc: Doc, revision: Revision) -> Json:
    return {
        "doc_id": doc.doc_id,
        "source_type": revision.source_type,
        "mime_type": revision.mime_type,
        "created_at": doc.created_at,
        "updated_at": revision.published_at or revision.created_at,
        METADATA: revision.doc_metadata,
    }


def _steps(targets: Sequence[_Target], order: Order) -> Iterator[list[_Target]]:
    """Cuts the documents into steps of about CHUNKS_PER_STEP chunks to delete; a larger document is a step alone."""
    step: list[_Target] = []
    chunks = 0
    for target in targets:
        size = target.live.chunk_count if target.live is not None and order.covers_any(target) else 0
        if step and chunks + size > CHUNKS_PER_STEP:
            yield step
            step, chunks = [], 0
        step.append(target)
        chunks += size
    yield step
