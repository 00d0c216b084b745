"""The questions to the table of vectors: row by row, some rows alone, and along a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from domain import Hit, Ids, Partition
from engines.vectors.graphs import Graph

SEARCH_DEPTH = 200
MOST_DEPTH = 1000  # pgvector's own limit

_IN_PARTITION = "team_id = :team_id AND project_id = :project_id AND embedding_version = :version"
_SELECT = "SELECT faiss_id, embedding <=> CAST(:query AS vector) AS distance FROM vectors"
_IN_ORDER = "ORDER BY distance, faiss_id LIMIT :k"
_NEAREST = text(f"{_SELECT} WHERE {_IN_PARTITION} {_IN_ORDER}")
_NEAREST_OF = text(f"{_SELECT} WHERE {_IN_PARTITION} AND faiss_id = ANY(CAST(:allowed AS bigint[])) {_IN_ORDER}")
# The strict order throws away what it finds late, which under a filter are near ones: here they are sorted after.
# Without the last setting Postgres may think that sorting the partition costs less, at any price of the graph.
ALONG_GRAPH = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), "
    "set_config('hnsw.ef_search', CAST(:depth AS text), true), set_config('enable_sort', 'off', true)"
)
_AS_BEFORE = text("SELECT set_config('enable_sort', 'on', true)")


def nearest(session: Session, key: Partition, query: NDArray[np.float32], *, k: int) -> list[Hit]:
    """Exact: no index has this expression, so the partition's rows are found by their key and sorted."""
    rows = session.execute(_NEAREST, {**_place(key), "query": _written(query), "k": k})
    return [Hit(row.faiss_id, 1 - row.distance) for row in rows]


def nearest_of(session: Session, key: Partition, query: NDArray[np.float32], allowed: Ids, *, k: int) -> list[Hit]:
    """Exact: each of the *allowed* rows is found by its key."""
    told = {"query": _written(query), "allowed": allowed.tolist(), "k": k}
    rows = session.execute(_NEAREST_OF, {**_place(key), **told})
    return [Hit(row.faiss_id, 1 - row.distance) for row in rows]


def nearest_by_graph(
    session: Session, key: Partition, graph: Graph, query: NDArray[np.float32], *, proposed: int
) -> list[Hit]:
    """Goes on along the graph until so many rows of the partition are *proposed*, or pgvector's limit of a scan is met.

    The whole vectors decide their order: the graph's is another one, and not always as precise.
    """
    session.execute(ALONG_GRAPH, {"depth": min(max(SEARCH_DEPTH, 2 * proposed), MOST_DEPTH)})
    rows = session.execute(text(question(graph)), {**_place(key), "query": _written(query), "k": proposed}).all()
    session.execute(_AS_BEFORE)
    hits = [Hit(row.faiss_id, 1 - row.distance) for row in rows]
    return sorted(hits, key=lambda hit: (-hit.score, hit.faiss_id))


def among(hits: list[Hit], allowed: Ids | None) -> list[Hit]:
    """Those that are *allowed*."""
    if allowed is None or not hits:
        return hits
    ids = np.array([hit.faiss_id for hit in hits], np.int64)
    is_allowed = allowed[np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)] == ids
    return [hits[place] for place in np.flatnonzero(is_allowed)]


def question(graph: Graph) -> str:
    """The statement, in whose words Postgres recognizes the graph's index."""
    return (
        f"{_SELECT} WHERE {_IN_PARTITION} AND {graph.condition} "
        f"ORDER BY {graph.expression} <=> CAST(:query AS {graph.type}) LIMIT :k"
    ).replace("::", r"\:\:")


def _place(key: Partition) -> dict[str, object]:
    return {"team_id": key.team_id, "project_id": key.project_id, "version": key.embedding_version}


def _written(vector: NDArray[np.float32]) -> str:
    return str(vector.tolist())
