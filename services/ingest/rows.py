"""Reads the rows of documents, compares them with new documents, and makes rows of drafts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, select
from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import flag_modified

from database.batching import batched
from database.prepared import PreparedStatement, attached, attributes_of, is_among
from domain import Json, RawFile, Span
from errors import NotFound
from models import Doc, File, Project, Revision, RevisionStatus, utc_now
from services.ingest.drafts import Draft, NewDoc, heading_of
from text.filters import METADATA
from text.restriction import Restriction

IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class DocView:
    """A doc with its newest accepted revision."""

    doc: Doc
    revision: Revision


def require_doc(session: Session, project: Project, doc_id: str, restriction: Restriction | None = None) -> DocView:
    """Raises NotFound for a doc that does not exist, is deleted, or is not shown to a caller with the *restriction*."""
    row = newest_revisions(session, project, [doc_id]).get(doc_id)
    if row is None or row[0].deleted_at is not None or not (restriction is None or restriction.shows(fields_of(*row))):
        raise NotFound(f"There is no document {doc_id!r} in this namespace.", param="doc_id")
    return DocView(*row)


def fields_of(doc: Doc, revision: Revision) -> dict[str, Any]:
    """What filters test of a document, as *revision* describes it."""
    return {
        "doc_id": doc.doc_id,
        "source_type": revision.source_type,
        "mime_type": revision.mime_type,
        "created_at": doc.created_at,
        "updated_at": doc.updated_at,
        METADATA: revision.doc_metadata,
    }


def newest_revisions(session: Session, project: Project, doc_ids: Sequence[str]) -> dict[str, tuple[Doc, Revision]]:
    """Returns each doc with its newest accepted revision; of a deleted doc, the last one before the deletion."""
    newest: dict[str, tuple[Doc, Revision]] = {}
    key, width = {"the_team": project.team_id, "the_project": project.id}, len(_DOC_NAMES)
    for batch in batched(doc_ids, IDS_PER_QUERY):
        for row in _NEWEST.rows(session, {**key, "doc_ids": batch}):
            doc = attached(session, Doc, _DOC_NAMES, row[:width])
            newest[doc.doc_id] = (doc, attached(session, Revision, _DESCRIBED, row[width:]))
    return newest


def docs_by_id(session: Session, project: Project, doc_ids: Sequence[str]) -> dict[str, Doc]:
    """Returns the rows of docs that were ever accepted, deleted ones included."""
    docs: dict[str, Doc] = {}
    for batch in batched(doc_ids, IDS_PER_QUERY):
        query = select(Doc).where(Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.doc_id.in_(batch))
        docs |= {doc.doc_id: doc for doc in session.scalars(query)}
    return docs


def select_docs(project: Project, is_revision: ColumnElement[bool]) -> Select[Doc, Revision]:
    """Selects the project's docs, each with the revision that *is_revision* chooses, without its text."""
    same_doc = (
        (Revision.team_id == Doc.team_id) & (Revision.project_id == Doc.project_id) & (Revision.doc_id == Doc.doc_id)
    )
    query = select(Doc, Revision).join(Revision, same_doc & is_revision).options(defer(Revision.text))
    return query.where(Doc.team_id == project.team_id, Doc.project_id == project.id)


def _last_with_content() -> ColumnElement[int]:
    """A deletion counts as a revision of the doc, but has no row of its own."""
    return case((Doc.deleted_at.is_(None), Doc.revision), else_=Doc.revision - 1)


_DOC_NAMES = attributes_of(Doc)
_DESCRIBED = tuple(name for name in attributes_of(Revision) if name != "text")
_NEWEST = PreparedStatement(
    select(Doc, *(getattr(Revision, name) for name in _DESCRIBED))
    .join(
        Revision,
        (Revision.team_id == Doc.team_id)
        & (Revision.project_id == Doc.project_id)
        & (Revision.doc_id == Doc.doc_id)
        & (Revision.revision == _last_with_content()),
    )
    .where(
        Doc.team_id == bindparam("the_team"),
        Doc.project_id == bindparam("the_project"),
        is_among(Doc.doc_id, "doc_ids"),
    )
)


def has_same_content(revision: Revision, doc: NewDoc, recipe: str) -> bool:
    """Returns whether accepting the document would leave the chunks as they are."""
    return revision.recipe == recipe and revision.doc_hash == doc.content_hash


