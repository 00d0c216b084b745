"""The job queue, with its settings."""

from __future__ import annotations

from database.engine import Database
from job_queue import JobQueue
from settings import Settings


def open_queue(settings: Settings, database: Database) -> JobQueue:
    return JobQueue(
        database,
        lease_seconds=settings.job_lease_seconds,
        max_attempts=settings.job_max_attempts,
        retry_seconds=settings.job_retry_seconds,
        slice_seconds=settings.worker_slice_seconds,
    )
