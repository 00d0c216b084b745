"""The rows of accepted documents. One statement reads what they replace, and one writes each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from database.batching import batched
from domain import ChunkContent
from errors import Overtaken
from models import Doc, DocStatus, File, Project, Revision, utc_now
from services.index.mirroring import (
    DOC_NAMES,
    DOCS,
    REVISION_NAMES,
    WRITE_CHUNKS,
    WRITE_DOCS,
    WRITE_REVISIONS,
    values_of,
)
from services.index.publishing import supersede
from services.ingest.drafts import NewDoc
from services.ingest.pending_blobs import attach
from services.ingest.planning import WritePlan
from services.ingest.rows import IDS_PER_QUERY, chunk_rows, file_row, revision_row


@dataclass(frozen=True, slots=True)
class NewRows:
    """The rows to write for some documents, which belong to no session. All are new except those of existing docs."""

    docs: list[Doc] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    chunks: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        session: Session,
        project: Project,
        plan: WritePlan,
        *,
        first_id: int,
        live_seq: int | None = None,
        job_id: str | None = None,
    ) -> NewRows:
        """Drops what of the same documents was never live. Raises Overtaken if a precondition no longer holds."""
        new, rows = plan.changes.new, cls()
        existing = _existing_docs(session, project, [doc.doc_id for doc in new])
        supersede(session, project, list(existing.values()))
        for new_doc, draft in zip(new, plan.drafts, strict=True):
            doc = _next_doc(project, new_doc, existing.get(new_doc.doc_id))
            revision = revision_row(draft, project, doc, first_id=first_id, job_id=job_id)
            rows.docs.append(doc)
            rows.revisions.append(revision)
            if new_doc.file is not None:
                rows.files.append(file_row(draft, new_doc.file, revision))
                rows.blobs.append(new_doc.file.blob)
            rows.chunks.extend(chunk_rows(draft, revision, first_id=first_id, live_seq=live_seq))
            first_id += len(draft.spans)
        return rows

    @property
    def contents(self) -> list[ChunkContent]:
        return [ChunkContent(row["faiss_id"], row["embed_hash"], row["text"], row["header"]) for row in self.chunks]

    def write(self, session: Session) -> None:
        """Referenced rows first."""
        WRITE_DOCS.run_many(session, [values_of(doc, DOC_NAMES) for doc in self.docs])
        WRITE_REVISIONS.run_many(session, [values_of(revision, REVISION_NAMES) for revision in self.revisions])
        if self.files:
            session.add_all(self.files)
            session.flush()
        for blob in self.blobs:
            attach(session, blob)
        WRITE_CHUNKS.run_many(session, self.chunks)


def _existing_docs(session: Session, project: Project, doc_ids: Sequence[str]) -> dict[str, Doc]:
    """The docs that were ever accepted, deleted ones included."""
    key, docs = {"the_team": project.team_id, "the_project": project.id}, {}
    for batch in batched(doc_ids, IDS_PER_QUERY):
        for row in DOCS.rows(session, {**key, "doc_ids": batch}):
            doc = Doc(**dict(zip(DOC_NAMES, row, strict=True)))
            docs[doc.doc_id] = doc
    return docs


def _next_doc(project: Project, new_doc: NewDoc, doc: Doc | None) -> Doc:
    """Returns the doc's row, new if there is none, with the number of the revision that is being accepted."""
    has_precondition = new_doc.must_be_new or new_doc.expected_hash is not None
    if has_precondition and (doc.revision if doc else 0) != new_doc.base_revision:
        raise Overtaken
    now = utc_now()
    doc = doc or Doc(
        team_id=project.team_id,
        project_id=project.id,
        doc_id=new_doc.doc_id,
        revision=0,
        created_at=new_doc.created_at or now,
    )
    doc.revision += 1
    doc.status = DocStatus.UPLOADED if new_doc.file else DocStatus.PROCESSING
    doc.error, doc.deleted_at, doc.updated_at = None, None, now
    return doc
