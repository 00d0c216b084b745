"""pgvector: a row for each live chunk, written by the transaction that publishes it, deleted by the one that hides it.

So what is committed is searchable, without a tail. The partition's row says up to which publication the table
follows it: after a time under another store, or a restored backup, the database's own vectors are searched
instead until a rebuild has made the rows right.
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
from domain import Built, ChunkContent, Hit, Ids, Partition, Vectors
from engines.vectors.base import Growth, Hits
from engines.vectors.graphs import Graph, ensure, graph_of
from engines.vectors.searching import among, nearest, nearest_by_graph, nearest_of
from errors import DatabaseUnavailable
from models import Chunk, Embedding, IndexRow, Project, VectorRow, utc_now
from snapshot import Snapshot, difference, differing, is_live, lacks_vectors, live_vectors, row_of, stored

ROWS_PER_STEP = 1000
SPARE_FACTOR = 2
ROWS_PER_LOOKUP = 6  # a row that is found by its key costs what reading so many of the partition's costs
LOOKUPS_PER_PROPOSAL = 2  # and a proposal of the graph costs that many rows that are found by their key
OLDEST_EXTENSION = (0, 8)
BEHIND = "The table of vectors is behind the database: searches read the database's own vectors until the rebuild."


class TableStore:
    """Partitions of up to *exact_up_to* vectors are searched row by row, larger ones by their version's graph."""

    folder = None

    def __init__(self, database: Database, *, exact_up_to: int, prefers_half: bool = False) -> None:
        self.follower = self
        self.database = database
        self.exact_up_to = exact_up_to
        self.prefers_half = prefers_half

    @contextmanager
    def opened(self, key: Partition, dimension: int) -> Iterator[OpenTable]:
        yield OpenTable(self, self.graph(key, dimension))

    def require_ready(self) -> None:
        self._extension_version()

    def describe(self) -> str:
        return f"pgvector {self._extension_version()}"

    def is_dirty(self, seen: Snapshot) -> bool:
        return is_behind(seen)

    def is_rebuild_due(self, growth: Growth) -> bool:
        """When the partition grew beyond what is searched exactly: the graph may have to be made."""
        return growth.live_chunks > self.exact_up_to >= growth.built_chunks

    def follow(self, session: Session, project: Project, *, publications: int) -> None:
        """A row that is behind stays behind: what it missed is not told again."""
        if publications:
            is_level = IndexRow.vectors_seq == project.seq - publications
            session.execute(update(IndexRow).where(row_of(_serving(project)), is_level).values(vectors_seq=project.seq))

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        key = _serving(project)
        for some in batched(chunks, ROWS_PER_STEP):
            _insert(session, key, _looked_up(session, key, some))

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        for some in batched(ids, ROWS_PER_STEP):
            session.execute(delete(_VECTORS).where(_of(_serving(project)), _VECTORS.c.faiss_id.in_(some)))

    def standing(self, key: Partition) -> Built | None:
        with self.database.read() as session:
            project = session.get_one(Project, (key.team_id, key.project_id))
            index = session.get(IndexRow, (key.team_id, key.project_id, key.embedding_version))
            if index is None or index.changes or index.problem or is_behind(Snapshot(project, index)):
                return None
            graph = self.graph(key, index.dimension)
            lacks_graph = project.live_chunks > self.exact_up_to and graph and not graph.is_there(session)
            if lacks_graph or any(map(len, _difference(session, key, project.seq))):
                return None
            return _built(project, index.dimension)

    def build(self, key: Partition, dimension: int, *, check: Callable[[], None]) -> Built | None:
        """Insert in steps what is missing, then make the graph. What changes meanwhile is for take_over()."""
        with self.database.read() as session:
            project = session.get_one(Project, (key.team_id, key.project_id))
            missing, _ = _difference(session, key, project.seq)
        if len(missing) > ROWS_PER_STEP:
            self._learn_sizes()
        with self.database.read() as session:
            if lacks_vectors(session, key):
                return None
        for some in batched(missing.tolist(), ROWS_PER_STEP):
            check()
            with self.database.write() as session:
                locked = session.get_one(Project, (key.team_id, key.project_id), with_for_update=True)
                _insert(session, key, stored(session, key, and_(Chunk.faiss_id.in_(some), is_live(locked.seq))))
        graph = self.graph(key, dimension)
        if graph is not None and project.live_chunks > self.exact_up_to:
            ensure(self.database, graph, check=check)
        return _built(project, dimension)

    def take_over(self, session: Session, project: Project, built: Built) -> None:
        """Under the lock of the project's row the table is made equal to the database, to the last row.

        A checkpoint's file is not named any more: it would be older than what the row says.
        """
        key = _serving(project)
        missing, extra = _difference(session, key, project.seq)
        for some in batched(extra.tolist(), ROWS_PER_STEP):
            session.execute(delete(_VECTORS).where(_of(key), _VECTORS.c.faiss_id.in_(some)))
        for some in batched(missing.tolist(), ROWS_PER_STEP):
            _insert(session, key, stored(session, key, Chunk.faiss_id.in_(some)))
        session.execute(insert_or_ignore(session, IndexRow).values(**asdict(key), dimension=built.dimension))
        told: dict[str, Any] = {"faiss_path": None, "checksum": None, "changes": 0, "problem": None}
        numbers = {"covered_seq": project.seq, "vectors_seq": project.seq, "ntotal": project.live_chunks}
        session.execute(update(IndexRow).where(row_of(key)).values(**told, **numbers, updated_at=utc_now()))

    def forget(self, session: Session, key: Partition) -> None:
        session.execute(delete(_VECTORS).where(_of(key)))
        session.execute(delete(IndexRow).where(row_of(key)))

    def sweep(self, key: Partition, built: Built | None = None) -> None:
        """There are no files. Rows of a version that does not serve are not searched: its next rebuild goes on."""

    def problems(self, session: Session, seen: Snapshot, live: Ids) -> Iterator[str]:
        if is_behind(seen):
            yield BEHIND
        key = seen.key
        query = select(_VECTORS.c.faiss_id, _VECTORS.c.embedding).where(_of(key)).order_by(_VECTORS.c.faiss_id)
        rows = session.execute(query).all()
        found = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        if not np.array_equal(found, live):
            lost, extra = np.setdiff1d(live, found), np.setdiff1d(found, live)
            yield f"The table of vectors misses {len(lost)} live chunks and holds {len(extra)} that are not live."
        held = np.array([row[1] for row in rows], np.float32).reshape(len(rows), seen.index.dimension)
        _, vectors = live_vectors(session, seen)
        if count := differing(held, vectors):
            yield f"{count} vectors in the table of vectors differ from the database's."
        graph = self.graph(key, seen.index.dimension)
        if graph is not None and len(live) > self.exact_up_to and not graph.is_there(session):
            yield f"The index {graph.name} is not there, so searches read every row; a rebuild makes it."

    def graph(self, key: Partition, dimension: int) -> Graph | None:
        return graph_of(key.embedding_version, dimension, prefers_half=self.prefers_half)

    def _learn_sizes(self) -> None:
        """So many rows may have come from a backup: without statistics Postgres reads a tenant's vectors once for
        each of its chunks, until autovacuum comes by. For a user who may not, this does nothing.
        """
        with self.database.write() as session:
            session.execute(text("ANALYZE (SKIP_LOCKED) chunks, embeddings"))

    def _extension_version(self) -> str:
        with self.database.read() as session:
            found: str | None = session.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
        if found is None:
            raise DatabaseUnavailable(
                "The database has no extension vector (pgvector): an administrator runs in it CREATE EXTENSION vector;"
            )
        if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_EXTENSION:
            raise DatabaseUnavailable(
                f"The database has pgvector {found}, and 0.8 is needed: an administrator installs a newer one on the "
                "server of the database and runs in this database: ALTER EXTENSION vector UPDATE;"
            )
        return found


