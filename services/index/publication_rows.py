"""The statements of a publication: numbers, chunks that appear and disappear, and what is counted of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, delete, literal_column, select, update

from database.prepared import PreparedStatement, attributes_of, is_among
from models import Chunk, Doc, IndexRow, Job, Project, Revision, RevisionStatus, Team


def in_project(table: type[Chunk | Doc | Revision]) -> ColumnElement[bool]:
    return and_(table.team_id == bindparam("the_team"), table.project_id == bindparam("the_project"))


PROJECT_NAMES = attributes_of(Project)
TAKING = (
    update(Project)
    .where(Project.team_id == bindparam("the_team"), Project.id == bindparam("the_project"))
    .values(
        seq=Project.seq + bindparam("publications", type_=BigInteger()),
        next_faiss_id=Project.next_faiss_id + bindparam("chunks", type_=BigInteger()),
    )
    .returning(Project)
)
TEAM_IN_TURN = select(Team.id).where(Team.id == bindparam("the_team")).with_for_update().subquery()
TAKE_NUMBERS = PreparedStatement(TAKING)
TAKE_NUMBERS_IN_TURN = PreparedStatement(TAKING.where(Project.team_id == TEAM_IN_TURN.c.id))
# Joins the docs: with live_seq and dead_seq as conditions, SQLite would scan the whole project.
LIVE_CHUNKS = PreparedStatement(
    select(Chunk.faiss_id)
    .join(
        Doc,
        and_(
            Chunk.team_id == Doc.team_id,
            Chunk.project_id == Doc.project_id,
            Chunk.doc_id == Doc.doc_id,
            Chunk.revision == Doc.live_revision,
        ),
    )
    .where(in_project(Doc), is_among(Doc.doc_id, "doc_ids"))
)
KILL_CHUNKS = PreparedStatement(
    update(Chunk)
    .where(in_project(Chunk), is_among(Chunk.faiss_id, "faiss_ids"))
    .values(dead_seq=bindparam("the_seq"), deleted_at=bindparam("now"))
)
# By the ids: with ranges of them SQLite would scan the whole project.
SHOW_CHUNKS = PreparedStatement(
    update(Chunk)
    .where(in_project(Chunk), is_among(Chunk.faiss_id, "faiss_ids"))
    .values(live_seq=bindparam("the_seq"))
    .returning(Chunk.faiss_id, Chunk.embed_hash, Chunk.text, Chunk.header)
)
RETIRE = PreparedStatement(
    update(Revision)
    .where(in_project(Revision), is_among(Revision.doc_id, "doc_ids"), Revision.status == RevisionStatus.LIVE)
    .values(status=RevisionStatus.RETIRED)
    .returning(Revision.byte_count)
)
# With a literal, by which SQLite recognises the index of the jobs that wait.
WAITING_REBUILD = PreparedStatement(
    select(Job.job_id).where(
        Job.team_id == bindparam("the_team"),
        Job.project_id == bindparam("the_project"),
        Job.dedupe_key == bindparam("job_key"),
        Job.status == literal_column("'pending'"),
    )
)
SUPERSEDE = PreparedStatement(
    update(Revision)
    .where(in_project(Revision), is_among(Revision.doc_id, "doc_ids"), Revision.status == RevisionStatus.PENDING)
    .values(status=RevisionStatus.SUPERSEDED)
)
DELETE_CHUNKS = PreparedStatement(
    delete(Chunk).where(in_project(Chunk), is_among(Chunk.doc_id, "doc_ids"), (Chunk.live_seq + 0).is_(None))
)
COUNT_CHANGES = PreparedStatement(
    update(IndexRow)
    .where(
        IndexRow.team_id == bindparam("the_team"),
        IndexRow.project_id == bindparam("the_project"),
        IndexRow.embedding_version == bindparam("version"),
    )
    .values(changes=IndexRow.changes + bindparam("more", type_=BigInteger()))
    .returning(IndexRow.changes, IndexRow.ntotal)
)
