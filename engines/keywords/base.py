"""What the keyword index promises. The database is the truth; the index only makes searching it fast."""

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
    """What takes a session works in the caller's transaction: what that commits is found from then on, and no more."""

    def search(
        self, session: Session, seen: Snapshot, queries: Sequence[Counter[str]], *, k: int, allowed: Ids | None = None
    ) -> list[list[Hit]]:
        """The *k* live chunks that answer each query best, by BM25 over the namespace alone; those that hold no word
        of it are not among them. *allowed* are sorted ids: none but these, and none of them is missed."""
        ...

    def is_behind(self, seen: Snapshot) -> bool:
        """Searches are right, but slow, until a rebuild."""
        ...

    def mend(self, project: Project, *, check: Callable[[], None]) -> int:
        """Make the rows what the database says, in steps of their own. Returns how many were not.

        *check* is called on the way and may raise.
        """
        ...

    def problems(self, session: Session, seen: Snapshot, live: Ids) -> Iterator[str]:
        """Everything in which the rows differ from the database. *live* are the ids of its live chunks."""
        ...


class InvertedFile(Protocol):
    """How one kind of database looks rows of *keywords* up by a lexeme. It follows the rows by itself."""

    def number(self, session: Session, project: Project) -> int:
        """What tells the project's postings from those of others, where one file holds all; else 0."""
        ...

    def insert(self, session: Session, project: Project, rows: Sequence[tuple[int, int, list[str]]]) -> None:
        """Rows of faiss_id, posting and lexemes."""
        ...

    def postings(self, session: Session, project: Project, lexemes: Sequence[str]) -> list[Ids]:
        """For each lexeme the postings of its rows, in any order."""
        ...