class OpenTable:
    """The partition's rows, as the snapshot sees them. *graph* is its version's, which may not be there yet."""

    def __init__(self, store: TableStore, graph: Graph | None) -> None:
        self.store = store
        self.graph = graph

    def catch_up(self, session: Session, seen: Snapshot) -> str | None:
        self.session, self.seen = session, seen
        return BEHIND if is_behind(seen) and seen.index.problem is None else None

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Hits:
        session, seen, count = self.session, self.seen, self.seen.project.live_chunks
        k = min(k, count if allowed is None else len(allowed))
        if k == 0 or count == 0:
            return Hits([[] for _ in queries], is_exact=True)
        if is_behind(seen):
            return Hits(_search_truth(session, seen, queries, k, allowed), is_exact=True)
        graph = self.graph
        if count <= self.store.exact_up_to or graph is None or not graph.is_there(session):
            graph = None
        results = [_search_rows(session, seen, graph, query, k, allowed) for query in queries]
        return Hits([hits for hits, _ in results], is_exact=all(is_exact for _, is_exact in results))


def is_behind(seen: Snapshot) -> bool:
    """The table has not followed every publication: it is not searched before a rebuild."""
    return seen.index.vectors_seq != seen.project.seq


def _built(project: Project, dimension: int) -> Built:
    return Built(covered_seq=project.seq, ntotal=project.live_chunks, dimension=dimension)


