"""Which workers are alive, and whether anybody works on the jobs that wait.

Workers sign on, beat and sign off in a table, by the database's clock: hosts may disagree about the time.
"""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, case, delete, func, or_, select, update
from sqlalchemy.orm import Session

from database.dialects import epoch_now
from database.engine import Database
from domain import JobStatus
from job_lease import is_abandoned, is_due
from models import Job, WorkerRow
from version import VERSION

BEAT_SECONDS = 10.0
ALIVE_SECONDS = 3 * BEAT_SECONDS
MOST_COUNTED = 1000
START_A_WORKER = "start one with python worker.py, with the same DATABASE_URL"
NO_WORKER = f"no worker has been seen lately: {START_A_WORKER}"
_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker that has not signed off. *doing* is the type of its job, None if it waits for one; an older release
    reports its name and times alone.
    """

    name: str
    host: str | None
    pid: int | None
    version: str | None
    doing: str | None
    started_at: datetime
    seen_at: datetime
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """*jobs* wait, counted up to MOST_COUNTED, one of them for *seconds*, in which no worker was seen."""

    jobs: int
    seconds: float

    def __str__(self) -> str:
        number = f"{MOST_COUNTED} or more jobs have" if self.jobs >= MOST_COUNTED else f"{self.jobs} jobs have"
        number = "1 job has" if self.jobs == 1 else number
        return f"{number} waited for {self.seconds:.0f} s, and no worker was seen in that time: {START_A_WORKER}."


@dataclass(frozen=True)
class WorkerService:
    """*silence_seconds*: how long jobs may wait without a worker before health says so; 0: for ever."""

    database: Database
    silence_seconds: float

    def beat(self, name: str, *, doing: str | None = None) -> None:
        """Record that this process works under that name, and prune workers that fell silent long ago."""
        with self.database.write() as session:
            now = _now(session)
            row = session.get(WorkerRow, name) or WorkerRow(name=name, started_at=now)
            row.host, row.pid, row.version = socket.gethostname(), os.getpid(), VERSION
            row.doing, row.seen_at, row.left_at = doing, now, None
            session.add(row)
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now - _KEPT))

    def sign_off(self, name: str) -> None:
        """The row stays for a day: a restart must not look as if nobody had ever worked."""
        with self.database.write() as session:
            now = _now(session)
            own_row = update(WorkerRow).where(WorkerRow.name == name)
            session.execute(own_row.values(seen_at=now, left_at=now, doing=None))

    def present(self) -> list[WorkerInfo]:
        """The workers that were seen within the last day and have not signed off, most recently seen first."""
        with self.database.read() as session:
            now = _now(session)
            is_present = and_(WorkerRow.left_at.is_(None), WorkerRow.seen_at > now - _KEPT)
            workers = [_info(row, now) for row in session.scalars(select(WorkerRow).where(is_present))]
        return sorted(workers, key=lambda worker: worker.silent_seconds)

    def is_any_alive(self) -> bool:
        return any(worker.silent_seconds < ALIVE_SECONDS for worker in self.present())

    def backlog(self) -> Backlog | None:
        """The jobs that nobody works on, if they waited too long. Reads no job while a worker is alive."""
        if not self.silence_seconds:
            return None
        with self.database.read() as session:
            now, last_seen = session.execute(select(epoch_now(), func.max(WorkerRow.seen_at))).one()
            silent = now - last_seen.timestamp() if last_seen is not None else math.inf
            if silent < self.silence_seconds:
                return None
            since = case((Job.status == JobStatus.PENDING, Job.run_after), else_=Job.lease_until).label("since")
            waiting = select(since).where(or_(is_due(), is_abandoned())).limit(MOST_COUNTED).subquery()
            jobs, oldest = session.execute(select(func.count(), func.min(waiting.c.since))).one()
        seconds = min(silent, now - oldest) if jobs else 0.0
        return Backlog(jobs, seconds) if seconds >= self.silence_seconds else None


def _now(session: Session) -> datetime:
    return datetime.fromtimestamp(session.scalars(select(epoch_now())).one(), UTC)


def _info(row: WorkerRow, now: datetime) -> WorkerInfo:
    return WorkerInfo(
        name=row.name,
        host=row.host,
        pid=row.pid,
        version=row.version,
        doing=row.doing,
        started_at=row.started_at,
        seen_at=row.seen_at,
        silent_seconds=(now - row.seen_at).total_seconds(),
    )
