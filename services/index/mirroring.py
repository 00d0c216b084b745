"""Writes a namespace's mirrors: hidden namespaces that have its live documents in other chunks.

A mirror is derived from the documents, as an index is. It is written under the lock of its namespace's row, and its seq
is always one of the namespace's, so that what a search says of it never runs back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, literal_column, or_, select
from sqlalchemy.orm import Session, aliased

from database.batching import batched
from database.prepared import PreparedStatement, attached, attributes_of, inserted, is_among
from domain import ChunkContent
from models import Chunk, Doc, DocStatus, Project, Revision, RevisionStatus, utc_now

DOCS_PER_QUERY = 128

CutDocs = Mapping[str, Sequence[Mapping[str, Any]]]
"""By doc_id, the rows of a mirror's chunks, without what only their publication says."""

Cuts = Mapping[int, CutDocs]
"""By the id of the mirror."""


@dataclass(frozen=True, slots=True)
class MirrorRows:
    """The rows of documents in a mirror, which belong to no session."""

    docs: list[Doc]
    revisions: list[Revision]
    chunks: list[Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        mirror: Project,
        existing: Mapping[str, Doc],
        docs: Sequence[Doc],
        revisions: Sequence[Revision],
        cut: CutDocs,
        *,
        first_id: int,
    ) -> MirrorRows:
        rows = cls([], [], [])
        for doc, revision in zip(docs, revisions, strict=True):
            mirrored = existing.get(doc.doc_id) or _new_doc(mirror, doc)
            mirrored.revision = mirror.seq
            rows.docs.append(mirrored)
            chunks = cut[doc.doc_id]
            rows.revisions.append(_revision(mirror, revision, first_id=first_id, chunk_count=len(chunks)))
            rows.chunks.extend(_chunk(each, rows.revisions[-1], first_id + index) for index, each in enumerate(chunks))
            first_id += len(chunks)
        return rows

    @property
    def contents(self) -> list[ChunkContent]:
        return [ChunkContent(row["faiss_id"], row["embed_hash"], row["text"], row["header"]) for row in self.chunks]

    def write(self, session: Session) -> None:
        """Referenced rows first."""
        WRITE_DOCS.run_many(session, [values_of(doc, DOC_NAMES) for doc in self.docs])
        WRITE_REVISIONS.run_many(session, [values_of(revision, REVISION_NAMES) for revision in self.revisions])
        WRITE_CHUNKS.run_many(session, self.chunks)


def mirrored_docs(session: Session, mirror: Project, doc_ids: Sequence[str]) -> dict[str, Doc]:
    """The mirror's rows of the documents, deleted ones too, which belong to no session."""
    key, docs = {"the_team": mirror.team_id, "the_project": mirror.id}, {}
    for batch in batched(doc_ids, DOCS_PER_QUERY):
        for row in DOCS.rows(session, {**key, "doc_ids": batch}):
            doc = Doc(**dict(zip(DOC_NAMES, row, strict=True)))
            docs[doc.doc_id] = doc
    return docs


def read_mirror(session: Session, namespace: Project, mirror_id: int) -> Project:
    """The mirror's row as it is under the lock of its namespace's row."""
    [values] = _MIRROR.rows(session, {"the_team": namespace.team_id, "the_project": mirror_id})
    return attached(session, Project, attributes_of(Project), values)