def has_same_description(revision: Revision, doc: NewDoc) -> bool:
    """Returns whether metadata, title, source type and MIME type are the same."""
    current = (_as_json(revision.doc_metadata), revision.title, revision.source_type, revision.mime_type)
    return current == (_as_json(doc.metadata), *_description(revision, doc))


def has_same_heading(revision: Revision, doc: NewDoc) -> bool:
    heading = heading_of(_description(revision, doc)[0], doc.metadata)
    return heading == heading_of(revision.title, revision.doc_metadata)


def describe(revision: Revision, doc: NewDoc) -> None:
    """Update the revision's description to that of *doc*."""
    revision.doc_metadata = doc.metadata
    flag_modified(revision, "doc_metadata")  # to Python 1 and True are the same
    revision.title, revision.source_type, revision.mime_type = _description(revision, doc)


def _description(revision: Revision, doc: NewDoc) -> tuple[str | None, str, str]:
    """Returns title, source type and MIME type. A file keeps its detected type, and its own title if none was sent."""
    if doc.file is not None:
        return doc.title or revision.title, doc.source_type, revision.mime_type
    return doc.title, doc.source_type, doc.mime_type


def _as_json(value: Json) -> str:
    """Distinguishes 1, 1.0 and True, which are equal in Python but not in JSON."""
    return json.dumps(value, sort_keys=True)


def revision_row(draft: Draft, project: Project, row: Doc, *, first_id: int, job_id: str | None) -> Revision:
    doc = draft.doc
    return Revision(
        team_id=project.team_id,
        project_id=project.id,
        doc_id=doc.doc_id,
        revision=row.revision,
        status=RevisionStatus.PENDING,
        job_id=job_id,
        doc_hash=draft.doc_hash,
        recipe=draft.recipe,
        title=doc.title,
        source_type=doc.source_type,
        mime_type=doc.mime_type,
        blob_uri=doc.file.blob if doc.file else None,
        doc_metadata=doc.metadata,
        chunk_count=len(draft.spans),
        byte_count=doc.byte_count,
        has_own_chunks=bool(doc.chunks),
        first_id=first_id,
        accepted_seq=project.seq,
        created_at=utc_now(),
        text=doc.text,
    )


def file_row(draft: Draft, file: RawFile, revision: Revision) -> File:
    """Returns the revision's file, with the options for extracting and cutting it."""
    doc = draft.doc
    return File(
        team_id=revision.team_id,
        project_id=revision.project_id,
        doc_id=revision.doc_id,
        revision=revision.revision,
        filename=file.filename,
        byte_count=file.byte_count,
        read_options={
            "declared": file.declared,
            "chunk_strategy": doc.chunk_strategy,
            "chunk_overlap": doc.chunk_overlap,
            "enrich_context": doc.enrich_context,
        },
        warnings=[asdict(caveat) for caveat in draft.warnings],
    )


def chunk_rows(draft: Draft, revision: Revision, *, first_id: int, live_seq: int | None) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    now = utc_now()
    for index, values in enumerate(chunk_values(draft)):
        rows.append(
            {
                "team_id": revision.team_id,
                "project_id": revision.project_id,
                "faiss_id": first_id + index,
                "doc_id": revision.doc_id,
                "revision": revision.revision,
                "chunk_hash": "",
                "live_seq": live_seq,
                **values,
                "dead_seq": None,
                "deleted_at": None,
                "created_at": now,
            }
        )
    return rows


def chunk_values(draft: Draft) -> list[Json]:
    """The rows of its chunks, without their place and without what their publication says."""
    metadata = [chunk.metadata for chunk in draft.doc.chunks] or [None] * len(draft.spans)
    parts = enumerate(zip(draft.spans, draft.headers, draft.keys, strict=True))
    return [
        {"embed_hash": key, "chunk_metadata": metadata[index], **described_chunk(index, span, head)}
        for index, (span, head, key) in parts
    ]


def described_chunk(index: int, span: Span, head: str) -> Json:
    """Returns what is shown of a chunk, under the names of its columns."""
    return {
        "chunk_index": index,
        "text": span.text,
        "header": head,
        "section": " > ".join(span.section) or None,
        "page_start": span.page_start,
        "page_end": span.page_end,
        "char_start": span.start,
        "char_end": span.end,
        "token_count": span.token_count,
    }
