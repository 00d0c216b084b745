"""What Prometheus reads: the figures of this process, and those that the database knows."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import and_, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from database.dialects import epoch_now
from database.engine import Database
from domain import JobStatus
from engines.vectors.base import VectorStore
from errors import ServiceError
from metrics import REGISTRY
from models import IndexRow, Job, Project
from services.operations.workers import ALIVE_SECONDS, WorkerService
from version import VERSION

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
_LISTED = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED)
"""Jobs that ended well are counted by the workers, as adf_job_duration_seconds."""


@dataclass(frozen=True, eq=False)
class ExposingService(Collector):
    """Reads the database at most every FRESH_SECONDS, however often it is scraped, and never waits for a writer."""

    database: Database
    vectors: VectorStore
    workers: WorkerService
    _reading: Lock = field(default_factory=Lock, init=False, repr=False)
    _read: list[tuple[float, list[Metric]]] = field(default_factory=list, init=False, repr=False)

    @cached_property
    def registry(self) -> CollectorRegistry:
        """All figures, collected anew each time."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        yield from REGISTRY.collect()
        yield from self._figures()
        yield from self._of_this_machine()

    def _figures(self) -> list[Metric]:
        with self._reading:
            if not self._read or time.monotonic() - self._read[0][0] > FRESH_SECONDS:
                self._read[:] = [(time.monotonic(), list(self._of_the_database()))]
            return self._read[0][1]

    def _of_this_machine(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("adf_build_info", "1; the labels say what runs.", labels=["version", "database"])
        build.add_metric([VERSION, self.database.kind], 1)
        yield build
        yield _gauge("adf_index_memory_bytes", "Memory that this process holds for indexes.", self.vectors.held_bytes)
        if self.database.file is not None:
            free = shutil.disk_usage(self.database.file.parent).free
            yield _gauge("adf_disk_free_bytes", "Free disk space beside the SQLite database.", free)

    def _of_the_database(self) -> Iterator[Metric]:
        """Without a database only the fact that there is none."""
        try:
            with self.database.read() as session:
                figures = [*_jobs(session), *_contents(session)]
            alive = sum(worker.silent_seconds < ALIVE_SECONDS for worker in self.workers.present())
            yield _gauge("adf_workers", "Workers that were seen lately.", alive)
            yield from figures
        except (ServiceError, SQLAlchemyError) as error:
            log.warning("the figures of the database cannot be read: %s", error)
            yield _gauge("adf_database_up", "1 if the database can be read.", 0)
        else:
            yield _gauge("adf_database_up", "1 if the database can be read.", 1)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _jobs(session: Session) -> Iterator[Metric]:
    number = GaugeMetricFamily("adf_jobs", "Jobs that wait, run or failed.", labels=["type", "status"])
    oldest = GaugeMetricFamily(
        "adf_job_oldest_pending_seconds", "How long the job that is due longest has been due.", labels=["type"]
    )
    now = session.scalars(select(epoch_now())).one()
    due = func.min(Job.run_after)
    listed = select(Job.type, Job.status, func.count(), due).where(Job.status.in_(_LISTED))
    for job_type, status, count, due_since in session.execute(listed.group_by(Job.type, Job.status)):
        number.add_metric([job_type, status], count)
        if status == JobStatus.PENDING:
            oldest.add_metric([job_type], max(now - due_since, 0.0))
    yield number
    yield oldest


def _contents(session: Session) -> Iterator[Metric]:
    """The counters of the projects' rows, and of their indexes: one walk of the namespaces, none of what they hold."""
    is_current = and_(
        IndexRow.team_id == Project.team_id,
        IndexRow.project_id == Project.id,
        IndexRow.embedding_version == Project.embedding_version,
    )
    counts = select(
        func.count(Project.id),
        func.coalesce(func.sum(Project.live_docs), 0),
        func.coalesce(func.sum(Project.live_chunks), 0),
        func.coalesce(func.sum(IndexRow.ntotal), 0),
        func.coalesce(func.sum(Project.seq - IndexRow.covered_seq), 0),
        func.count(IndexRow.problem),
    )
    row = session.execute(
        counts.select_from(Project).outerjoin(IndexRow, is_current).where(Project.mirror_of.is_(None))
    ).one()
    meanings = {
        "adf_namespaces": "Namespaces of all tenants.",
        "adf_documents": "Documents that can be found.",
        "adf_chunks": "Chunks that can be found.",
        "adf_index_checkpoint_vectors": "Vectors in the checkpoints of indexes; the other chunks are in tails.",
        "adf_index_uncovered_publications": "Publications that no checkpoint covers yet.",
        "adf_index_problems": "Indexes with a problem, which the next rebuild mends.",
    }
    for (name, meaning), value in zip(meanings.items(), row, strict=True):
        yield _gauge(name, meaning, float(value))
