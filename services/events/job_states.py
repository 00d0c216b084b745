"""How some jobs stand, for those who follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import select

from database.engine import Database
from domain import JobStatus, ListedStatus, outcome_of
from job_queue import FINISHED
from models import Job


@dataclass(frozen=True, slots=True)
class JobState:
    """*outcome* is None until the job has ended."""

    job_id: str
    status: str
    outcome: ListedStatus | None
    progress: int
    chunks_done: int | None
    chunks_total: int | None
    seconds_left: int | None

    @classmethod
    def of(cls, info: Any) -> JobState:
        """Of a job as it was read by itself."""
        return cls(**{each.name: getattr(info, each.name) for each in fields(cls)})


def job_states(database: Database, job_ids: Sequence[str]) -> dict[str, JobState]:
    """By id; without those that are deleted."""
    columns = (Job.job_id, Job.status, Job.progress, Job.chunks_done, Job.chunks_total, Job.seconds_left)
    query = select(*columns, Job.failed_docs).where(Job.job_id.in_(job_ids))
    states = {}
    with database.read() as session:
        for job_id, status, progress, done, total, left, failed in session.execute(query):
            ended = outcome_of(JobStatus(status), has_errors=failed > 0) if status in FINISHED else None
            states[job_id] = JobState(job_id, status, ended, progress, done, total, left)
    return states