def _search_rows(
    session: Session, seen: Snapshot, graph: Graph | None, query: NDArray[np.float32], k: int, allowed: Ids | None
) -> tuple[list[Hit], bool]:
    """The hits, and whether that is exact. Of few allowed rows each is compared.

    Of many, more rows are proposed than are wanted, so that enough are allowed; else each is compared after all.
    """
    count = seen.project.live_chunks
    share = 1.0 if allowed is None else min(len(allowed) / count, 1.0)
    proposed = ceil(SPARE_FACTOR * k / share)
    most_compared = count / ROWS_PER_LOOKUP if graph is None else LOOKUPS_PER_PROPOSAL * proposed
    if allowed is not None and len(allowed) <= most_compared:
        return nearest_of(session, seen.key, query, allowed, k=k), True
    if graph is None:
        hits = nearest(session, seen.key, query, k=proposed)
    else:
        hits = nearest_by_graph(session, seen.key, graph, query, proposed=proposed)
    hits = among(hits, allowed)[:k]
    if len(hits) == k:
        return hits, graph is None
    if allowed is None:
        return nearest(session, seen.key, query, k=k), True
    return nearest_of(session, seen.key, query, allowed, k=k), True


def _search_truth(session: Session, seen: Snapshot, queries: Vectors, k: int, allowed: Ids | None) -> list[list[Hit]]:
    ids, vectors = live_vectors(session, seen)
    if allowed is not None:
        is_allowed = np.isin(ids, allowed, assume_unique=True)
        ids, vectors = ids[is_allowed], vectors[is_allowed]
    scores = queries @ vectors.T
    best = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=-1)[:, :k]
    return [
        [Hit(int(ids[place]), float(row[place])) for place in places] for row, places in zip(scores, best, strict=True)
    ]


_VECTORS = cast(Table, VectorRow.__table__)

_INSERT = text(
    "INSERT INTO vectors (team_id, project_id, embedding_version, faiss_id, embedding) "
    "SELECT :team_id, :project_id, :version, id, CAST(embedding AS vector) "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:embeddings AS text[])) AS rows (id, embedding) ON CONFLICT DO NOTHING"
)


def _insert(session: Session, key: Partition, rows: Iterable[tuple[int, bytes]]) -> None:
    """One statement for all. Python writes a float32 so that Postgres reads the same one."""
    told = [(number, str(np.frombuffer(vector, "<f4").tolist())) for number, vector in rows]
    if told:
        ids, embeddings = map(list, zip(*told, strict=True))
        place = {"team_id": key.team_id, "project_id": key.project_id, "version": key.embedding_version}
        session.execute(_INSERT, {**place, "ids": ids, "embeddings": embeddings})


def _looked_up(session: Session, key: Partition, chunks: Sequence[ChunkContent]) -> Iterator[tuple[int, bytes]]:
    """The ids of some chunks, and their vectors.

    By the vectors' key: without statistics Postgres joins by going through all of the version's for each chunk.
    """
    in_version = and_(Embedding.team_id == key.team_id, Embedding.embedding_version == key.embedding_version)
    query = select(Embedding.embed_hash, Embedding.vector).where(in_version)
    hashes = {chunk.embed_hash for chunk in chunks}
    vectors = {digest: vector for digest, vector in session.execute(query.where(Embedding.embed_hash.in_(hashes)))}
    return ((chunk.faiss_id, vectors[chunk.embed_hash]) for chunk in chunks if chunk.embed_hash in vectors)


def _difference(session: Session, key: Partition, seq: int) -> tuple[Ids, Ids]:
    """The live chunks that have no row, and the rows whose chunk is not live."""
    return difference(session, (key.team_id, key.project_id), seq, select(_VECTORS.c.faiss_id).where(_of(key)))


def _of(key: Partition) -> ColumnElement[bool]:
    return and_(
        _VECTORS.c.team_id == key.team_id,
        _VECTORS.c.project_id == key.project_id,
        _VECTORS.c.embedding_version == key.embedding_version,
    )


def _serving(project: Project) -> Partition:
    return Partition(project.team_id, project.id, project.embedding_version)
