"""What happens when a version that does not serve cannot follow a write: it lags, and the write goes on without it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import select

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
            of_version = (IndexVersion.team_id == key[0], IndexVersion.project_id == key[1])
            row = session.scalar(select(IndexVersion).where(*of_version, IndexVersion.embedding_version == version))
            if row is None or version not in (locked.other_versions or ()):
                return
            log.warning("version %r of namespace %d/%d lags from now on: %s", row.name, *key, problem)
            row.is_complete, row.covered_seq, row.problem = False, locked.seq, problem
            locked.other_versions = [each for each in locked.other_versions or () if each != version] or None
            payload = {"name": row.name, "embedding_version": version}
            row.job_id = self.queue.create_job(
                session, BUILD, payload, project=locked, dedupe_key=f"{BUILD}:{row.name}"
            )
