"""Up to which number the log of events is complete: no event can appear there any more.

SQLite has one writer at a time, so the numbers follow the order of commits. On Postgres they come from a sequence: an
event may be committed after one with a larger number, and a reader that had gone on past it would never see it. Every
transaction that writes events holds a lock on the table, the one that any INSERT takes and that keeps no other waiting,
from before it takes a number until after it has committed. So when all transactions have ended that held it after the
sequence stood at N, the log is complete up to N. Transactions that write no events do not matter, however long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from sqlalchemy import BigInteger, func, literal_column, select, text

from database.engine import Database, DatabaseKind
from models import EventRow

PATIENCE_SECONDS = 0.5
PAUSE_SECONDS = 0.02

_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND relation = 'events'::regclass"
)


@dataclass(frozen=True, slots=True)
class _Awaited:
    """The log is complete up to *number* when all *writers* have ended."""

    number: int
    writers: frozenset[str]


class Horizon:
    """Thread-safe. A process remembers how far it has come: what is complete stays so."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._number = 0
        self._awaited: _Awaited | None = None
        self._moving = Lock()

    def advance(self) -> int:
        """Returns the number up to which the log is complete now, as far as this process can tell."""
        last = self.last_number()
        if self.database.kind is DatabaseKind.SQLITE:
            return last
        with self._moving:
            if self._awaited is not None or self._number < last:
                self._advance(last)
            return self._number

    def settled(self) -> int:
        """Returns advance(), after waiting a little for the transactions that are writing events just now."""
        end = time.monotonic() + PATIENCE_SECONDS
        number, last = self.advance(), self.last_number()
        while number < last and time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
            number = self.advance()
        return number

    def now(self) -> int:
        """Where what happens from now on begins. What a long transaction is writing just now may be before it."""
        return self.settled() or self.last_number()

    def last_number(self) -> int:
        """The last number that was taken, whether or not it is committed."""
        with self.database.read() as session:
            if self.database.kind is DatabaseKind.SQLITE:
                return session.scalar(select(func.max(EventRow.number))) or 0
            taken = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_number_seq"
            return session.scalar(select(literal_column(f"({taken})", BigInteger()))) or 0

    def _advance(self, last: int) -> None:
        """*last* was read before."""
        writers = self._writers()
        if self._awaited is not None and not self._awaited.writers & writers:
            self._number, self._awaited = max(self._number, self._awaited.number), None
        if self._awaited is None:
            self._awaited = _Awaited(last, writers)
        if not writers:
            self._number, self._awaited = max(self._number, last), None

    def _writers(self) -> frozenset[str]:
        with self.database.read() as session:
            return frozenset(session.scalars(_WRITERS))
