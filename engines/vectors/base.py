"""What every store of vectors promises. The database is the truth; a store only makes searching it fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from domain import BuildResult, Hit, Ids, Partition, Vectors
from engines.follower import Follower
from models import Project
from snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Hits:
    """The hits of each query, nearest first; *is_exact*: nothing nearer can have been missed."""

    per_query: list[list[Hit]]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Growth:
    """A partition beside its last rebuild: the live chunks now, the chunks then, and what changed since."""

    live_chunks: int
    built_chunks: int
    changes: int


class PartitionReader(Protocol):
    """A partition in the hands of one reader."""

    def catch_up(self, session: Session, snapshot: Snapshot) -> str | None:
        """Bring it to the snapshot, which later searches read. Returns a problem of the store that nobody reported yet;
        searches go on in spite of it.
        """
        ...

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Hits:
        """The *k* nearest live chunks of each query; fewer only if fewer are live and allowed.

        *queries* are unit vectors; *allowed* are the ids of the chunks to choose from, ascending, where they are
        not all. Some of them may be dead.
        """
        ...


class VectorStore(Protocol):
    """One way of keeping vectors searchable. What takes a session works in the caller's transaction."""

    @property
    def follower(self) -> Follower | None:
        """What has to follow every publication; None where a reader catches up by itself."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where it keeps files, if it does."""
        ...

    def open_partition(self, key: Partition, dimension: int) -> AbstractContextManager[PartitionReader]:
        """The partition, held from before the read transaction begins until the rows of the hits are fetched."""
        ...

    def require_ready(self) -> None:
        """Raise a ServiceError that says what to do if the store cannot be used."""
        ...

    def describe(self) -> str: ...

    def is_dirty(self, snapshot: Snapshot) -> bool:
        """Whether a rebuild would make searches faster."""
        ...

    def is_rebuild_due(self, growth: Growth) -> bool: ...

    def standing(self, key: Partition) -> BuildResult | None:
        """What the last rebuild left, if another one would have nothing to do."""
        ...

    def build(self, key: Partition, dimension: int, *, check: Callable[[], None]) -> BuildResult | None:
        """The long work of a rebuild, outside of any transaction. *check* is called on the way and may raise.

        None: a live chunk has no vector of the partition's version yet.
        """
        ...

    def take_over(self, session: Session, project: Project, built: BuildResult) -> None:
        """Let the partition that *project* serves, whose row is locked, use what was built, unless it has better."""
        ...

    def forget(self, session: Session, key: Partition) -> None:
        """The partition does not serve any more: remove its row, and what else the database keeps of it."""
        ...

    def sweep(self, key: Partition, built: BuildResult | None = None) -> None:
        """After the commit: remove what no row names, *built* too if it was not taken over."""
        ...

    def problems(self, session: Session, snapshot: Snapshot, live: Ids) -> Iterator[str]:
        """Everything in which the store differs from the database. *live* are the ids of its live chunks."""
        ...
