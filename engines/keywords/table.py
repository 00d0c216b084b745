"""A row of words for each live chunk, written by the transaction that publishes it, deleted by the one that hides it.

So what is committed is found, by every process, in the same snapshot as the vectors. The project's row says up to
which publication the table follows it. After an upgrade or a move, or while an older version still publishes, the
chunks' own texts are read instead, until a rebuild has made the rows right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, delete, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from domain import ChunkContent, Hit, Ids
from engines.keywords.base import BEHIND, InvertedFile
from engines.keywords.lexemes import lexemes, posting, wanted
from engines.keywords.scoring import bm25
from models import Chunk, KeywordRow, Project
from snapshot import Snapshot, contents, difference, ids_of, is_live
from text.enrich import embedded_text
from text.words import words

ROWS_PER_STEP = 500


class KeywordTable:
    def __init__(self, database: Database, file: InvertedFile) -> None:
        self.database = database
        self.file = file

    def search(
        self, session: Session, seen: Snapshot, queries: Sequence[Counter[str]], *, k: int, allowed: Ids | None = None
    ) -> list[list[Hit]]:
        asked = sorted({word for query in queries for word in query})
        postings = self._postings(session, seen, asked) if asked else {}
        chunks = seen.project.live_chunks
        return [bm25(query, postings, chunks=chunks, k=k, allowed=allowed) for query in queries]

    def is_behind(self, seen: Snapshot) -> bool:
        return seen.project.keywords_seq != seen.project.seq

    def follow(self, session: Session, project: Project, *, publications: int) -> None:  # noqa: ARG002
        """A row that is behind stays behind: what it missed is not told again."""
        if project.keywords_seq == project.seq - publications:
            project.keywords_seq = project.seq

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        number, rows = self.file.number(session, project), []
        for chunk in chunks:
            said = words(embedded_text(chunk.text, chunk.header))
            rows.append((chunk.faiss_id, posting(number, chunk.faiss_id, len(said)), lexemes(project, said)))
        if rows:
            self.file.insert(session, project, rows)

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        for some in batched(ids, ROWS_PER_STEP):
            gone = and_(_of(project), KeywordRow.faiss_id.in_(some))
            session.execute(delete(KeywordRow).where(gone), execution_options=_UNSEEN)

    def mend(self, project: Project, *, check: Callable[[], None]) -> int:
        with self.database.read() as session:
            missing, _ = _difference(session, session.get_one(Project, (project.team_id, project.id)))
        for some in batched(missing.tolist(), ROWS_PER_STEP):
            with self.database.write() as session:
                locked = _locked(session, project)
                is_still_live = and_(Chunk.faiss_id.in_(some), is_live(locked.seq))
                self.show(session, locked, contents(session, locked, is_still_live))
            check()
        with self.database.write() as session:
            locked = _locked(session, project)
            came_since, extra = _difference(session, locked)
            self.hide(session, locked, extra.tolist())
            for some in batched(came_since.tolist(), ROWS_PER_STEP):
                self.show(session, locked, contents(session, locked, Chunk.faiss_id.in_(some)))
            locked.keywords_seq = locked.seq
        return len(missing) + len(extra)

    def problems(self, session: Session, seen: Snapshot, live: Ids) -> Iterator[str]:
        if self.is_behind(seen):
            yield BEHIND
            return
        held = ids_of(session, _held(seen.project))
        lost, extra = np.setdiff1d(live, held), np.setdiff1d(held, live)
        if len(lost) or len(extra):
            yield f"The table of keywords misses {len(lost)} live chunks and holds {len(extra)} that are not live."

    def _postings(self, session: Session, seen: Snapshot, asked: Sequence[str]) -> dict[str, list[Ids]]:
        by_word = {word: wanted(seen.project, word) for word in asked}
        every = [lexeme for some in by_word.values() for lexeme in some]
        if self.is_behind(seen):
            found = _read_out(session, seen.project, every)
        else:
            found = dict(zip(every, self.file.postings(session, seen.project, every), strict=True))
        return {word: [found[lexeme] for lexeme in some] for word, some in by_word.items()}


_UNSEEN = {"synchronize_session": False}


def _read_out(session: Session, project: Project, every: Sequence[str]) -> dict[str, Ids]:
    """What the inverted file would say, from the texts of all live chunks."""
    found: dict[str, list[int]] = defaultdict(list)
    asked = set(every)
    for chunk in contents(session, project, is_live(project.seq)):
        said = words(embedded_text(chunk.text, chunk.header))
        for lexeme in asked.intersection(lexemes(project, said)):
            found[lexeme].append(posting(0, chunk.faiss_id, len(said)))
    return {lexeme: np.array(found[lexeme], np.int64) for lexeme in every}


def _difference(session: Session, project: Project) -> tuple[Ids, Ids]:
    """The live chunks that have no row, and the rows whose chunk is not live."""
    return difference(session, (project.team_id, project.id), project.seq, _held(project))


def _held(project: Project) -> Select[int]:
    return select(KeywordRow.faiss_id).where(_of(project))


def _locked(session: Session, project: Project) -> Project:
    return session.get_one(Project, (project.team_id, project.id), with_for_update=True)


def _of(project: Project) -> ColumnElement[bool]:
    return and_(KeywordRow.team_id == project.team_id, KeywordRow.project_id == project.id)
