"""Reads a partition from the database: its rows at one snapshot, its live chunks, their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, exists, or_, select
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement, attributes_of
from domain import ChunkContent, Ids, Partition, Vectors
from models import Chunk, Embedding, IndexRow, Project, Team

ROWS_PER_PART = 2000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A namespace's rows as one read transaction sees them, and their values as read_snapshot() compares them.

    *index* is of the version that serves, or of another one that is complete (version_snapshot()). *project* is whose
    chunks are searched: the namespace's row, or that of a mirror, whose *owner* then is the namespace's row.
    """

    project: Project
    index: IndexRow
    values: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    owner: Project | None = None

    @property
    def namespace(self) -> Project:
        """What has the namespace's name, jobs, versions and shadow."""
        return self.owner or self.project

    @property
    def key(self) -> Partition:
        return Partition(self.project.team_id, self.project.id, self.index.embedding_version)


def read_snapshot(
    session: Session, tenant_id: str, namespace: str, *, known: Snapshot | None = None
) -> Snapshot | None:
    """The rows of the namespace and its index, by one query; None if it does not exist. By two, if a mirror serves.

    They belong to no session. Returns *known*, an earlier snapshot of the namespace, if it is still the same.
    """
    rows = _SNAPSHOT.rows(session, {"tenant_id": tenant_id, "namespace": namespace})
    if not rows:
        return None
    [values] = rows
    mirror_id = values[_SERVING_MIRROR]
    if mirror_id is not None:
        [mirror] = _MIRROR.rows(session, {"the_team": values[_TEAM_ID], "the_project": mirror_id})
        values = (*values, *mirror)
    if known is not None and known.values == values:
        return known
    owner, index = _rows_of(values)
    return Snapshot(owner, index, values) if mirror_id is None else Snapshot(*_rows_of(mirror), values, owner)


def version_snapshot(session: Session, current: Snapshot, version: str, *, chunks_of: int | None = None) -> Snapshot:
    """The namespace of *current*, a snapshot of this transaction, under another of its versions that are complete.

    *chunks_of* is the project whose chunks are searched; None: the namespace itself.
    """
    owner = current.namespace
    chunks_of = owner.id if chunks_of is None else chunks_of
    if (chunks_of, version) == (current.project.id, current.key.embedding_version):
        return current
    key = {"the_team": owner.team_id, "the_project": chunks_of}
    if chunks_of != owner.id:
        [values] = _MIRROR.rows(session, key)
        return Snapshot(*_rows_of(values), (*current.values, *values), owner)
    [values] = _INDEX_ROW.rows(session, {**key, "version": version})
    return Snapshot(owner, IndexRow(**dict(zip(_INDEX_NAMES, values, strict=True))), (*current.values, *values))


def _rows_of(values: Sequence[Any]) -> tuple[Project, IndexRow]:
    count = len(_PROJECT_NAMES)
    index = dict(zip(_INDEX_NAMES, values[count : count + len(_INDEX_NAMES)], strict=True))
    return Project(**dict(zip(_PROJECT_NAMES, values[:count], strict=True))), IndexRow(**index)


_PROJECT_NAMES, _INDEX_NAMES = attributes_of(Project), attributes_of(IndexRow)
_TEAM_ID, _SERVING_MIRROR = _PROJECT_NAMES.index("team_id"), _PROJECT_NAMES.index("serving_mirror")
_IS_CURRENT = and_(
    IndexRow.team_id == Project.team_id,
    IndexRow.project_id == Project.id,
    IndexRow.embedding_version == Project.embedding_version,
)
_SNAPSHOT = PreparedStatement(
    select(Project, IndexRow)
    .join(Team, Team.id == Project.team_id)
    .join(IndexRow, _IS_CURRENT)
    .where(Team.name == bindparam("tenant_id"), Project.name == bindparam("namespace"), Project.mirror_of.is_(None))
)
_MIRROR = PreparedStatement(
    select(Project, IndexRow)
    .join(IndexRow, _IS_CURRENT)
    .where(Project.team_id == bindparam("the_team"), Project.id == bindparam("the_project"))
)
_INDEX_ROW = PreparedStatement(
    select(IndexRow).where(
        IndexRow.team_id == bindparam("the_team"),
        IndexRow.project_id == bindparam("the_project"),
        IndexRow.embedding_version == bindparam("version"),
    )
)


def live_vectors(session: Session, snapshot: Snapshot) -> tuple[Ids, Vectors]:
    """The ids of all live chunks at the snapshot, ascending, and their vectors."""
    return vectors_of(session, snapshot.key, is_live(snapshot.project.seq), snapshot.index.dimension)


def vectors_of(session: Session, key: Partition, condition: ColumnElement[bool], dimension: int) -> tuple[Ids, Vectors]:
    """The ids of the selected chunks of the partition, ascending, and their vectors, shape ``(n, dimension)``."""
    return _in_columns(stored_vectors(session, key, condition), dimension)


