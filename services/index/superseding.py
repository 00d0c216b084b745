"""What of a document was never live, and goes when something newer replaces it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, bindparam, delete, update
from sqlalchemy.orm import Session

from database.batching import batched
from database.prepared import PreparedStatement, is_among
from models import Chunk, Doc, Project, Revision, RevisionStatus

DOCS_PER_QUERY = 128


def supersede(session: Session, project: Project, docs: Sequence[Doc]) -> None:
    """Drop what of the docs was never live, since newer revisions or a deletion replace it: pending revisions, and the
    chunks of failed ones. Only the newest revision of a doc can have such.
    """
    doc_ids = [doc.doc_id for doc in docs if doc.live_revision != doc.revision]
    for batch in batched(doc_ids, DOCS_PER_QUERY):
        parameters = {"the_team": project.team_id, "the_project": project.id, "doc_ids": batch}
        _SUPERSEDE.rows(session, parameters)
        _DELETE_CHUNKS.rows(session, parameters)


def _in_project(table: type[Chunk | Revision]) -> ColumnElement[bool]:
    return and_(table.team_id == bindparam("the_team"), table.project_id == bindparam("the_project"))


_SUPERSEDE = PreparedStatement(
    update(Revision)
    .where(_in_project(Revision), is_among(Revision.doc_id, "doc_ids"), Revision.status == RevisionStatus.PENDING)
    .values(status=RevisionStatus.SUPERSEDED)
)
_DELETE_CHUNKS = PreparedStatement(
    delete(Chunk).where(_in_project(Chunk), is_among(Chunk.doc_id, "doc_ids"), (Chunk.live_seq + 0).is_(None))
)
