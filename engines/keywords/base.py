"""The interface of the keyword index. The database is the truth; the index only makes searching it fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from domain import Hit, Ids
from engines.follower import Follower
from models import Project
from snapshot import Snapshot

BEHIND = "The table of keywords is behind the database: keyword searches read the chunks' texts until the rebuild."


class KeywordStore(Follower, Protocol):
    """Methods that take a session work in the caller's transaction: searches find exactly what is committed."""

    def search(
        self,
        session: Session,
        snapshot: Snapshot,
        queries: Sequence[Counter[str]],
        *,
        k: int,
        allowed: Ids | None = None,
    ) -> list[list[Hit]]:
        """The *k* best live chunks for each query, by BM25 over the namespace alone, without chunks that hold none of
        its words. *allowed* are the ids to choose from, ascending; None: all."""
        ...

    def is_behind(self, snapshot: Snapshot) -> bool:
        """Whether searches must read the chunks' texts, correctly but slowly, until a rebuild."""
        ...

    def repair(self, project: Project, *, check: Callable[[], None]) -> int:
        """Make the rows equal to the database, in several transactions. Returns how many were wrong.

        *check* is called repeatedly and may raise.
        """
        ...

    def problems(self, session: Session, snapshot: Snapshot, live: Ids) -> Iterator[str]:
        """Every difference between the rows and the database, whose live chunks have the ids *live*."""
        ...

    def unwritten(self, snapshot: Snapshot) -> Iterator[str]:
        """What a rebuild still has to write. No damage: searches read the database meanwhile."""
        ...


class InvertedFile(Protocol):
    """Looks up rows of *keywords* by lexeme in one kind of database, which keeps it in step with the rows."""

    def number(self, session: Session, project: Project) -> int:
        """The number that distinguishes the project's postings where one file holds all projects; else 0."""
        ...

    def insert(self, session: Session, project: Project, rows: Sequence[tuple[int, int, list[str]]]) -> None:
        """Rows of faiss_id, posting and lexemes."""
        ...

    def postings(self, session: Session, project: Project, lexemes: Sequence[str]) -> list[Ids]:
        """The postings of each lexeme, in any order."""
        ...
