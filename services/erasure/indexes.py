"""Writes the index files of a namespace anew, without what was hidden, and removes those of every generation before.

The rows of the hidden chunks stay until then: processes that follow the database learn from them what disappeared. Once
purged_seq says that they may be gone, whoever has not followed so far begins anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from database.dialects import epoch_now
from database.engine import Database
from domain import JobStatus, Partition
from engines.vectors.base import VectorStore
from errors import DatabaseUnavailable
from models import Erasure, EventRow, IndexRow, IndexVersion, Job, Project, Team
from services.erasure.steps import Steps
from services.index.publishing import Publisher
from services.ingest.file_objects import forget_store

ERASE = "erase"
WAIT_SECONDS, LOOK_SECONDS = 600.0, 0.1
ATTEMPTS = 5


@dataclass(frozen=True)
class IndexRemoval:
    database: Database
    vectors: VectorStore
    publisher: Publisher

    def rewrite(self, erasure: Erasure, project: Project, steps: Steps) -> int:
        """Returns how many files went. Searches use the old index or the new one, and find the same."""
        with self.database.read() as session:
            rows = session.scalars(select(IndexRow).where(_in_project(project))).all()
            followed = session.get_one(Project, (project.team_id, project.id)).indexed_versions
        for row in rows:
            key = Partition(project.team_id, project.id, row.embedding_version)
            if row.embedding_version not in followed or not self._replace(erasure, key, row.dimension, steps):
                self._drop(erasure, project, key, steps)
        return self.sweep(erasure, project, steps)

    def sweep(self, erasure: Erasure, project: Project, steps: Steps) -> int:
        """Remove files that no row names. Returns how many there were."""
        with self.database.read() as session:
            rows = session.scalars(select(IndexRow).where(_in_project(project))).all()
        return sum(self._sweep(erasure, project, row.embedding_version, steps) for row in rows)

    def forget(self, erasure: Erasure, project: Project, version: str, steps: Steps) -> None:
        """Remove a partition with its files."""
        key = Partition(project.team_id, project.id, version)
        with steps.step(85, dict(erasure.tally)) as session:
            self.vectors.forget(session, key)
        self._sweep(erasure, project, version, steps)

    def forget_names(self, project: Project, steps: Steps) -> None:
        """Of its index versions, and of itself as a vector store."""
        with steps.step(85, {}) as session:
            current = session.get_one(Project, (project.team_id, project.id), with_for_update=True)
            current.other_versions, current.shadow, current.mirrors, current.serving_mirror = None, None, None, None
            of_project = and_(IndexVersion.team_id == project.team_id, IndexVersion.project_id == project.id)
            session.execute(delete(IndexVersion).where(of_project))
            forget_store(session, project.team_id, project.id)

    def drop_shells(self) -> int:
        count = 0
        with self.database.read() as session:
            of_project = and_(Job.team_id == Project.team_id, Job.project_id == Project.id)
            is_shell = and_(Project.erased_at.is_not(None), Project.mirror_of.is_(None))
            bare = select(Project).where(is_shell, ~exists().where(of_project))
            projects = session.scalars(bare).all()
            if not projects and session.scalar(select(Team.id).where(Team.erased_at.is_not(None)).limit(1)) is None:
                return 0
        for project in projects:
            with self.database.write() as session:
                of_shell = and_(EventRow.team_id == project.team_id, EventRow.project_id == project.id)
                session.execute(update(EventRow).where(of_shell).values(project_id=None))
                forget_store(session, project.team_id, project.id)
                session.execute(delete(Project).where(Project.team_id == project.team_id, Project.id == project.id))
            count += 1
        with self.database.write() as session:
            has_projects = exists().where(Project.team_id == Team.id)
            session.execute(delete(Team).where(Team.erased_at.is_not(None), ~has_projects))
        return count

    def await_others(self, erasure: Erasure, project_id: int, steps: Steps) -> None:
        """Wait until no other worker runs a job of the namespace: it may hold what is being erased in its memory.

        Raises DatabaseUnavailable after a while; the job is then tried again later.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with self.database.read() as session:
                running = session.scalars(_running(erasure, project_id)).all()
            if not running:
                return
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"Job {running[0]} works on the same documents: waiting for it to end.")
            steps.check()
            time.sleep(LOOK_SECONDS)

    def _replace(self, erasure: Erasure, key: Partition, dimension: int, steps: Steps) -> bool:
        """False: the index cannot be written now, since chunks of it have no vector yet."""
        for _ in range(ATTEMPTS):
            built = self.vectors.build(key, dimension, check=steps.check, is_anew=True)
            if built is None:
                return False
            with steps.step(60, dict(erasure.tally)) as session:
                project = session.get_one(Project, (key.team_id, key.project_id))
                current, _ = self.publisher.next_numbers(session, project, publications=0)
                is_there = key.embedding_version in current.indexed_versions
                if is_there and self.vectors.replace(session, current, key.embedding_version, built):
                    current.purged_seq = max(current.purged_seq, built.covered_seq)
                    return True
            self.vectors.sweep(key, built)
        return False

    def _drop(self, erasure: Erasure, project: Project, key: Partition, steps: Steps) -> None:
        with steps.step(60, dict(erasure.tally)) as session:
            current, _ = self.publisher.next_numbers(
                session, session.get_one(Project, (project.team_id, project.id)), publications=0
            )
            self.vectors.drop(session, key)
            current.purged_seq = max(current.purged_seq, current.seq)
            if current.erased_at is None and key.embedding_version in current.indexed_versions:
                self.publisher.request_rebuild(session, current)

    def _sweep(self, erasure: Erasure, project: Project, version: str, steps: Steps) -> int:
        key = Partition(project.team_id, project.id, version)
        return self.vectors.sweep_all(key, wait_for_builders=lambda: self.await_others(erasure, project.id, steps))


def set_purged(session: Session, project: Project, seq: int) -> None:
    own = and_(Project.team_id == project.team_id, Project.id == project.id, Project.purged_seq < seq)
    session.execute(update(Project).where(own).values(purged_seq=seq), execution_options={"synchronize_session": False})


def _in_project(project: Project) -> Any:
    return and_(IndexRow.team_id == project.team_id, IndexRow.project_id == project.id)


def _running(erasure: Erasure, project_id: int) -> Any:
    """Of two erasures the later one waits for the earlier one."""
    of_project = and_(Job.team_id == erasure.team_id, Job.project_id == project_id, Job.job_id != erasure.job_id)
    is_held = and_(Job.status == JobStatus.RUNNING, Job.lease_until >= epoch_now())
    is_first = or_(Job.type != ERASE, Job.created_at < erasure.created_at)
    return select(Job.job_id).where(of_project, is_held, is_first)
