"""The backups that workers make by themselves: when one is due, and how the last one ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from database.engine import Database
from errors import Conflict, ServiceError
from models import BackupRow, utc_now
from services.index.auditing import record
from services.operations.manifests import BackupManifest
from times import shifted

log = logging.getLogger(__name__)

RETRY_SECONDS = 900.0
GRACE = 0.5
_ROW = 1


@dataclass(frozen=True)
class ScheduledBackups:
    """*make* makes one; None: none are scheduled. *every_seconds* is the time between two of them."""

    database: Database
    every_seconds: float
    make: Callable[[], BackupManifest] | None

    def run_if_due(self) -> BackupManifest | None:
        """Make a backup if it is time and no other worker does. Failures are recorded, and tried again later."""
        if self.make is None or not self._is_due():
            return None
        try:
            with self.database.backing_up():
                return self._make_and_record(self.make) if self._is_due() else None
        except Conflict as error:
            log.info("no scheduled backup now: %s", error)
            return None

    def _make_and_record(self, make: Callable[[], BackupManifest]) -> BackupManifest | None:
        try:
            manifest = make()
        except Exception as error:
            reason = str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: see the worker's log."
            log.error("the scheduled backup failed: %s", reason, exc_info=not isinstance(error, ServiceError))
            self._record(error=reason)
            return None
        lacks = f"{len(manifest.missing)} raw files of documents are missing in BLOB_STORE_URL."
        self._record(name=manifest.id, completed_at=utc_now(), error=lacks if manifest.missing else None)
        log.info("scheduled backup %s: %.1f MB", manifest.id, manifest.size / 2**20)
        return manifest

    def problem(self) -> str | None:
        """Why there is no recent backup, or None."""
        if self.make is None:
            return None
        with self.database.read() as session:
            row = session.get(BackupRow, _ROW)
        if row is None:
            return None
        if row.error is not None:
            return f"The last scheduled backup (BACKUP_URL) failed: {row.error}"
        overdue_at = shifted(row.tried_at, seconds=(1 + GRACE) * self.every_seconds)
        if utc_now() > overdue_at:
            return f"The last scheduled backup is of {row.tried_at:%Y-%m-%d %H:%M} UTC, and no worker has made another."
        return None

    def describe(self) -> str:
        """Raises ServiceError for a problem."""
        if problem := self.problem():
            raise ServiceError(problem)
        if self.make is None:
            return "none are scheduled (BACKUP_URL)"
        with self.database.read() as session:
            row = session.get(BackupRow, _ROW)
        return f"last: {row.name}" if row is not None else "the first one is due: a worker makes it"

    def _is_due(self) -> bool:
        with self.database.read() as session:
            row = session.get(BackupRow, _ROW)
        return row is None or utc_now() >= self._next(row)

    def _next(self, row: BackupRow) -> datetime:
        has_failed = row.completed_at is None or row.completed_at < row.tried_at
        return shifted(
            row.tried_at, seconds=min(RETRY_SECONDS, self.every_seconds) if has_failed else self.every_seconds
        )

    def _record(self, *, error: str | None, name: str | None = None, completed_at: datetime | None = None) -> None:
        with self.database.write() as session:
            changed = {"tried_at": completed_at or utc_now(), "error": error}
            if completed_at is not None:
                changed |= {"name": name, "completed_at": completed_at}
            _ensure_row(session)
            session.execute(update(BackupRow).where(BackupRow.id == _ROW).values(**changed))
            if completed_at is not None:
                record(session, "backup.made", object=name or "", scheduled=True)


def _ensure_row(session: Session) -> None:
    if session.get(BackupRow, _ROW) is None:
        session.add(BackupRow(id=_ROW, tried_at=utc_now()))
        session.flush()
