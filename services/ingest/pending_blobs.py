"""Owns the blobs that no revision refers to yet: recorded before they are stored, so that a crash leaves no orphan.

A row exists from before the first byte until the transaction that accepts the revision attaches the blob. A blob that
nothing attaches within the grace time is marked as doomed first, so that a late acceptance fails instead of referring
to a missing blob, and is then deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, CursorResult, delete, select, update
from sqlalchemy.orm import Session

from database.engine import Database
from engines.blobs.base import BlobStore, new_name
from errors import Conflict
from models import PendingBlob, utc_now
from times import shifted

log = logging.getLogger(__name__)

DELETIONS_PER_BATCH = 1000


@dataclass(frozen=True)
class PendingBlobs:
    database: Database
    blobs: BlobStore

    def reserve(self) -> str:
        """Records and returns a new name, under which a blob may be stored from now on."""
        return self.reserve_many(1)[0]

    def reserve_many(self, count: int) -> list[str]:
        names = [new_name() for _ in range(count)]
        with self.database.write() as session:
            session.add_all(PendingBlob(name=name) for name in names)
        return names

    def delete_unattached(self, names: Sequence[str]) -> None:
        """Delete those of the blobs that no revision refers to. What cannot be deleted now is left to the sweep."""
        try:
            self._delete(PendingBlob.name.in_(names))
        except Exception as error:
            log.warning("%d raw files that belong to no document are left to the sweep: %s", len(names), error)

    def sweep(self, *, grace_seconds: float) -> int:
        """Delete blobs that are older than that or already doomed. Returns how many were deleted."""
        return self._delete(
            PendingBlob.is_doomed | (PendingBlob.created_at < shifted(utc_now(), seconds=-grace_seconds))
        )

    def _delete(self, condition: ColumnElement[bool]) -> int:
        """Mark the rows as doomed, delete the blobs, delete the rows. After a crash the next sweep continues."""
        with self.database.read() as session:
            if session.scalar(select(PendingBlob.name).where(condition).limit(1)) is None:
                return 0
        with self.database.write() as session:
            batch = (
                select(PendingBlob.name).where(condition).order_by(PendingBlob.created_at).limit(DELETIONS_PER_BATCH)
            )
            doomed = update(PendingBlob).where(PendingBlob.name.in_(batch.scalar_subquery())).values(is_doomed=True)
            names = list(session.scalars(doomed.returning(PendingBlob.name)))
        for name in names:
            self.blobs.delete(name)
        with self.database.write() as session:
            session.execute(delete(PendingBlob).where(PendingBlob.name.in_(names)))
        return len(names)


def doom(session: Session, names: Iterable[str]) -> None:
    """Give up blobs that a row referred to until now: they are deleted after the caller's commit, at the latest by the
    sweep.
    """
    for name in names:
        session.merge(PendingBlob(name=name, is_doomed=True))


def attach(session: Session, name: str) -> None:
    """Let the blob belong to a revision as of the caller's commit. Raises Conflict if it was doomed meanwhile."""
    result = session.execute(delete(PendingBlob).where(PendingBlob.name == name, PendingBlob.is_doomed.is_(False)))
    assert isinstance(result, CursorResult)
    if result.rowcount == 0:
        raise Conflict("The upload of this file took too long (BLOB_GRACE_HOURS): send it again.")
