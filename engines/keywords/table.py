"""A row of words per live chunk, written by the transaction that publishes it and deleted by the one that hides it.

So every process finds committed chunks at once, in the same snapshot as the vectors. The project's row records up to
which publication the table is complete. After an upgrade or a move, or while an older version still publishes,
searches read the chunks' texts instead, until a rebuild has corrected the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, delete, select
from sqlalchemy.orm import Session

from database.batching import batched
from database.engine import Database
from domain import ChunkContent, Ids
from engines.follower import Advance
from engines.keywords.base import BEHIND, InvertedFile, Matches
from engines.keywords.cache import PostingCache
from engines.keywords.lexemes import BUCKETS, lexeme_prefix, lexemes, lexemes_of, posting
from engines.keywords.postings import Postings
from engines.keywords.scoring import bm25
from models import Chunk, KeywordRow, Project
from snapshot import Snapshot, chunk_contents, ids_of, is_live, live_difference
from text.enrich import embedded_text
from text.words import words

ROWS_PER_STEP = 500


class KeywordTable:
    def __init__(self, database: Database, open_file: Callable[[Session, Project], InvertedFile]) -> None:
        self.database = database
        self.open_file = open_file
        self.cache = PostingCache()

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
        query_words = sorted({word for query in queries for word in query})
        postings = self._postings(session, snapshot, query_words) if query_words else {}
        if visible is not None:
            postings = {word: each.among(visible) for word, each in postings.items()}
        chunks = snapshot.project.live_chunks
        return [bm25(query, postings, chunks=chunks, k=k, allowed=allowed) for query in queries]

    def is_behind(self, snapshot: Snapshot) -> bool:
        return snapshot.project.keywords_seq != snapshot.project.seq

    def follow(self, advance: Advance) -> None:
        """A row that is behind stays behind: missed publications are not repeated."""
        if advance.project.keywords_seq == advance.previous_seq:
            advance.project.keywords_seq = advance.project.seq

    def show(self, session: Session, project: Project, chunks: Sequence[ChunkContent]) -> None:
        if chunks:
            rows = [(chunk.faiss_id, words(embedded_text(chunk.text, chunk.header))) for chunk in chunks]
            self.open_file(session, project).insert(rows)

    def hide(self, session: Session, project: Project, ids: Sequence[int]) -> None:
        for batch in batched(ids, ROWS_PER_STEP):
            is_hidden = and_(_in_project(project), KeywordRow.faiss_id.in_(batch))
            session.execute(delete(KeywordRow).where(is_hidden), execution_options=_UNSYNCHRONIZED)

    def repair(self, project: Project, *, check: Callable[[], None]) -> int:
        with self.database.read() as session:
            missing, _ = _difference(session, session.get_one(Project, (project.team_id, project.id)))
        for batch in batched(missing.tolist(), ROWS_PER_STEP):
            with self.database.write() as session:
                locked = _lock_project(session, project)
                is_still_live = and_(Chunk.faiss_id.in_(batch), is_live(locked.seq))
                self.show(session, locked, chunk_contents(session, locked, is_still_live))
            check()
        with self.database.write() as session:
            locked = _lock_project(session, project)
            missing_now, extra = _difference(session, locked)
            self.hide(session, locked, extra.tolist())
            for batch in batched(missing_now.tolist(), ROWS_PER_STEP):
                self.show(session, locked, chunk_contents(session, locked, Chunk.faiss_id.in_(batch)))
            locked.keywords_seq = locked.seq
        return len(missing) + len(extra)

    def problems(self, session: Session, snapshot: Snapshot, live: Ids) -> Iterator[str]:
        if self.is_behind(snapshot):
            return
        row_ids = ids_of(session, _row_ids(snapshot.project))
        missing, extra = np.setdiff1d(live, row_ids), np.setdiff1d(row_ids, live)
        if len(missing) or len(extra):
            yield f"The table of keywords misses {len(missing)} live chunks and holds {len(extra)} that are not live."

    def unwritten(self, snapshot: Snapshot) -> Iterator[str]:
        if self.is_behind(snapshot):
            yield BEHIND

    def _postings(self, session: Session, snapshot: Snapshot, query_words: Sequence[str]) -> dict[str, Postings]:
        if self.is_behind(snapshot):
            return _postings_from_texts(session, snapshot.project, query_words)
        file, prefix = self.open_file(session, snapshot.project), lexeme_prefix(snapshot.project)

        def fetch(words_from: Sequence[tuple[str, int]]) -> list[Postings]:
            buckets = file.postings(
                [(lexeme, first) for word, first in words_from for lexeme in lexemes_of(prefix, word)]
            )
            return [Postings.of(part) for part in batched(buckets, len(BUCKETS))]

        return self.cache.read(session, snapshot, query_words, fetch)


_UNSYNCHRONIZED = {"synchronize_session": False}


def _postings_from_texts(session: Session, project: Project, query_words: Sequence[str]) -> dict[str, Postings]:
    """The postings that the inverted file would give, from the texts of all live chunks."""
    prefix, postings = lexeme_prefix(project), dict[str, list[int]]()
    by_word = {word: lexemes_of(prefix, word) for word in query_words}
    for lexeme_list in by_word.values():
        postings.update((lexeme, []) for lexeme in lexeme_list)
    for chunk in chunk_contents(session, project, is_live(project.seq)):
        chunk_words = words(embedded_text(chunk.text, chunk.header))
        for lexeme in postings.keys() & lexemes(prefix, chunk_words):
            postings[lexeme].append(posting(0, chunk.faiss_id, len(chunk_words)))
    return {
        word: Postings.of([np.array(postings[lexeme], np.int64) for lexeme in lexeme_list])
        for word, lexeme_list in by_word.items()
    }


def _difference(session: Session, project: Project) -> tuple[Ids, Ids]:
    """The live chunks that have no row, and the rows whose chunk is not live."""
    return live_difference(session, (project.team_id, project.id), project.seq, _row_ids(project))


def _row_ids(project: Project) -> Select[int]:
    return select(KeywordRow.faiss_id).where(_in_project(project))


def _lock_project(session: Session, project: Project) -> Project:
    return session.get_one(Project, (project.team_id, project.id), with_for_update=True)


def _in_project(project: Project) -> ColumnElement[bool]:
    return and_(KeywordRow.team_id == project.team_id, KeywordRow.project_id == project.id)
