"""pgvector: a row per live chunk, written by the transaction that publishes it and deleted by the one that hides it.

So committed chunks are searchable at once, without a tail. The partition's row records up to which publication the
table is complete: after some time under another store, or a restored backup, searches read the embeddings themselves
until a rebuild has corrected the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import ceil
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Table, and_, delete, select, text, update
from sqlalchemy.orm import Session

from database.batching import batched
from database.dialects import insert_or_ignore
from database.engine import Database
from domain import BuildResult, ChunkContent, Hit, Ids, Partition, Vectors
from engines.follower import Advance
from engines.vectors.base import Growth, Hits, WithoutFiles
from engines.vectors.graphs import Graph, ensure_graph, graph_of
from engines.vectors.searching import keep_allowed, nearest, nearest_by_graph, nearest_of, search_database
from errors import DatabaseUnavailable
from models import Chunk, Embedding, IndexRow, Project, VectorRow, utc_now
from snapshot import (
    Snapshot,
    count_differing,
    is_live,
    lacks_vectors,
    live_difference,
    live_vectors,
    row_of,
    stored_vectors,
)

ROWS_PER_STEP = 1000
SPARE_FACTOR = 2
ROWS_PER_LOOKUP = 6  # looking up a row by key costs as much as scanning this many rows
LOOKUPS_PER_PROPOSAL = 2  # and a candidate of the graph costs as much as this many look-ups
OLDEST_EXTENSION = (0, 8)
BEHIND = "The table of vectors is behind the database: searches read the database's own vectors until the rebuild."


class TableStore(WithoutFiles):
    """Searches partitions of up to *exact_up_to* vectors exactly, larger ones along their version's graph."""

    folder = None

    def __init__(self, database: Database, *, exact_up_to: int, prefers_half: bool = False) -> None:
        self.follower = self
        self.database = database
        self.exact_up_to = exact_up_to
        self.prefers_half = prefers_half

    @contextmanager
    def open_partition(self, key: Partition, dimension: int) -> Iterator[OpenTable]:
        yield OpenTable(self, self.graph(key, dimension))

    def require_ready(self) -> None:
        self._extension_version()

    @property
    def held_bytes(self) -> int:
        return 0  # Postgres holds them

    def describe(self) -> str:
        return f"pgvector {self._extension_version()}"

    def is_dirty(self, snapshot: Snapshot) -> bool:
        return is_behind(snapshot)

    def is_rebuild_due(self, growth: Growth) -> bool:
        """When the partition grew beyond exact search: its graph may not exist yet."""
        return growth.live_chunks > self.exact_up_to >= growth.built_chunks

    def follow(self, advance: Advance) -> None:
        """A row that is behind stays behind: missed publications are not repeated."""
        if advance.publications:
            is_current = IndexRow.vectors_seq == advance.previous_seq
            for key in _partitions(advance.project):
                row = update(IndexRow).where(row_of(key), is_current)
                advance.session.execute(row.values(vectors_seq=advance.project.seq))

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        for key in _partitions(project):
            for batch in batched(chunks, ROWS_PER_STEP):
                _insert(session, key, _look_up_vectors(session, key, batch))

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        for key in _partitions(project):
            for batch in batched(ids, ROWS_PER_STEP):
                session.execute(delete(_VECTORS).where(_in_partition(key), _VECTORS.c.faiss_id.in_(batch)))

    def current_build(self, key: Partition) -> BuildResult | None:
        with self.database.read() as session:
            project = session.get_one(Project, (key.team_id, key.project_id))
            index = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
            if index is None or index.changes or index.problem or is_behind(Snapshot(project, index)):
                return None
            graph = self.graph(key, index.dimension)
            lacks_graph = project.live_chunks > self.exact_up_to and graph and not graph.exists(session)
            if lacks_graph or any(map(len, _difference(session, key, project.seq))):
                return None
            return _built(project, index.dimension)

    def build(
        self, key: Partition, dimension: int, *, check: Callable[[], None], is_anew: bool = False  # noqa: ARG002
    ) -> BuildResult | None:  # fmt: skip
        """Insert missing rows in batches, then create the graph. take_over() applies what changes meanwhile."""
        with self.database.read() as session:
            project = session.get_one(Project, (key.team_id, key.project_id))
            missing, _ = _difference(session, key, project.seq)
        if len(missing) > ROWS_PER_STEP:
            self._update_statistics()
        with self.database.read() as session:
            if lacks_vectors(session, key):
                return None
        for batch in batched(missing.tolist(), ROWS_PER_STEP):
            check()
            with self.database.write() as session:
                locked = session.get_one(Project, (key.team_id, key.project_id), with_for_update=True)
                is_still_live = and_(Chunk.faiss_id.in_(batch), is_live(locked.seq))
                _insert(session, key, stored_vectors(session, key, is_still_live))
        graph = self.graph(key, dimension)
        if graph is not None and project.live_chunks > self.exact_up_to:
            ensure_graph(self.database, graph, check=check)
        return _built(project, dimension)

    def take_over(self, session: Session, project: Project, version: str, built: BuildResult) -> None:
        """Under the lock of the project's row, make the table equal to the database.

        The row no longer names a checkpoint file: it would be older than the row says.
        """
        key = Partition(project.team_id, project.id, version)
        missing, extra = _difference(session, key, project.seq)
        for batch in batched(extra.tolist(), ROWS_PER_STEP):
            session.execute(delete(_VECTORS).where(_in_partition(key), _VECTORS.c.faiss_id.in_(batch)))
        for batch in batched(missing.tolist(), ROWS_PER_STEP):
            _insert(session, key, stored_vectors(session, key, Chunk.faiss_id.in_(batch)))
        session.execute(insert_or_ignore(session, IndexRow).values(**asdict(key), dimension=built.dimension))
        cleared: dict[str, Any] = {"faiss_path": None, "checksum": None, "changes": 0, "problem": None}
        counters = {"covered_seq": project.seq, "vectors_seq": project.seq, "ntotal": project.live_chunks}
        session.execute(update(IndexRow).where(row_of(key)).values(**cleared, **counters, updated_at=utc_now()))

    def forget(self, session: Session, key: Partition) -> None:
        session.execute(delete(_VECTORS).where(_in_partition(key)))
        session.execute(delete(IndexRow).where(row_of(key)))

    def sweep(self, key: Partition, built: BuildResult | None = None) -> None:
        """Nothing to do: there are no files, and rows of a version that does not serve help its next rebuild."""

    def problems(self, session: Session, snapshot: Snapshot, live: Ids) -> Iterator[str]:
        if is_behind(snapshot):
            return
        query = select(_VECTORS.c.faiss_id, _VECTORS.c.embedding).where(_in_partition(snapshot.key))
        rows = session.execute(query.order_by(_VECTORS.c.faiss_id)).all()
        row_ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        if not np.array_equal(row_ids, live):
            missing, extra = np.setdiff1d(live, row_ids), np.setdiff1d(row_ids, live)
            yield f"The table of vectors misses {len(missing)} live chunks and holds {len(extra)} that are not live."
        actual = np.array([row[1] for row in rows], np.float32).reshape(len(rows), snapshot.index.dimension)
        if count := count_differing(actual, live_vectors(session, snapshot)[1]):
            yield f"{count} vectors in the table of vectors differ from the database's."

    def unwritten(self, session: Session, snapshot: Snapshot) -> Iterator[str]:
        if is_behind(snapshot):
            yield BEHIND
        graph = self.graph(snapshot.key, snapshot.index.dimension)
        if graph is not None and snapshot.project.live_chunks > self.exact_up_to and not graph.exists(session):
            yield f"The index {graph.name} is not there, so searches read every row; a rebuild creates it."

    def graph(self, key: Partition, dimension: int) -> Graph | None:
        return graph_of(key.embedding_version, dimension, prefers_half=self.prefers_half)

    def _update_statistics(self) -> None:
        """So many missing rows suggest a restored backup: without statistics, and until autovacuum runs, Postgres reads
        a tenant's vectors once per chunk. Has no effect for a user without the right.
        """
        with self.database.write() as session:
            session.execute(text("ANALYZE (SKIP_LOCKED) chunks, embeddings"))

    def _extension_version(self) -> str:
        with self.database.read() as session:
            version: str | None = session.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
        if version is None:
            raise DatabaseUnavailable(
                "The database has no extension vector (pgvector): an administrator runs in it CREATE EXTENSION vector;"
            )
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_EXTENSION:
            raise DatabaseUnavailable(
                f"The database has pgvector {version}, and 0.8 is needed: an administrator installs a newer one on the "
                "server of the database and runs in this database: ALTER EXTENSION vector UPDATE;"
            )
        return version


