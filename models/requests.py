"""What is kept of requests."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, utc_now


class LoggedQuery(Base):
    """A question that was answered, or that could not be: then *error* is the code of what went wrong.

    Written some time after the answer. *question* is null unless the operator wants texts; *model* is null where no
    answer was made of what was found. *day* is that of created_at in UTC, as 2026-11-21.
    """

    __tablename__ = "query_logs"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        Index(None, "day"),
        Index(None, "team_id", "day"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    query_id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger)
    api_key_id: Mapped[str | None]
    kind: Mapped[str]
    question_hash: Mapped[str]
    question: Mapped[str | None]
    used_rag: Mapped[bool]
    top_k: Mapped[int]
    model: Mapped[str | None]
    latency_ms: Mapped[int]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    error: Mapped[str | None]
    day: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class QueryCitation(Base):
    """A chunk that a search gave, or that an answer cited. A log outlives what it tells of: no chunk is referred to."""

    __tablename__ = "query_citations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["team_id", "query_id"], ["query_logs.team_id", "query_logs.query_id"], ondelete="CASCADE"
        ),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    query_id: Mapped[str] = mapped_column(primary_key=True)
    faiss_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    rank: Mapped[int]
    score: Mapped[float | None]


class IngestUsage(Base):
    """What a project took in on one day, in UTC. Counted in the transactions that store it, so it is exact.

    *chunks* got their vectors by being published or moved to another version; *chunks_embedded* of the vectors had
    to be made.
    """

    __tablename__ = "ingest_usage"
    __table_args__ = (ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),)

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[int] = mapped_column(BigInteger)
    chunks_embedded: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKey(Base):
    """The answer that was given to a keyed request; null while the first one is still at work."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    status_code: Mapped[int | None]
    response_headers: Mapped[str | None]
    response_body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
