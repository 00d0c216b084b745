"""Deletes the documents of vector stores whose time is over: a chore of the worker."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from database.engine import Database
from models import Project, Team, VectorStoreRow, utc_now
from services.ingest.deleting import DeletingService
from services.stores.stores import last_activity
from times import shifted

STORES_PER_SWEEP = 100


@dataclass(frozen=True)
class StoreExpiry:
    database: Database
    deleting: DeletingService

    def sweep(self) -> int:
        """Returns how many expired. One that was used by another door since gets its time anew."""
        is_over = VectorStoreRow.expires_at < utc_now()
        query = select(VectorStoreRow.team_id, VectorStoreRow.project_id).where(
            VectorStoreRow.expires_at.is_not(None), is_over, VectorStoreRow.expired_at.is_(None)
        )
        with self.database.read() as session:
            keys = session.execute(query.limit(STORES_PER_SWEEP)).all()
        return sum(self._expire((team_id, project_id)) for team_id, project_id in keys)

    def _expire(self, key: tuple[int, int]) -> bool:
        with self.database.write() as session:
            project = session.get(Project, key, with_for_update=True)
            row = session.get(VectorStoreRow, key, with_for_update=True)
            now = utc_now()
            if project is None or row is None or row.expires_days is None or row.expired_at is not None:
                return False
            row.last_active_at = last_activity(session, row)
            row.expires_at = shifted(row.last_active_at or now, days=row.expires_days)
            if row.expires_at > now:
                return False
            row.expired_at = now
            session.flush()
            tenant_id = session.get_one(Team, project.team_id).name
            self.deleting.queue_all(session, project, tenant_id)
            return True
