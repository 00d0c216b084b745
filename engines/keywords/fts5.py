"""SQLite: one FTS5 table holds the lexemes of all namespaces, without texts, positions and lengths.

FTS5's own tokenizer and ranking are not used: its BM25 counts the rows of all tenants.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement
from domain import Ids
from engines.keywords.lexemes import bucketed, lexeme_prefix, posting
from models import Project

PAGES_PER_MERGE = 50
MERGE_CHANGES = 2
"""Fewer changes in a merge mean that there was nothing to merge."""


def forget_deleted_words(file: Path) -> None:
    """Merge the FTS5 index of a closed copy of the database into one segment, and overwrite what that frees.

    Until such a merge, words of deleted rows are in the file. Raises sqlite3.Error.
    """
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("INSERT INTO keyword_lexemes (keyword_lexemes) VALUES ('optimize')")


def merge_deleted_words(session: Session, *, is_first: bool) -> bool:
    """Merge some pages of the FTS5 index, towards one segment without deleted words. Returns whether it did anything.

    The *is_first* call chooses what is merged: all that there is. With secure_delete the freed pages are overwritten.
    """
    before = session.scalar(_CHANGES)
    session.execute(_MERGE, {"pages": -PAGES_PER_MERGE if is_first else PAGES_PER_MERGE})
    return bool(session.scalar(_CHANGES) - before >= MERGE_CHANGES)


@dataclass(frozen=True, slots=True)
class Fts5File:
    session: Session
    project: Project

    def insert(self, chunks: Sequence[tuple[int, Sequence[str]]]) -> None:
        key = {"team_id": self.project.team_id, "project_id": self.project.id}
        number, prefix = self._number(), lexeme_prefix(self.project)
        rows = [
            {
                **key,
                "faiss_id": faiss_id,
                "posting": posting(number, faiss_id, len(words)),
                "lexemes": _short(bucketed(prefix, words)),
            }
            for faiss_id, words in chunks
        ]
        _INSERT.run_many(self.session, rows)

    def _number(self) -> int:
        """The number that distinguishes the project's postings from others'. Assigned under SQLite's write lock."""
        if self.project.keywords_number is None:
            largest = self.session.scalar(select(func.max(Project.keywords_number)))
            self.project.keywords_number = (largest or 0) + 1
        return self.project.keywords_number

    def postings(self, lexemes_from: Sequence[tuple[str, int]]) -> list[Ids]:
        """Fetched as one text per lexeme: a row per posting would cost ten times as much."""
        number = self.project.keywords_number or 0
        look_ups = [[f'"{lexeme}"', posting(number, first_id, 0)] for lexeme, first_id in lexemes_from]
        rows = _POSTINGS.rows(self.session, {"lexemes": json.dumps(look_ups)})
        return [np.fromstring(row[0], np.int64, sep=",") if row[0] else np.empty(0, np.int64) for row in rows]


def _short(words: Sequence[tuple[str, int]]) -> str:
    """Each word ended by the character of its bucket. The row's triggers make lexemes of it, which repeat its key."""
    return "".join([word + chr(bucket) for word, bucket in words])


_CHANGES = text("SELECT total_changes()")
_MERGE = text("INSERT INTO keyword_lexemes (keyword_lexemes, rank) VALUES ('merge', :pages)")
_INSERT = PreparedStatement(
    text(
        "INSERT OR IGNORE INTO keywords (team_id, project_id, faiss_id, posting, lexemes) "
        "VALUES (:team_id, :project_id, :faiss_id, :posting, :lexemes)"
    )
)
_POSTINGS = PreparedStatement(
    text(
        "SELECT (SELECT group_concat(rowid) FROM keyword_lexemes "
        "WHERE keyword_lexemes MATCH lexeme.value ->> 0 AND rowid >= lexeme.value ->> 1) "
        "FROM json_each(:lexemes) AS lexeme ORDER BY lexeme.key"
    )
)
