"""Counts what a project ingests, by day, in the transactions that store it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from database.prepared import PreparedStatement, inserted
from metrics import count_chunks
from models import IngestUsage, Project, Team, utc_now


def count_ingest(session: Session, project: Project, *, requests: int = 0, chunks: int = 0, embedded: int = 0) -> None:
    """Add to the project's counts of today, in the caller's transaction."""
    key = {"team_id": project.team_id, "project_id": project.namespace_id, "day": day_of(utc_now())}
    count_chunks(published=chunks, embedded=embedded)
    _ADD.rows(session, {**key, "requests": requests, "chunks": chunks, "chunks_embedded": embedded})


def add_file_bytes(session: Session, team_id: int, more: int) -> None:
    """Of file objects and of parts of uploads, for the quota of bytes."""
    counted = update(Team).where(Team.id == team_id).values(file_bytes=Team.file_bytes + more)
    session.execute(counted, execution_options={"synchronize_session": False})


def day_of(moment: datetime) -> str:
    """Returns the date of an aware time in UTC."""
    return moment.date().isoformat()


_ADD = PreparedStatement(inserted(IngestUsage, adding=("requests", "chunks", "chunks_embedded")))
