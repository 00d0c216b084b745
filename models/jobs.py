"""Work that waits, runs or is done, and who does it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, utc_now


class JobStatus(StrEnum):
    """pending -> running -> completed, failed or cancelled; back to pending when a try failed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Base):
    """A unit of long work, written in the transaction of the change that asks for it.

    So a document is never stored without the job that indexes it, nor a job left for a document that was
    rolled back. *dedupe_key*: at most one waiting job of a project per key.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        Index(None, "job_id"),
        Index(None, "created_at", "job_id"),
        Index(None, "status", "team_id", "created_at"),
        Index(
            "uq__jobs__waiting",
            "team_id",
            "project_id",
            "dedupe_key",
            unique=True,
            sqlite_where=text("status = 'pending' AND dedupe_key IS NOT NULL"),
            postgresql_where=text("status = 'pending' AND dedupe_key IS NOT NULL"),
        ),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    status: Mapped[str] = mapped_column(default=JobStatus.PENDING)
    payload_json: Mapped[Json]
    result_json: Mapped[Json | None]
    progress: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    dedupe_key: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    worker: Mapped[str | None]
    lease_until: Mapped[float | None]
    run_after: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class WorkerRow(Base):
    """A worker process that was seen: for whoever asks why jobs wait."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
