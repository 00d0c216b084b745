"""File batches: files that are attached together, and how they fare, which is read from their documents.

Nothing of a batch is in a process: any of them answers, after any restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, case, delete, func, insert, select, update
from sqlalchemy.orm import Session, defer

from database.engine import Database
from database.repeating import repeatable
from errors import NotFound
from models import BatchFile, Doc, FileBatch, Revision, utc_now
from services.ingest.rows import DocView
from services.stores.ids import BATCH, new_id
from services.stores.paging import ListPage, PageQuery, rows_of
from services.stores.store_file_rows import (
    STATUS_OF_REVISION,
    Attachment,
    FileStatus,
    StoreFileInfo,
    described,
)
from services.stores.stores import FileCounts, Store, require_store
from times import shifted

BatchStatus = Literal["in_progress", "completed", "failed", "cancelled"]
PRUNED_AT_ONCE = 100

CancelJob = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class BatchInfo:
    batch: FileBatch
    store_id: str
    counts: FileCounts

    @property
    def status(self) -> BatchStatus:
        """A batch of which some files failed has completed; the counts say how many."""
        counts = self.counts
        if counts.in_progress:
            return "in_progress"
        if counts.total and counts.failed == counts.total:
            return "failed"
        is_cut_short = counts.cancelled and (self.batch.cancelled_at is not None or not counts.completed)
        return "cancelled" if is_cut_short else "completed"


@dataclass(frozen=True)
class BatchService:
    database: Database
    use_store: Callable[[str, str], Store]
    attach_all: Callable[[Store, Sequence[Attachment]], list[str]]
    cancel_job: CancelJob

    def create(self, tenant_id: str, store_id: str, attachments: Sequence[Attachment]) -> BatchInfo:
        """Of two attachments of one file the later one holds. Raises NotFound, and has then attached none."""
        unique = list({each.file_id: each for each in attachments}.values())
        store = self.use_store(tenant_id, store_id)
        job_ids = self.attach_all(store, unique)
        team_id, project_id = store.key
        key = {"team_id": team_id, "project_id": project_id}
        batch = FileBatch(**key, id=new_id(BATCH), job_ids=job_ids)
        with self.database.write() as session:
            session.add(batch)
            session.flush()
            rows = [{**key, "batch_id": batch.id, "doc_id": each.file_id} for each in unique]
            session.execute(insert(BatchFile), rows)
            return _info(session, store, batch)

    @repeatable
    def get(self, tenant_id: str, store_id: str, batch_id: str) -> BatchInfo:
        with self.database.read() as session:
            return _info(session, *_required(session, tenant_id, store_id, batch_id))

    def cancel(self, tenant_id: str, store_id: str, batch_id: str) -> BatchInfo:
        """Files that are not published yet stay out. What is running ends at its next step; a batch that has ended
        stays as it is.
        """
        info = self.get(tenant_id, store_id, batch_id)
        if info.status == "in_progress":
            for job_id in info.batch.job_ids:
                self._cancel_job(job_id)
            key = (info.batch.team_id, info.batch.id)
            with self.database.write() as session:
                own = update(FileBatch).where(FileBatch.team_id == key[0], FileBatch.id == key[1])
                session.execute(own.values(cancelled_at=utc_now()))
        return self.get(tenant_id, store_id, batch_id)

    @repeatable
    def files(
        self, tenant_id: str, store_id: str, batch_id: str, page: PageQuery, *, status: FileStatus | None = None
    ) -> ListPage[StoreFileInfo]:
        """Those that are in the store still."""
        with self.database.read() as session:
            store, batch = _required(session, tenant_id, store_id, batch_id)
            query = _documents(select(Doc, Revision).options(defer(Revision.text)), batch)
            query = query.where(Doc.deleted_at.is_(None))
            if status is not None:
                names = [name for name, shown in STATUS_OF_REVISION.items() if shown == status]
                query = query.where(Revision.status.in_(names))
            rows = rows_of(session, query, BatchFile.doc_id, page)
            return ListPage(described(session, store, [DocView(*row) for row in rows.data]), rows.has_more)

    def prune(self, keep_days: float) -> int:
        """Forget batches as old as the jobs that are pruned; their files stay. Returns how many."""
        is_old = FileBatch.created_at < shifted(utc_now(), days=-keep_days)
        with self.database.read() as session:
            keys = session.execute(select(FileBatch.team_id, FileBatch.id).where(is_old).limit(PRUNED_AT_ONCE)).all()
        for team_id, batch_id in keys:
            with self.database.write() as session:
                for table, name in ((BatchFile, BatchFile.batch_id), (FileBatch, FileBatch.id)):
                    session.execute(delete(table).where(table.team_id == team_id, name == batch_id))
        return len(keys)

    def _cancel_job(self, job_id: str) -> None:
        try:
            self.cancel_job(job_id)
        except NotFound:
            return  # it ended long ago, and was pruned


def _required(session: Session, tenant_id: str, store_id: str, batch_id: str) -> tuple[Store, FileBatch]:
    store = require_store(session, tenant_id, store_id)
    batch = session.get(FileBatch, (store.project.team_id, batch_id))
    if batch is None or batch.project_id != store.project.id:
        raise NotFound(f"There is no file batch {batch_id!r} in this vector store.", param="batch_id")
    return store, batch


def _info(session: Session, store: Store, batch: FileBatch) -> BatchInfo:
    query = _documents(select(Revision.status, func.count()), batch).group_by(Revision.status)
    counts = dict.fromkeys(("in_progress", "completed", "failed", "cancelled"), 0)
    for status, count in session.execute(query):
        counts[STATUS_OF_REVISION[status]] += count
    of_batch = (BatchFile.team_id == batch.team_id, BatchFile.batch_id == batch.id)
    total = session.scalar(select(func.count()).select_from(BatchFile).where(*of_batch)) or 0
    counts["completed"] += total - sum(counts.values())  # deleted long ago, and purged
    return BatchInfo(batch, store.id, FileCounts(**counts))


def _documents(query: Any, batch: FileBatch) -> Any:
    """With the newest revision that has content: a deletion counts as one too, and has none."""
    same_doc = and_(
        Doc.team_id == BatchFile.team_id, Doc.project_id == BatchFile.project_id, Doc.doc_id == BatchFile.doc_id
    )
    last = case((Doc.deleted_at.is_(None), Doc.revision), else_=Doc.revision - 1)
    newest = and_(
        Revision.team_id == Doc.team_id,
        Revision.project_id == Doc.project_id,
        Revision.doc_id == Doc.doc_id,
        Revision.revision == last,
    )
    query = query.select_from(BatchFile).join(Doc, same_doc).join(Revision, newest)
    return query.where(BatchFile.team_id == batch.team_id, BatchFile.batch_id == batch.id)
