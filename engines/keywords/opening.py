"""Opens the keyword index of a database."""

from __future__ import annotations

from database.engine import Database, DatabaseKind
from engines.keywords.base import KeywordStore
from engines.keywords.fts5 import Fts5File
from engines.keywords.table import KeywordTable
from engines.keywords.tsvector import TsvectorFile


def open_keywords(database: Database) -> KeywordStore:
    return KeywordTable(database, Fts5File if database.kind is DatabaseKind.SQLITE else TsvectorFile)
