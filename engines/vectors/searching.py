"""Queries on the table of vectors: over all rows of a partition, over some of them, and along a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from domain import Hit, Ids, Partition, Vectors
from engines.vectors.graphs import Graph
from snapshot import Snapshot, live_vectors

SEARCH_DEPTH = 200
MAX_DEPTH = 1000  # pgvector's own limit

_IN_PARTITION = "team_id = :team_id AND project_id = :project_id AND embedding_version = :version"
_SELECT = "SELECT faiss_id, embedding <=> CAST(:query AS vector) AS distance FROM vectors"
_IN_ORDER = "ORDER BY distance, faiss_id LIMIT :k"
_NEAREST = text(f"{_SELECT} WHERE {_IN_PARTITION} {_IN_ORDER}")
_NEAREST_OF = text(f"{_SELECT} WHERE {_IN_PARTITION} AND faiss_id = ANY(CAST(:allowed AS bigint[])) {_IN_ORDER}")
# Strict order would discard rows that the scan finds late, even near ones under a filter; results are sorted here.
# Without the last setting, Postgres may prefer sorting the whole partition, however cheap the graph is.
ALONG_GRAPH = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), "
    "set_config('hnsw.ef_search', CAST(:depth AS text), true), set_config('enable_sort', 'off', true)"
)
_RESET = text("SELECT set_config('enable_sort', 'on', true)")


def nearest(session: Session, key: Partition, query: NDArray[np.float32], *, k: int) -> list[Hit]:
    """Exact: no index covers this expression, so Postgres reads the partition's rows by key and sorts them."""
    rows = session.execute(_NEAREST, {**_key_parameters(key), "query": _literal(query), "k": k})
    return [(row.faiss_id, 1 - row.distance) for row in rows]


def nearest_of(session: Session, key: Partition, query: NDArray[np.float32], allowed: Ids, *, k: int) -> list[Hit]:
    """Exact: looks up each *allowed* row by its key."""
    parameters = {"query": _literal(query), "allowed": allowed.tolist(), "k": k}
    rows = session.execute(_NEAREST_OF, {**_key_parameters(key), **parameters})
    return [(row.faiss_id, 1 - row.distance) for row in rows]


def nearest_by_graph(
    session: Session, key: Partition, graph: Graph, query: NDArray[np.float32], *, limit: int
) -> list[Hit]:
    """Scans the graph for *limit* rows of the partition, or until pgvector's scan limit.

    They are reordered by the full vectors: the graph's own order may be less precise.
    """
    session.execute(ALONG_GRAPH, {"depth": min(max(SEARCH_DEPTH, 2 * limit), MAX_DEPTH)})
    rows = session.execute(
        text(graph_query(graph)), {**_key_parameters(key), "query": _literal(query), "k": limit}
    ).all()
    session.execute(_RESET)
    hits = [(row.faiss_id, 1 - row.distance) for row in rows]
    return sorted(hits, key=lambda hit: (-hit[1], hit[0]))


def search_database(
    session: Session, snapshot: Snapshot, queries: Vectors, k: int, allowed: Ids | None
) -> list[list[Hit]]:
    """Exact, from the embeddings themselves: for a table that is behind."""
    ids, vectors = live_vectors(session, snapshot)
    if allowed is not None:
        is_allowed = np.isin(ids, allowed, assume_unique=True)
        ids, vectors = ids[is_allowed], vectors[is_allowed]
    scores = queries @ vectors.T
    best = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=-1)[:, :k]
    return [
        [(int(ids[position]), float(row[position])) for position in positions]
        for row, positions in zip(scores, best, strict=True)
    ]


def keep_allowed(hits: list[Hit], allowed: Ids | None) -> list[Hit]:
    """Removes hits that are not *allowed*."""
    if allowed is None or not hits:
        return hits
    ids = np.array([faiss_id for faiss_id, _ in hits], np.int64)
    is_allowed = allowed[np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)] == ids
    return [hits[position] for position in np.flatnonzero(is_allowed)]


def graph_query(graph: Graph) -> str:
    """The statement; its expression must match the index, or Postgres does not use it."""
    return (
        f"{_SELECT} WHERE {_IN_PARTITION} AND {graph.condition} "
        f"ORDER BY {graph.expression} <=> CAST(:query AS {graph.type}) LIMIT :k"
    ).replace("::", r"\:\:")


def _key_parameters(key: Partition) -> dict[str, object]:
    return {"team_id": key.team_id, "project_id": key.project_id, "version": key.embedding_version}


def _literal(vector: NDArray[np.float32]) -> str:
    return str(vector.tolist())
