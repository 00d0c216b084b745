"""Compares the rows of two databases, by counts and by checksums that do not depend on the order of reading."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from database.engine import Database
from models import Chunk, Embedding, Project, Team

ROWS_PER_FETCH = 20
ROWS_PER_REPORT = 100
CHECKSUM_BITS = 256

Normalize = Callable[[Table, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sum:
    """*checksum* is the sum of the rows' SHA-256, modulo 2^256."""

    rows: int = 0
    checksum: int = 0

    def __str__(self) -> str:
        return f"{self.checksum:064x}"[:16]


@dataclass(frozen=True, slots=True)
class PartComparison:
    """One table, or one tenant's share of it."""

    part: str
    source: Sum
    target: Sum

    @property
    def is_equal(self) -> bool:
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class ComparisonSide:
    """*normalize* returns a row without the columns that may differ."""

    database: Database
    normalize: Normalize


def compare(
    source: ComparisonSide, target: ComparisonSide, tables: Sequence[Table], report: Callable[[int], None]
) -> list[PartComparison]:
    """Compares chunks by namespace, embeddings by tenant and version, others by table; one snapshot of each side."""
    sums: list[dict[str, Sum]] = []
    done = 0
    for side in (source, target):
        parts: dict[str, Sum] = defaultdict(Sum)
        with side.database.read() as session:
            for part, digest in _digests(session, tables, side.normalize):
                before = parts[part]
                parts[part] = Sum(before.rows + 1, (before.checksum + digest) % 2**CHECKSUM_BITS)
                done += 1
                if done % ROWS_PER_REPORT == 0:
                    report(done)
        sums.append(parts)
    source_sums, target_sums = sums
    names = [table.name for table in tables] + sorted(source_sums.keys() | target_sums.keys())
    split_tables = {Chunk.__tablename__, Embedding.__tablename__}
    return [
        PartComparison(part, source_sums.get(part, Sum()), target_sums.get(part, Sum()))
        for part in dict.fromkeys(names)
        if part not in split_tables
    ]


def _digests(session: Session, tables: Sequence[Table], normalize: Normalize) -> Iterator[tuple[str, int]]:
    part_of = _partitioner(session)
    for table in tables:
        rows = session.execute(select(table), execution_options={"yield_per": ROWS_PER_FETCH})
        for record in rows:
            row = record._asdict()
            serialized = json.dumps(normalize(table, row), sort_keys=True, default=_plain)
            digest = hashlib.sha256(serialized.encode()).digest()
            yield part_of(table.name, row), int.from_bytes(digest, "big")


def _partitioner(session: Session) -> Callable[[str, Mapping[str, Any]], str]:
    teams: dict[int, str] = {id_: name for id_, name in session.execute(select(Team.id, Team.name))}
    rows = session.execute(select(Project.team_id, Project.id, Project.name))
    projects: dict[tuple[int, int], str] = {(team, id_): name for team, id_, name in rows}

    def part_of(table: str, row: Mapping[str, Any]) -> str:
        team = teams.get(row.get("team_id", -1), "?")
        if table == Chunk.__tablename__:
            return f"{table} {team}/{projects.get((row['team_id'], row['project_id']), '?')}"
        if table == Embedding.__tablename__:
            return f"{table} {team} {row['embedding_version']}"
        return table

    return part_of


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else bytes(value).hex()
