"""The interface of the keyword index. The database is the truth; the index only makes searching it fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from domain import Hit, Ids
from engines.follower import Follower
from models import Project
from snapshot import Snapshot

Bm25Scores = NDArray[np.float64]

BEHIND = "The table of keywords is behind the database: keyword searches read the chunks' texts until the rebuild."


@dataclass(frozen=True, slots=True)
class Matches:
    """The *hits* of a query, best first, and the score of every chunk that matches: *ids* ascending, *scores* theirs.

    *highest* is the limit of what any chunk could score: all *words* of the query, as often as you like.
    """

    hits: list[Hit]
    highest: float
    words: int
    ids: Ids
    scores: Bm25Scores

    def score_of(self, ids: Ids) -> Bm25Scores:
        """The scores of these chunks; 0 for those without any of the words."""
        if not len(self.ids):
            return np.zeros(len(ids))
        positions = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[positions] == ids, self.scores[positions], 0.0)


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
        visible: Ids | None = None,
    ) -> list[Matches]:
        """The *k* best live chunks for each query, by BM25 over the namespace alone, without chunks that hold none of
        its words. *allowed* are the ids to choose from, ascending; None: all. With *visible*, ids too, no other chunk's
        words have a part in the scores, so that these do not say how rare a word is where the caller may not look."""
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
    """Looks up a project's rows of *keywords* by lexeme, in one transaction of one kind of database."""

    def insert(self, chunks: Sequence[tuple[int, Sequence[str]]]) -> None:
        """Rows of these chunks: the id and all words of each."""
        ...

    def postings(self, lexemes_from: Sequence[tuple[str, int]]) -> list[Ids]:
        """The postings of each lexeme, of the chunks from that id on, in any order."""
        ...
