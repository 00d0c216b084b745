"""Opens the vector store that a configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from database.engine import Database, DatabaseKind
from engines.vectors.base import VectorStore
from engines.vectors.checkpoints import CheckpointStore, RebuildPolicy
from engines.vectors.table import TableStore
from errors import DatabaseUnavailable
from index_building import Kinds
from index_manager import IndexManager


@dataclass(frozen=True, slots=True)
class VectorsConfig:
    """*kind* is auto, faiss or pgvector. Partitions of up to *exact_up_to* vectors are searched exactly; FAISS compares
    up to *full_up_to* of them in full precision. *recall* is of graphs.
    """

    kind: str
    index_dir: Path
    exact_up_to: int
    full_up_to: int
    recall: float
    memory_bytes: int
    rebuild_min_changes: int
    rebuild_share: float
    prefers_half: bool


def open_store(database: Database, config: VectorsConfig) -> VectorStore:
    """Raises DatabaseUnavailable if the database does not meet the store's requirements."""
    is_postgres = database.kind is DatabaseKind.POSTGRES
    if config.kind == "faiss" or (config.kind == "auto" and not is_postgres):
        kinds = Kinds(exact_up_to=config.exact_up_to, full_up_to=config.full_up_to, recall=config.recall)
        indexes = IndexManager(config.index_dir, kinds, memory_bytes=config.memory_bytes)
        policy = RebuildPolicy(min_changes=config.rebuild_min_changes, share=config.rebuild_share)
        return CheckpointStore(database, indexes, policy)
    if not is_postgres:
        raise DatabaseUnavailable(
            "VECTOR_STORE=pgvector needs a Postgres, and DATABASE_URL names a SQLite file: set VECTOR_STORE=faiss "
            "(or auto), or let DATABASE_URL name a Postgres."
        )
    store = TableStore(database, exact_up_to=config.exact_up_to, prefers_half=config.prefers_half)
    store.require_ready()
    return store
