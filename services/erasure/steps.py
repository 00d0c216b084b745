"""The transactions of an erasure or a purge: each short, with a pause after it, so that no writer waits for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from database.engine import Database
from domain import Json
from job_lease import Lease

STEP_SECONDS = 0.012
LONGEST_PAUSE_SECONDS = 0.1
FEWEST_ROWS, MOST_ROWS = 4, 500


class Steps(Protocol):
    def step(self, progress: int, result: Json) -> AbstractContextManager[Session]:
        """A transaction. *progress* is in percent, *result* what was done so far."""
        ...

    def check(self) -> None:
        """At any time; raises if the work should end here. What was not committed is done again some other time."""
        ...

    def give_way(self) -> None:
        """Between two steps; may also raise to let others go first. The work goes on behind the last step then."""
        ...


@dataclass(frozen=True)
class LeasedSteps:
    """A worker's, whose transactions commit only while it holds the job."""

    lease: Lease

    @contextmanager
    def step(self, progress: int, result: Json) -> Iterator[Session]:
        with self.lease.step(progress, result) as session:
            yield session

    def check(self) -> None:
        self.lease.check()

    def give_way(self) -> None:
        self.lease.give_way()


@dataclass(frozen=True)
class FreeSteps:
    """For a database that no worker serves, or a chore of one."""

    database: Database

    @contextmanager
    def step(self, progress: int, result: Json) -> Iterator[Session]:  # noqa: ARG002
        with self.database.write() as session:
            yield session

    def check(self) -> None:
        """Never ends."""

    def give_way(self) -> None:
        """There are no others."""


class Stride:
    """How many *rows* the next step takes, to hold the write lock for about STEP_SECONDS."""

    def __init__(self, rows: int = 16) -> None:
        self.rows = rows
        self._seconds = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around the work of a step, inside its transaction."""
        started = time.monotonic()
        yield
        self._seconds = time.monotonic() - started
        factor = min(2.0, max(0.25, STEP_SECONDS / max(self._seconds, 1e-4)))
        self.rows = min(MOST_ROWS, max(FEWEST_ROWS, int(self.rows * factor)))

    def pause(self) -> None:
        """After the commit: writers that wait take their turn, which the lock alone does not promise them."""
        time.sleep(min(max(self._seconds, 0.001), LONGEST_PAUSE_SECONDS))
