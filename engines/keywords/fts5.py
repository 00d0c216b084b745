"""SQLite: one FTS5 table holds the lexemes of all namespaces, without texts, positions and lengths.

FTS5's own tokenizer and ranking are not used: its BM25 counts the rows of all tenants.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from domain import Ids
from models import Project


class Fts5File:
    def number(self, session: Session, project: Project) -> int:
        """Assigned under SQLite's write lock."""
        if project.keywords_number is None:
            largest = session.scalar(select(func.max(Project.keywords_number)))
            project.keywords_number = (largest or 0) + 1
        return project.keywords_number

    def insert(self, session: Session, project: Project, rows: Sequence[tuple[int, int, list[str]]]) -> None:
        key = {"team_id": project.team_id, "project_id": project.id}
        session.execute(
            _INSERT,
            [
                {**key, "faiss_id": faiss_id, "posting": posting, "lexemes": " ".join(lexemes)}
                for faiss_id, posting, lexemes in rows
            ],
        )

    def postings(self, session: Session, project: Project, lexemes: Sequence[str]) -> list[Ids]:  # noqa: ARG002
        """Fetched as one text per lexeme: a row per posting would cost ten times as much."""
        quoted = json.dumps([f'"{lexeme}"' for lexeme in lexemes])
        rows = session.execute(_POSTINGS, {"lexemes": quoted})
        return [np.fromstring(row[0], np.int64, sep=",") if row[0] else np.empty(0, np.int64) for row in rows]


_INSERT = text(
    "INSERT OR IGNORE INTO keywords (team_id, project_id, faiss_id, posting, lexemes) "
    "VALUES (:team_id, :project_id, :faiss_id, :posting, :lexemes)"
)
_POSTINGS = text(
    "SELECT (SELECT group_concat(rowid) FROM keyword_lexemes WHERE keyword_lexemes MATCH lexeme.value) "
    "FROM json_each(:lexemes) AS lexeme ORDER BY lexeme.key"
)
