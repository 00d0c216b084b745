"""Postgres: the lexemes are a tsvector, found through a GIN index.

Postgres' own parser and ranking are not used: ts_rank ignores how rare a word is, and reads every row that it ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from domain import Ids
from engines.keywords.lexemes import lexeme_prefix, lexemes, posting
from models import Project


@dataclass(frozen=True, slots=True)
class TsvectorFile:
    session: Session
    project: Project

    def insert(self, chunks: Sequence[tuple[int, Sequence[str]]]) -> None:
        """One statement for all rows."""
        prefix = lexeme_prefix(self.project)
        columns = {
            "ids": [faiss_id for faiss_id, _ in chunks],
            "postings": [posting(0, faiss_id, len(words)) for faiss_id, words in chunks],
            "lexemes": [" ".join(lexemes(prefix, words)) for _, words in chunks],
        }
        self.session.execute(_INSERT, {"team_id": self.project.team_id, "project_id": self.project.id, **columns})

    def postings(self, lexemes_from: Sequence[tuple[str, int]]) -> list[Ids]:
        result = [np.empty(0, np.int64)] * len(lexemes_from)
        self.session.execute(_BY_LEXEME)
        columns = {
            "lexemes": [f"'{lexeme}'" for lexeme, _ in lexemes_from],
            "first_ids": [first for _, first in lexemes_from],
        }
        for number, postings in self.session.execute(_POSTINGS, {**columns, "team_id": self.project.team_id}):
            result[number - 1] = np.frombuffer(postings, ">i8").astype(np.int64)
        self.session.execute(_RESET)
        return result


_INSERT = text(
    "INSERT INTO keywords (team_id, project_id, faiss_id, posting, lexemes) "
    "SELECT :team_id, :project_id, id, posting, array_to_tsvector(string_to_array(words, ' ')) "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:postings AS bigint[]), CAST(:lexemes AS text[])) "
    "AS rows (id, posting, words) ON CONFLICT DO NOTHING"
)
# Without statistics, Postgres may prefer reading all rows of a tenant.
_BY_LEXEME = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true), "
    "set_config('jit', 'off', true)"
)
_RESET = text("SELECT set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'on', true)")
_POSTINGS = text(
    "SELECT lexeme.number, string_agg(int8send(keywords.posting), CAST('' AS bytea)) "
    "FROM unnest(CAST(:lexemes AS text[]), CAST(:first_ids AS bigint[])) "
    "WITH ORDINALITY AS lexeme (value, first_id, number) "
    "JOIN keywords ON keywords.lexemes @@ CAST(lexeme.value AS tsquery) AND keywords.team_id = :team_id "
    "AND keywords.faiss_id >= lexeme.first_id "
    "GROUP BY lexeme.number"
)
