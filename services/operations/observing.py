"""Health of the service, and statistics of its indexes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from database.engine import Database
from database.repeating import repeatable
from engines.vectors.base import VectorStore
from errors import ServiceError
from models import DisabledBecause, IndexRow, Project, Team, Webhook
from services.erasure.purging import count_waiting
from services.index.embedding import EmbeddingService
from services.operations.scheduled_backups import ScheduledBackups
from services.operations.script_check import ScriptCheck
from services.operations.workers import Backlog, WorkerInfo, WorkerService
from snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Health:
    """With *problems* the service does not work; despite *warnings* it does."""

    db_ok: bool
    index_store_ok: bool
    jobqueue_ok: bool
    workers_ok: bool
    workers: list[WorkerInfo]
    model: str
    problems: list[str]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class IndexStats:
    """Statistics of a partition. *ntotal* counts live vectors; *dirty*: a rebuild would speed up searches.

    *deleted_chunks* were deleted or replaced, and wait to be removed for good.
    """

    tenant_id: str
    namespace: str
    embedding_version: str
    ntotal: int
    dimension: int
    dirty: bool
    updated_at: datetime
    seq: int
    covered_seq: int
    checkpoint_ntotal: int
    live_docs: int
    deleted_chunks: int
    problem: str | None


@dataclass(frozen=True)
class ObservingService:
    database: Database
    vectors: VectorStore
    workers: WorkerService
    embedding: EmbeddingService
    scripts: ScriptCheck
    backups: ScheduledBackups

    def health(self) -> Health:
        problems: list[str] = []
        db_ok = _passes(self._ping_database, problems)
        workers: list[WorkerInfo] = []
        waiting: list[Backlog] = []
        jobqueue_ok = db_ok and _passes(lambda: self._read_queue(workers, waiting), problems)
        problems += map(str, waiting)
        index_store_ok = _passes(self.vectors.require_ready, problems)
        model = "ready" if self.embedding.is_ready else "failed" if self.embedding.problem else "loading"
        if self.embedding.problem:
            problems.append(self.embedding.problem)
        warnings: list[str] = []
        if db_ok:
            _passes(lambda: warnings.extend(self.scripts.recent_warnings()), problems)
            _passes(lambda: warnings.extend(filter(None, [self.backups.problem()])), problems)
            _passes(lambda: warnings.extend(self._failed_webhooks()), problems)
        workers_ok = jobqueue_ok and not waiting
        return Health(db_ok, index_store_ok, jobqueue_ok, workers_ok, workers, model, problems, warnings)

    def is_ready(self) -> bool:
        """Whether requests should be sent here: the service works, and takes new documents."""
        return _passes(self.database.refuse_when_nearly_full, []) and self.health().ok

    @repeatable
    def index_stats(self, *, tenant_id: str | None = None, namespace: str | None = None) -> list[IndexStats]:
        is_current = and_(
            IndexRow.team_id == Project.team_id,
            IndexRow.project_id == Project.id,
            IndexRow.embedding_version == Project.embedding_version,
        )
        query = (
            select(Team.name, Project, IndexRow).join(Project, Project.team_id == Team.id).join(IndexRow, is_current)
        )
        conditions = {Team.name: tenant_id, Project.name: namespace}
        query = query.where(
            Project.erased_at.is_(None), *(column == value for column, value in conditions.items() if value is not None)
        )
        with self.database.read() as session:
            rows = session.execute(query.order_by(Team.name, Project.name)).all()
            waiting = [count_waiting(session, project) for _, project, _ in rows]
        return [
            IndexStats(
                tenant_id=tenant,
                namespace=project.name,
                embedding_version=index.embedding_version,
                ntotal=project.live_chunks,
                dimension=index.dimension,
                dirty=self.vectors.is_dirty(Snapshot(project, index)),
                updated_at=index.updated_at,
                seq=project.seq,
                covered_seq=index.covered_seq,
                checkpoint_ntotal=index.ntotal,
                live_docs=project.live_docs,
                deleted_chunks=deleted_chunks,
                problem=index.problem,
            )
            for (tenant, project, index), deleted_chunks in zip(rows, waiting, strict=True)
        ]

    def _read_queue(self, workers: list[WorkerInfo], waiting: list[Backlog]) -> None:
        """Two small reads, and no count of the jobs: health is polled."""
        workers += self.workers.present()
        backlog = self.workers.backlog()
        waiting += [backlog] if backlog is not None else []

    def _failed_webhooks(self) -> list[str]:
        """How many, of all tenants: health names none of them."""
        failed = Webhook.disabled_because.in_((DisabledBecause.GONE, DisabledBecause.FAILING))
        with self.database.read() as session:
            count = session.scalar(select(func.count()).select_from(Webhook).where(failed)) or 0
        return [f"Disabled webhooks whose receivers failed: {count}. GET /v1/webhooks shows them."] if count else []

    def _ping_database(self) -> None:
        with self.database.read() as session:
            session.execute(text("SELECT 1"))


def _passes(check: Callable[[], object], problems: list[str]) -> bool:
    try:
        check()
    except (ServiceError, SQLAlchemyError) as error:
        message = str(error) if isinstance(error, ServiceError) else "The database cannot be read."
        problems += [] if message in problems else [message]
        return False
    return True


def without_password(url: str) -> str:
    """Returns the database URL with its password masked."""
    return make_url(url).render_as_string(hide_password=True)