def behind(namespace: Project, mirror_id: int, *, since: int | None = None) -> Select[Revision]:
    """Selects the live revisions that the mirror does not have as they are now; of those published after seq *since*.

    The literal lets the index of the live ones be used.
    """
    mirrored, shown = aliased(Doc), aliased(Revision)
    of_doc = and_(mirrored.team_id == Doc.team_id, mirrored.project_id == mirror_id, mirrored.doc_id == Doc.doc_id)
    is_shown = and_(
        shown.team_id == mirrored.team_id,
        shown.project_id == mirror_id,
        shown.doc_id == mirrored.doc_id,
        shown.revision == mirrored.live_revision,
    )
    is_live = and_(
        Revision.team_id == Doc.team_id,
        Revision.project_id == Doc.project_id,
        Revision.doc_id == Doc.doc_id,
        Revision.revision == Doc.live_revision,
    )
    query = select(Revision).select_from(Doc).join(Revision, is_live)
    query = query.outerjoin(mirrored, of_doc).outerjoin(shown, is_shown)
    is_behind = or_(shown.published_seq.is_(None), shown.published_seq < func.coalesce(Revision.published_seq, 0))
    query = query.where(Doc.team_id == namespace.team_id, Doc.project_id == namespace.id, is_behind)
    if since is None:
        return query
    return query.where(Revision.status == literal_column("'live'"), Revision.published_seq > since)


def mirrors_of(session: Session, namespace: Project) -> Sequence[Project]:
    """All that there are, with those of deleted versions that were not removed yet."""
    of_namespace = and_(Project.team_id == namespace.team_id, Project.mirror_of == namespace.id)
    return session.scalars(select(Project).where(of_namespace).order_by(Project.id)).all()


def hide_rows(session: Session, mirror: Project, docs: Sequence[Doc]) -> None:
    """Write what the withdrawal of these documents says. Their number is beyond every revision that they have."""
    for doc in docs:
        doc.revision, doc.deleted_at, doc.updated_at = mirror.seq, utc_now(), utc_now()
    WRITE_DOCS.run_many(session, [values_of(doc, DOC_NAMES) for doc in docs])


def values_of(row: Doc | Revision, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _new_doc(mirror: Project, doc: Doc) -> Doc:
    return Doc(
        team_id=mirror.team_id,
        project_id=mirror.id,
        doc_id=doc.doc_id,
        status=DocStatus.READY,
        created_at=doc.created_at,
    )


def _revision(mirror: Project, revision: Revision, *, first_id: int, chunk_count: int) -> Revision:
    """Has the description of the document, but not its text nor its file."""
    copied = (
        "doc_hash",
        "recipe",
        "title",
        "source_type",
        "mime_type",
        "doc_metadata",
        "has_own_chunks",
        "accepted_seq",
    )
    return Revision(
        team_id=mirror.team_id,
        project_id=mirror.id,
        doc_id=revision.doc_id,
        revision=mirror.seq,
        status=RevisionStatus.PENDING,
        chunk_count=chunk_count,
        byte_count=0,
        first_id=first_id,
        created_at=utc_now(),
        text="",
        **{name: getattr(revision, name) for name in copied},
    )


def _chunk(values: Mapping[str, Any], revision: Revision, faiss_id: int) -> Mapping[str, Any]:
    place = {"team_id": revision.team_id, "project_id": revision.project_id, "doc_id": revision.doc_id}
    state = {"revision": revision.revision, "live_seq": revision.revision, "dead_seq": None, "deleted_at": None}
    return {**values, **place, **state, "faiss_id": faiss_id, "chunk_hash": "", "created_at": revision.created_at}


DOC_NAMES, REVISION_NAMES = attributes_of(Doc), attributes_of(Revision)
DOCS = PreparedStatement(
    select(Doc).where(
        Doc.team_id == bindparam("the_team"),
        Doc.project_id == bindparam("the_project"),
        is_among(Doc.doc_id, "doc_ids"),
    )
)
WRITE_DOCS = PreparedStatement(
    inserted(Doc, replacing=("revision", "live_revision", "status", "error", "deleted_at", "updated_at"))
)
WRITE_REVISIONS, WRITE_CHUNKS = PreparedStatement(inserted(Revision)), PreparedStatement(inserted(Chunk))
_MIRROR = PreparedStatement(
    select(Project).where(Project.team_id == bindparam("the_team"), Project.id == bindparam("the_project"))
)
