"""The audit log: its pages, whether its chain is whole, how long it is kept; with which settings processes start."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select

from database.dialects import chain_hash
from database.engine import Database
from models import AuditChain, AuditRow, utc_now
from services.index.auditing import record, said_digest
from services.operations.diagnosing import without_secrets
from times import shifted
from version import VERSION

log = logging.getLogger(__name__)

ROWS_PER_STEP = 1000


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """*rows* from number *first* to *last* were read; *head* is the hash of the last one, in hex."""

    rows: int
    first: int
    last: int
    head: str
    problems: list[str]


@dataclass(frozen=True)
class AuditService:
    database: Database

    def page(
        self,
        *,
        limit: int,
        after: int | None = None,
        tenant_id: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
    ) -> list[AuditRow]:
        """Returns the newest rows first, from behind the row number *after* on."""
        query = select(AuditRow).order_by(AuditRow.number.desc()).limit(limit)
        conditions = {AuditRow.tenant_id: tenant_id, AuditRow.action: action}
        query = query.where(*(column == value for column, value in conditions.items() if value is not None))
        if after is not None:
            query = query.where(AuditRow.number < after)
        if since is not None:
            query = query.where(AuditRow.at >= since)
        with self.database.read() as session:
            return list(session.scalars(query))

    def started(self, process: str, changed_settings: Mapping[str, object]) -> None:
        """Record a process and its settings, secrets masked. A failure does not prevent the start."""
        changed = {name.upper(): without_secrets(name, value) for name, value in changed_settings.items()}
        try:
            with self.database.write() as session:
                record(session, "process.started", object=process, version=VERSION, settings=changed)
        except Exception as error:
            log.error("the start could not be recorded in the audit log: %s", error)

    def record(self, action: str, *, object: str = "", **details: Any) -> None:
        """For what happens in no transaction of its own."""
        with self.database.write() as session:
            record(session, action, object=object, **details)

    def prune(self, keep_days: float) -> int:
        """Delete rows older than that from the old end, in small steps. The newest one stays: the next continues it."""
        before, deleted = shifted(utc_now(), seconds=-86_400 * keep_days), 0
        while number := self._last_to_prune(before):
            with self.database.write() as session:
                numbers = session.scalars(delete(AuditRow).where(AuditRow.number <= number).returning(AuditRow.number))
                deleted += len(numbers.all())
        return deleted

    def _last_to_prune(self, before: datetime) -> int | None:
        oldest = select(AuditRow.number, AuditRow.at).order_by(AuditRow.number).limit(ROWS_PER_STEP)
        with self.database.read() as session:
            rows = session.execute(oldest).all()
            newest = session.scalar(select(func.max(AuditRow.number)))
        last = None
        for number, at in rows:
            if at >= before or number == newest:
                break
            last = number
        return last

    def verify(self) -> AuditCheck:
        """Read the chain from the oldest row that is kept. Finds rows that were changed, removed or put in between."""
        problems: list[str] = []
        count, first, row = 0, 0, None
        expected: tuple[int, bytes] | None = None
        for row in self._rows():
            problems += _problems(row, expected)
            expected = (row.number + 1, row.hash)
            first, count = first or row.number, count + 1
        if self.database.file is None and (problem := self._problem_of_head(row)):
            problems.append(problem)
        return AuditCheck(count, first, row.number if row else 0, row.hash.hex() if row else "", problems)

    def _rows(self) -> Iterator[AuditRow]:
        """One snapshot."""
        with self.database.read() as session:
            query = select(AuditRow).order_by(AuditRow.number).execution_options(yield_per=ROWS_PER_STEP)
            yield from session.scalars(query)

    def _problem_of_head(self, last: AuditRow | None) -> str | None:
        with self.database.read() as session:
            head = session.scalar(select(AuditChain))
            there = session.scalar(select(AuditRow.hash).where(AuditRow.number == head.number)) if head else None
        if head is None or there == head.hash:
            return None
        return f"The last row should be number {head.number}, but it is {last.number if last else 'missing'}."


def _problems(row: AuditRow, expected: tuple[int, bytes] | None) -> Iterator[str]:
    if expected is not None and row.number != expected[0]:
        yield f"Rows {expected[0]} to {row.number - 1} are missing."
    elif expected is not None and row.previous_hash != expected[1]:
        yield f"Row {row.number} does not follow the row before it: one of them was put there later."
    if chain_hash(row.previous_hash, said_digest(row)) != row.hash:
        yield f"Row {row.number} was changed: it does not have the hash that it had."
