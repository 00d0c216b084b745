"""Blobs on their way to a revision: noted before they are stored, so that whatever a crash leaves is found and removed.

A row stands from before the first byte until the transaction that accepts the revision takes it. What nobody takes
within the grace time is doomed first, so that a late acceptance fails instead of pointing to nothing, and removed then.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, CursorResult, delete, select, update
from sqlalchemy.orm import Session

from database.engine import Database
from engines.blobs.base import BlobStore, new_name
from errors import Conflict
from models import PendingBlob, utc_now
from times import shifted

log = logging.getLogger(__name__)

REMOVED_AT_ONCE = 1000


@dataclass(frozen=True)
class PendingBlobs:
    database: Database
    blobs: BlobStore

    def note(self) -> str:
        """A new name, under which a blob may be stored from now on."""
        name = new_name()
        with self.database.write() as session:
            session.add(PendingBlob(name=name))
        return name

    def remove_untaken(self, names: Sequence[str]) -> None:
        """Delete those of the blobs that no revision took. What cannot be deleted now is left to the sweep."""
        try:
            self._remove(PendingBlob.name.in_(names))
        except Exception as error:
            log.warning("%d raw files that no document took are left to the sweep: %s", len(names), error)

    def sweep(self, *, grace_seconds: float) -> int:
        """Delete what has waited longer than that, and what was doomed before. Returns how many blobs went."""
        return self._remove(
            PendingBlob.is_doomed | (PendingBlob.created_at < shifted(utc_now(), seconds=-grace_seconds))
        )

    def _remove(self, which: ColumnElement[bool]) -> int:
        """Doom, delete, forget: a crash in between leaves what the next sweep goes on with."""
        with self.database.read() as session:
            if session.scalar(select(PendingBlob.name).where(which).limit(1)) is None:
                return 0
        with self.database.write() as session:
            some = select(PendingBlob.name).where(which).order_by(PendingBlob.created_at).limit(REMOVED_AT_ONCE)
            doomed = update(PendingBlob).where(PendingBlob.name.in_(some.scalar_subquery())).values(is_doomed=True)
            names = list(session.scalars(doomed.returning(PendingBlob.name)))
        for name in names:
            self.blobs.delete(name)
        with self.database.write() as session:
            session.execute(delete(PendingBlob).where(PendingBlob.name.in_(names)))
        return len(names)


def take(session: Session, name: str) -> None:
    """The blob belongs to a revision from the caller's commit on. Raises Conflict when it was given up meanwhile."""
    taken = session.execute(delete(PendingBlob).where(PendingBlob.name == name, PendingBlob.is_doomed.is_(False)))
    assert isinstance(taken, CursorResult)
    if taken.rowcount == 0:
        raise Conflict("Sending this file took so long that it was given up (BLOB_GRACE_HOURS): send it again.")
