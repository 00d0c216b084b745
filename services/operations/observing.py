"""Health of the service, and statistics of its indexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from database.engine import Database
from database.repeating import repeatable
from domain import Json
from engines.vectors.base import VectorStore
from errors import ServiceError
from models import DisabledBecause, IndexRow, IndexVersion, Project, Team, Webhook
from services.erasure.purging import count_waiting
from services.index.embedding import EmbeddingService
from services.index.namespaces import is_listed
from services.index.version_info import info_of
from services.index.version_rows import read_rows
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

    *deleted_chunks* were deleted or replaced, and wait to be removed for good. *versions* are the index versions with
    their chunks and vectors; empty if there was never a second one.
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
    versions: list[Json]


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
            is_listed(), *(column == value for column, value in conditions.items() if value is not None)
        )
        with self.database.read() as session:
            rows = session.execute(query.order_by(Team.name, Project.name)).all()
            mirrors, have_several = _mirrors(session), {tuple(row) for row in session.execute(_HAVE_VERSIONS)}
            return [
                self._stats(session, *row, mirrors, has_several=(row[1].team_id, row[1].id) in have_several)
                for row in rows
            ]

    def _stats(
        self,
        session: Session,
        tenant_id: str,
        project: Project,
        index: IndexRow,
        mirrors: Mapping[tuple[int, int], Sequence[Project]],
        *,
        has_several: bool,
    ) -> IndexStats:
        searched, index = _searched(session, project, index)
        holders = (project, *mirrors.get((project.team_id, project.id), ()))
        return IndexStats(
            tenant_id=tenant_id,
            namespace=project.name,
            embedding_version=index.embedding_version,
            ntotal=searched.live_chunks,
            dimension=index.dimension,
            dirty=self.vectors.is_dirty(Snapshot(searched, index)),
            updated_at=index.updated_at,
            seq=project.seq,
            covered_seq=index.covered_seq,
            checkpoint_ntotal=index.ntotal,
            live_docs=project.live_docs,
            deleted_chunks=sum(count_waiting(session, each) for each in holders),
            problem=index.problem,
            versions=_versions(session, project) if has_several else [],
        )

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


def _searched(session: Session, project: Project, index: IndexRow) -> tuple[Project, IndexRow]:
    """What answers searches: the namespace's chunks, or those of a mirror."""
    if project.serving_mirror is None:
        return project, index
    mirror = session.get_one(Project, (project.team_id, project.serving_mirror))
    return mirror, session.get_one(IndexRow, (mirror.team_id, mirror.id, mirror.embedding_version))


_HAVE_VERSIONS = select(IndexVersion.team_id, IndexVersion.project_id).distinct()


def _mirrors(session: Session) -> dict[tuple[int, int], list[Project]]:
    """Of every namespace that has some, by its key."""
    mirrors: dict[tuple[int, int], list[Project]] = defaultdict(list)
    for mirror in session.scalars(select(Project).where(Project.mirror_of.is_not(None))):
        mirrors[mirror.team_id, mirror.namespace_id].append(mirror)
    return mirrors


def _versions(session: Session, project: Project) -> list[Json]:
    infos = (info_of(session, project, row) for row in read_rows(session, project).rows)
    return [{"name": each.name, "state": each.state, "chunks": each.chunks, "vectors": each.vectors} for each in infos]


def without_password(url: str) -> str:
    """Returns the database URL with its password masked."""
    return make_url(url).render_as_string(hide_password=True)