class OpenTable:
    """The partition's rows at the snapshot. *graph* is that of its version and may not exist yet."""

    def __init__(self, store: TableStore, graph: Graph | None) -> None:
        self.store = store
        self.graph = graph

    def catch_up(self, session: Session, snapshot: Snapshot) -> str | None:
        self.session, self.snapshot = session, snapshot
        return BEHIND if is_behind(snapshot) and snapshot.index.problem is None else None

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Hits:
        session, snapshot, count = self.session, self.snapshot, self.snapshot.project.live_chunks
        k = min(k, count if allowed is None else len(allowed))
        if k == 0 or count == 0:
            return Hits([[] for _ in queries], is_exact=True)
        if is_behind(snapshot):
            return Hits(search_database(session, snapshot, queries, k, allowed), is_exact=True)
        graph = self.graph
        if count <= self.store.exact_up_to or graph is None or not graph.exists(session):
            graph = None
        results = [_search_rows(session, snapshot, graph, query, k, allowed) for query in queries]
        return Hits([hits for hits, _ in results], is_exact=all(is_exact for _, is_exact in results))

    def similarities(self, query: NDArray[np.float32], ids: Ids) -> dict[int, float]:
        if not len(ids):
            return {}
        if is_behind(self.snapshot):
            [hits] = search_database(self.session, self.snapshot, query[None, :], len(ids), ids)
        else:
            hits = nearest_of(self.session, self.snapshot.key, query, ids, k=len(ids))
        return dict(hits)


