"""The interface of vector stores. The database is the truth; a store only makes searching it fast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from domain import BuildResult, Hit, Ids, Partition, Vectors
from engines.follower import Follower
from models import Project
from snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Hits:
    """The hits of each query, nearest first. *is_exact*: no nearer chunk can be missing."""

    per_query: list[list[Hit]]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Growth:
    """A partition compared with its last rebuild: its live chunks, the chunks built then, and the changes since."""

    live_chunks: int
    built_chunks: int
    changes: int


class PartitionReader(Protocol):
    """A partition, opened for one reader."""

    def catch_up(self, session: Session, snapshot: Snapshot) -> str | None:
        """Bring it up to the snapshot, for later searches. Returns a problem of the store that nobody has reported yet;
        searches work in spite of it.
        """
        ...

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Hits:
        """The *k* nearest live chunks of each query; fewer only if fewer are live and allowed.

        *queries* are unit vectors. *allowed* are the ids to choose from, ascending; None: all. Some may be dead.
        """
        ...

    def similarities(self, query: NDArray[np.float32], ids: Ids) -> dict[int, float]:
        """The cosine similarity of each of these live chunks, whose *ids* are ascending, with a unit vector."""
        ...


class VectorStore(Protocol):
    """A way to search vectors. Methods that take a session work in the caller's transaction."""

    @property
    def follower(self) -> Follower | None:
        """Takes part in every publication; None if readers catch up by themselves."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder of its files, if it has any."""
        ...

    @property
    def held_bytes(self) -> int:
        """The memory that this process holds for indexes."""
        ...

    def open_partition(self, key: Partition, dimension: int) -> AbstractContextManager[PartitionReader]:
        """The partition, open from before the read transaction begins until the rows of the hits are fetched."""
        ...

    def require_ready(self) -> None:
        """Raise a ServiceError with advice if the store cannot be used."""
        ...

    def describe(self) -> str: ...

    def is_dirty(self, snapshot: Snapshot) -> bool:
        """Whether a rebuild would make searches faster."""
        ...

    def is_rebuild_due(self, growth: Growth) -> bool: ...

    def current_build(self, key: Partition) -> BuildResult | None:
        """The result of the last rebuild, if another one would have nothing to do."""
        ...

    def build(
        self, key: Partition, dimension: int, *, check: Callable[[], None], is_anew: bool = False
    ) -> BuildResult | None:
        """The long part of a rebuild, outside any transaction. *check* is called repeatedly and may raise.

        With *is_anew* nothing is taken over from the index before, which may hold vectors of deleted chunks.
        Returns None if a live chunk has no vector of the partition's version yet.
        """
        ...

    def take_over(self, session: Session, project: Project, version: str, built: BuildResult) -> None:
        """Let the partition of *project*, whose row is locked, use the build, unless it has a newer one."""
        ...

    def replace(self, session: Session, project: Project, version: str, built: BuildResult) -> bool:
        """As take_over(), also in place of one that covers as much. False: a newer one is there."""
        ...

    def drop(self, session: Session, key: Partition) -> None:
        """Let the partition have no index until its next rebuild: searches read the database."""
        ...

    def sweep_all(self, key: Partition, *, wait_for_builders: Callable[[], object]) -> int:
        """Remove every file that no row names, whoever wrote it. Returns how many there were.

        *wait_for_builders* returns when nobody is building this partition who was when it was called.
        """
        ...

    def forget(self, session: Session, key: Partition) -> None:
        """Remove the rows of a partition that is no longer needed."""
        ...

    def sweep(self, key: Partition, built: BuildResult | None = None) -> None:
        """After the commit: remove files that no row names, *built* included if it was not taken over."""
        ...

    def problems(self, session: Session, snapshot: Snapshot, live: Ids) -> Iterator[str]:
        """Every difference between the store and the database, whose live chunks have the ids *live*."""
        ...

    def unwritten(self, session: Session, snapshot: Snapshot) -> Iterator[str]:
        """What a rebuild still has to write. No damage: searches read the database meanwhile."""
        ...


class WithoutFiles(ABC):
    """The parts of a store whose index is rows that go with the chunks: there is nothing to write anew."""

    @abstractmethod
    def take_over(self, session: Session, project: Project, version: str, built: BuildResult) -> None: ...

    def replace(self, session: Session, project: Project, version: str, built: BuildResult) -> bool:
        self.take_over(session, project, version, built)
        return True

    def drop(self, session: Session, key: Partition) -> None:  # noqa: B027 - the rows serve on
        pass

    def sweep_all(self, key: Partition, *, wait_for_builders: Callable[[], object]) -> int:  # noqa: ARG002
        return 0