def vectors_in_parts(
    session: Session, key: Partition, condition: ColumnElement[bool], dimension: int
) -> Iterator[tuple[Ids, Vectors]]:
    """As vectors_of(), some thousand rows at a time; at least one part, which may be empty."""
    result = session.execute(_stored(key, condition), execution_options={"yield_per": ROWS_PER_PART})
    is_first = True
    for part in result.partitions():
        yield _in_columns([(row[0], row[1]) for row in part], dimension)
        is_first = False
    if is_first:
        yield _in_columns([], dimension)


def stored_vectors(session: Session, key: Partition, condition: ColumnElement[bool]) -> list[tuple[int, bytes]]:
    """As vectors_of(), with the vectors as the database stores them."""
    return [(row[0], row[1]) for row in session.execute(_stored(key, condition))]


def _stored(key: Partition, condition: ColumnElement[bool]) -> Select[int, bytes]:
    same = and_(
        Embedding.team_id == Chunk.team_id,
        Embedding.embedding_version == key.embedding_version,
        Embedding.embed_hash == Chunk.embed_hash,
    )
    return (
        select(Chunk.faiss_id, Embedding.vector)
        .join(Embedding, same)
        .where(Chunk.team_id == key.team_id, Chunk.project_id == key.project_id, condition)
        .order_by(Chunk.faiss_id)
    )


def _in_columns(rows: Sequence[tuple[int, bytes]], dimension: int) -> tuple[Ids, Vectors]:
    return np.fromiter((row[0] for row in rows), np.int64, len(rows)), to_matrix((row[1] for row in rows), dimension)


def to_matrix(vectors: Iterable[bytes], dimension: int) -> Vectors:
    """Stored vectors as float32, shape ``(n, dimension)``."""
    return np.frombuffer(b"".join(vectors), "<f4").astype(np.float32, copy=False).reshape(-1, dimension)


def count_differing(actual: Vectors, expected: Vectors) -> int:
    """The number of rows that differ; 0 for different shapes, which are a problem of their own."""
    return int((actual != expected).any(axis=1).sum()) if actual.shape == expected.shape else 0


def chunk_contents(session: Session, project: Project, condition: ColumnElement[bool]) -> list[ChunkContent]:
    """The indexed content of the selected chunks of the project, ordered by id."""
    in_project = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
    query = select(Chunk.faiss_id, Chunk.embed_hash, Chunk.text, Chunk.header).where(in_project, condition)
    return [ChunkContent(*row) for row in session.execute(query.order_by(Chunk.faiss_id))]


def ids_of(session: Session, query: Select[int]) -> Ids:
    """The only column of the query."""
    return np.fromiter(session.scalars(query), np.int64)


def live_difference(session: Session, project: tuple[int, int], seq: int, row_ids: Select[int]) -> tuple[Ids, Ids]:
    """The live chunks of a project (by its key) that have no row, and the rows whose chunk is not live.

    *row_ids* selects the ids of the rows. Compared here: without statistics, Postgres would scan one table for each
    row of the other.
    """
    in_project = (Chunk.team_id == project[0], Chunk.project_id == project[1])
    live_ids = ids_of(session, select(Chunk.faiss_id).where(*in_project, is_live(seq)))
    with_row = ids_of(session, row_ids)
    return np.setdiff1d(live_ids, with_row, assume_unique=True), np.setdiff1d(with_row, live_ids, assume_unique=True)


def is_live(at_seq: int | BindParameter[int]) -> ColumnElement[bool]:
    """Visible at that seq. The sum keeps SQLite from walking the index of live_seq through the whole project."""
    return and_(Chunk.live_seq + 0 <= at_seq, or_(Chunk.dead_seq.is_(None), Chunk.dead_seq > at_seq))


def has_vector(version: str | BindParameter[str]) -> ColumnElement[bool]:
    return exists().where(
        Embedding.team_id == Chunk.team_id,
        Embedding.embedding_version == version,
        Embedding.embed_hash == Chunk.embed_hash,
    )


def chunks_without_vector(key: Partition) -> Select[int, bytes, str, str]:
    """The partition's live chunks that have no vector of its version yet, as one transaction sees them now."""
    in_project = and_(Chunk.team_id == key.team_id, Chunk.project_id == key.project_id)
    is_visible = and_((Chunk.live_seq + 0).is_not(None), (Chunk.dead_seq + 0).is_(None))  # in the order of faiss_id
    query = select(Chunk.faiss_id, Chunk.embed_hash, Chunk.text, Chunk.header)
    return query.where(in_project, is_visible, ~has_vector(key.embedding_version))


def lacks_vectors(session: Session, key: Partition) -> bool:
    return session.execute(chunks_without_vector(key).limit(1)).first() is not None


def row_of(key: Partition) -> ColumnElement[bool]:
    return and_(
        IndexRow.team_id == key.team_id,
        IndexRow.project_id == key.project_id,
        IndexRow.embedding_version == key.embedding_version,
    )