def is_behind(snapshot: Snapshot) -> bool:
    """Whether the table misses publications, so that it cannot be searched before a rebuild."""
    return snapshot.index.vectors_seq != snapshot.project.seq


def _built(project: Project, dimension: int) -> BuildResult:
    return BuildResult(covered_seq=project.seq, ntotal=project.live_chunks, dimension=dimension)


def _search_rows(
    session: Session, snapshot: Snapshot, graph: Graph | None, query: NDArray[np.float32], k: int, allowed: Ids | None
) -> tuple[list[Hit], bool]:
    """The hits, and whether they are exact. Few allowed rows are all compared.

    With many, more than *k* candidates are fetched so that enough of them are allowed; if not, all are compared.
    """
    count = snapshot.project.live_chunks
    share = 1.0 if allowed is None else min(len(allowed) / count, 1.0)
    proposed = ceil(SPARE_FACTOR * k / share)
    most_compared = count / ROWS_PER_LOOKUP if graph is None else LOOKUPS_PER_PROPOSAL * proposed
    if allowed is not None and len(allowed) <= most_compared:
        return nearest_of(session, snapshot.key, query, allowed, k=k), True
    if graph is None:
        hits = nearest(session, snapshot.key, query, k=proposed)
    else:
        hits = nearest_by_graph(session, snapshot.key, graph, query, limit=proposed)
    hits = keep_allowed(hits, allowed)[:k]
    if len(hits) == k:
        return hits, graph is None
    if allowed is None:
        return nearest(session, snapshot.key, query, k=k), True
    return nearest_of(session, snapshot.key, query, allowed, k=k), True


_VECTORS = cast(Table, VectorRow.__table__)

_INSERT = text(
    "INSERT INTO vectors (team_id, project_id, embedding_version, faiss_id, embedding) "
    "SELECT :team_id, :project_id, :version, id, CAST(embedding AS vector) "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:embeddings AS text[])) AS rows (id, embedding) ON CONFLICT DO NOTHING"
)


def _insert(session: Session, key: Partition, rows: Iterable[tuple[int, bytes]]) -> None:
    """One statement for all rows. The text form of a float32 is exact: Postgres reads the same number."""
    values = [(faiss_id, str(np.frombuffer(vector, "<f4").tolist())) for faiss_id, vector in rows]
    if values:
        ids, embeddings = map(list, zip(*values, strict=True))
        parameters = {"team_id": key.team_id, "project_id": key.project_id, "version": key.embedding_version}
        session.execute(_INSERT, {**parameters, "ids": ids, "embeddings": embeddings})


def _look_up_vectors(session: Session, key: Partition, chunks: Sequence[ChunkContent]) -> Iterator[tuple[int, bytes]]:
    """The ids of the chunks and their vectors.

    Looks vectors up by key: without statistics, Postgres would join by scanning the whole version for each chunk.
    """
    in_version = and_(Embedding.team_id == key.team_id, Embedding.embedding_version == key.embedding_version)
    query = select(Embedding.embed_hash, Embedding.vector).where(in_version)
    hashes = {chunk.embed_hash for chunk in chunks}
    vectors = {
        embed_hash: vector for embed_hash, vector in session.execute(query.where(Embedding.embed_hash.in_(hashes)))
    }
    return ((chunk.faiss_id, vectors[chunk.embed_hash]) for chunk in chunks if chunk.embed_hash in vectors)


def _difference(session: Session, key: Partition, seq: int) -> tuple[Ids, Ids]:
    """The live chunks that have no row, and the rows whose chunk is not live."""
    row_ids = select(_VECTORS.c.faiss_id).where(_in_partition(key))
    return live_difference(session, (key.team_id, key.project_id), seq, row_ids)


def _in_partition(key: Partition) -> ColumnElement[bool]:
    return and_(
        _VECTORS.c.team_id == key.team_id,
        _VECTORS.c.project_id == key.project_id,
        _VECTORS.c.embedding_version == key.embedding_version,
    )


def _partitions(project: Project) -> Iterator[Partition]:
    """Those that every publication reaches."""
    for version in project.indexed_versions:
        yield Partition(project.team_id, project.id, version)
