"""Do two databases hold the same rows? Counts and checksums that do not depend on the order of reading."""

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
ROWS_PER_SHOW = 100
CHECKSUM_BITS = 256

Seen = Callable[[Table, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sum:
    """*checksum* is the sum of the rows' SHA-256, modulo 2^256."""

    rows: int = 0
    checksum: int = 0

    def __str__(self) -> str:
        return f"{self.checksum:064x}"[:16]


@dataclass(frozen=True, slots=True)
class Compared:
    """One table, or one tenant's share of it."""

    part: str
    source: Sum
    target: Sum

    @property
    def is_equal(self) -> bool:
        return self.source == self.target


@dataclass(frozen=True, slots=True)
class Side:
    """*seen* gives a row as it counts here."""

    database: Database
    seen: Seen


def compare(source: Side, target: Side, tables: Sequence[Table], show: Callable[[int], None]) -> list[Compared]:
    """Chunks by namespace, embeddings by tenant and version, everything else by table; one snapshot of each side."""
    sums: list[dict[str, Sum]] = []
    done = 0
    for side in (source, target):
        found: dict[str, Sum] = defaultdict(Sum)
        with side.database.read() as session:
            for part, digest in _digests(session, tables, side.seen):
                before = found[part]
                found[part] = Sum(before.rows + 1, (before.checksum + digest) % 2**CHECKSUM_BITS)
                done += 1
                if done % ROWS_PER_SHOW == 0:
                    show(done)
        sums.append(found)
    mine, theirs = sums
    parts = [table.name for table in tables] + sorted(mine.keys() | theirs.keys())
    split = {Chunk.__tablename__, Embedding.__tablename__}
    return [
        Compared(part, mine.get(part, Sum()), theirs.get(part, Sum()))
        for part in dict.fromkeys(parts)
        if part not in split
    ]


def _digests(session: Session, tables: Sequence[Table], seen: Seen) -> Iterator[tuple[str, int]]:
    part_of = _parts(session)
    for table in tables:
        rows = session.execute(select(table), execution_options={"yield_per": ROWS_PER_FETCH})
        for each in rows:
            row = each._asdict()
            told = json.dumps(seen(table, row), sort_keys=True, default=_plain)
            digest = hashlib.sha256(told.encode()).digest()
            yield part_of(table.name, row), int.from_bytes(digest, "big")


def _parts(session: Session) -> Callable[[str, Mapping[str, Any]], str]:
    teams: dict[int, str] = {id_: name for id_, name in session.execute(select(Team.id, Team.name))}
    found = session.execute(select(Project.team_id, Project.id, Project.name))
    projects: dict[tuple[int, int], str] = {(team, id_): name for team, id_, name in found}

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
