"""What happens when a version that does not serve cannot follow a write: it lags, and the write goes on without it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from database.engine import Database
from errors import EmbeddingRefused, ModelUnavailable, VersionUnavailable
from job_queue import JobQueue
from models import IndexVersion, Project

log = logging.getLogger(__name__)

BUILD = "build_version"
"""The job that makes a version complete."""
CANNOT_EMBED = (ModelUnavailable, VersionUnavailable, EmbeddingRefused)


@dataclass(frozen=True, slots=True)
class Lagging:
    database: Database
    queue: JobQueue

    def stop_following(self, project: Project, version: str, problem: str) -> None:
        """From this commit on publications need no vectors of *version*; a job makes up for them, then it follows."""
        with self.database.write() as session:
            key = project.team_id, project.id
            locked = session.get_one(Project, key, with_for_update=True)
            of_project = (IndexVersion.team_id == key[0], IndexVersion.project_id == key[1])
            is_version = (IndexVersion.chunks_of == project.id, IndexVersion.embedding_version == version)
            row = session.scalar(select(IndexVersion).where(*of_project, *is_version))
            if row is None or version not in (locked.other_versions or ()):
                return
            locked.other_versions = [each for each in locked.other_versions or () if each != version] or None
            self._lag(session, locked, row, problem)

    def stop_mirroring(self, project: Project, mirror_id: int, problem: str) -> None:
        """The same for a version with chunks of its own."""
        with self.database.write() as session:
            key = project.team_id, project.id
            locked = session.get_one(Project, key, with_for_update=True)
            of_project = (IndexVersion.team_id == key[0], IndexVersion.project_id == key[1])
            row = session.scalar(select(IndexVersion).where(*of_project, IndexVersion.chunks_of == mirror_id))
            is_following = mirror_id in {each.id for each in locked.following_mirrors}
            if row is None or not is_following or mirror_id == locked.serving_mirror:
                return
            locked.change_mirror(mirror_id, is_complete=False)
            self._lag(session, locked, row, problem)

    def _lag(self, session: Session, locked: Project, row: IndexVersion, problem: str) -> None:
        log.warning("version %r of namespace %d/%d lags from now on: %s", row.name, locked.team_id, locked.id, problem)
        row.is_complete, row.covered_seq, row.problem = False, locked.seq, problem
        payload, key = {"name": row.name, "embedding_version": row.embedding_version}, f"{BUILD}:{row.name}"
        row.job_id = self.queue.create_job(session, BUILD, payload, project=locked, dedupe_key=key)
