"""A document beside its rows: does a revision say the same, and which rows are made of a draft."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, select
from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import flag_modified

from database.batching import batched
from domain import Json, RawFile
from errors import NotFound
from models import Doc, File, Project, Revision, RevisionStatus
from services.ingest.drafts import Draft, NewDoc

IDS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class DocView:
    """A doc, and the newest revision that was accepted of it."""

    doc: Doc
    revision: Revision


def view(session: Session, project: Project, doc_id: str) -> DocView:
    """Raises NotFound for a doc that is not there, or not any more."""
    found = newest(session, project, [doc_id]).get(doc_id)
    if found is None or found[0].deleted_at is not None:
        raise NotFound(f"There is no document {doc_id!r} in this namespace.", param="doc_id")
    return DocView(*found)


def newest(session: Session, project: Project, doc_ids: Sequence[str]) -> dict[str, tuple[Doc, Revision]]:
    """Each doc with the newest revision that was accepted of it (of a deleted doc: the last before)."""
    found: dict[str, tuple[Doc, Revision]] = {}
    for some in batched(doc_ids, IDS_PER_QUERY):
        query = with_revision(project, Revision.revision == _last_with_content()).where(Doc.doc_id.in_(some))
        found |= {doc.doc_id: (doc, revision) for doc, revision in session.execute(query)}
    return found


def docs_by_id(session: Session, project: Project, doc_ids: Sequence[str]) -> dict[str, Doc]:
    """The rows of those that were ever accepted."""
    docs: dict[str, Doc] = {}
    for some in batched(doc_ids, IDS_PER_QUERY):
        query = select(Doc).where(Doc.team_id == project.team_id, Doc.project_id == project.id, Doc.doc_id.in_(some))
        docs |= {doc.doc_id: doc for doc in session.scalars(query)}
    return docs


def with_revision(project: Project, which: ColumnElement[bool]) -> Select[Doc, Revision]:
    same = (Revision.team_id == Doc.team_id) & (Revision.project_id == Doc.project_id) & (Revision.doc_id == Doc.doc_id)
    query = select(Doc, Revision).join(Revision, same & which).options(defer(Revision.text))
    return query.where(Doc.team_id == project.team_id, Doc.project_id == project.id)


def _last_with_content() -> ColumnElement[int]:
    """A deletion counts as a revision of the doc, but has no row of its own."""
    return case((Doc.deleted_at.is_(None), Doc.revision), else_=Doc.revision - 1)


def says_the_same(revision: Revision, doc: NewDoc, recipe: str) -> bool:
    """Would accepting the document change which chunks there are?"""
    return revision.recipe == recipe and revision.doc_hash == doc.content_hash


def describes_the_same(revision: Revision, doc: NewDoc) -> bool:
    """Is everything about the document that is not its text the same too?"""
    told = (_as_json(revision.doc_metadata), revision.title, revision.source_type, revision.mime_type)
    return told == (_as_json(doc.metadata), *_description(revision, doc))


def describe(revision: Revision, doc: NewDoc) -> None:
    """Say of the revision what *doc* says about itself."""
    revision.doc_metadata = doc.metadata
    flag_modified(revision, "doc_metadata")  # to Python 1 and True are the same
    revision.title, revision.source_type, revision.mime_type = _description(revision, doc)


def _description(revision: Revision, doc: NewDoc) -> tuple[str | None, str, str]:
    """What a file says of itself counts until somebody says otherwise; its type is what it was found to be."""
    if doc.file is not None:
        return doc.title or revision.title, doc.source_type, revision.mime_type
    return doc.title, doc.source_type, doc.mime_type


def _as_json(value: Json) -> str:
    """To Python 1, 1.0 and True are the same; to whoever sent them they are not."""
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
        first_id=first_id,
        text=doc.text,
    )


def file_row(doc: NewDoc, file: RawFile, revision: Revision) -> File:
    """The file of the revision, with what its reader has to know."""
    return File(
        team_id=revision.team_id,
        project_id=revision.project_id,
        doc_id=revision.doc_id,
        revision=revision.revision,
        filename=file.filename,
        byte_count=file.byte_count,
        asked={
            "declared": file.declared,
            "chunk_strategy": doc.chunk_strategy,
            "chunk_overlap": doc.chunk_overlap,
            "enrich_context": doc.enrich_context,
        },
    )


def chunk_rows(draft: Draft, revision: Revision, *, first_id: int, live_seq: int | None) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    metadata = [own.metadata for own in draft.doc.chunks] or [None] * len(draft.spans)
    for index, (span, head, key) in enumerate(zip(draft.spans, draft.headers, draft.keys, strict=True)):
        rows.append(
            {
                "team_id": revision.team_id,
                "project_id": revision.project_id,
                "faiss_id": first_id + index,
                "doc_id": revision.doc_id,
                "revision": revision.revision,
                "chunk_index": index,
                "text": span.text,
                "header": head,
                "section": " > ".join(span.section) or None,
                "chunk_hash": hashlib.sha256(span.text.encode()).hexdigest(),
                "embed_hash": key,
                "chunk_metadata": metadata[index],
                "page_start": span.page_start,
                "page_end": span.page_end,
                "char_start": span.start,
                "char_end": span.end,
                "token_count": span.token_count,
                "live_seq": live_seq,
            }
        )
    return rows
