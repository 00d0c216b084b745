"""What every store of vectors promises. The database is the truth; a store only makes searching it fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from domain import Hit, Partition
from index_manager import Checkpoint, Ids, Vectors
from models import IndexRow, Project
from snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of each query, nearest first; *is_exact*: nothing nearer can have been missed."""

    hits: list[list[Hit]]
    is_exact: bool


class Opened(Protocol):
    """A partition in the hands of one reader."""

    def catch_up(self, session: Session, seen: Snapshot) -> str | None:
        """Bring it to the snapshot. Returns what is wrong with the store, where that is news; searches go on."""
        ...

    def search(
        self, session: Session, seen: Snapshot, queries: Vectors, *, k: int, allowed: Ids | None = None
    ) -> Found:
        """The *k* nearest live chunks of each query; fewer only if fewer are live and allowed.

        *queries* are unit vectors; *allowed* are the ids of the chunks to choose from, ascending, where they are
        not all. Some of them may be dead.
        """
        ...


class VectorStore(Protocol):
    """One way of keeping vectors searchable. What takes a session works in the caller's transaction."""

    def opened(self, key: Partition, dimension: int) -> AbstractContextManager[Opened]:
        """The partition, held from before the read transaction begins until the rows of the hits are fetched."""
        ...

    def require_ready(self) -> None:
        """Raise a ServiceError that says what to do if the store cannot be used."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where it keeps files, if it does."""
        ...

    def describe(self) -> str: ...

    def is_dirty(self, project: Project, index: IndexRow) -> bool:
        """A rebuild would make searches faster."""
        ...

    def wants_rebuild(self, project: Project, *, changes: int, ntotal: int) -> bool:
        """After so many *changes* since the last rebuild, which left *ntotal* vectors."""
        ...

    def follow(self, session: Session, project: Project, *, publications: int) -> None:
        """The project's row, now locked, took so many numbers; show() and hide() tell what changed under them."""
        ...

    def show(self, session: Session, project: Project, which: ColumnElement[bool]) -> None:
        """These chunks of the project appear."""
        ...

    def hide(self, session: Session, project: Project, which: ColumnElement[bool]) -> None:
        """These chunks of the project disappear."""
        ...

    def standing(self, key: Partition) -> Checkpoint | None:
        """What the last rebuild left, if there is nothing for another to do."""
        ...

    def build(self, key: Partition, dimension: int, *, check: Callable[[], None]) -> Checkpoint | None:
        """The long work of a rebuild, outside of any transaction. *check* is called on the way and may raise.

        None: a live chunk has no vector of the partition's version yet.
        """
        ...

    def name(self, session: Session, project: Project, built: Checkpoint) -> None:
        """Let the partition that *project* serves, whose row is locked, use what was built, unless it has better."""
        ...

    def forget(self, session: Session, key: Partition) -> None:
        """The partition does not serve any more."""
        ...

    def sweep(self, key: Partition, built: Checkpoint | None = None) -> None:
        """After the commit: remove what no row names, *built* too if it was not taken."""
        ...

    def problems(self, session: Session, seen: Snapshot, live: Ids) -> Iterator[str]:
        """Everything in which the store differs from the database. *live* are the ids of its live chunks."""
        ...
