"""Who owns data, what they keep it in, and who may come near it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, utc_now

# An integer that SQLite can count up by itself as a primary key, and that is 64 bits wide elsewhere.
TeamId = BigInteger().with_variant(Integer, "sqlite")


class Team(Base):
    """A tenant. In the data API it is the string ``tenant_id``, which is the *name* here.

    *system_prompt* is what a language model is told first when this team asks; null: the service's default. A request
    may put its own in that place only where *allow_system_prompt* says so.
    """

    __tablename__ = "teams"

    id: Mapped[int] = mapped_column(TeamId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    next_project_id: Mapped[int] = mapped_column(BigInteger, default=1)
    system_prompt: Mapped[str | None]
    allow_system_prompt: Mapped[bool] = mapped_column(default=True, server_default=true())
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Project(Base):
    """A namespace of a tenant, and the counters of everything in it.

    *seq* counts publications: a chunk is visible at S when live_seq <= S and dead_seq is null or > S.
    *next_faiss_id* numbers chunks densely. Both are taken by UPDATE ... RETURNING, whose row lock makes the
    numbers follow the order of commits. *keywords_seq* is the number up to which the table of keywords follows the
    project; it is *seq*, or the table is not to be used. *keywords_number* is the project's own in that table.
    """

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("team_id", "name"),)

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str]
    embedding_version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.name"))
    seq: Mapped[int] = mapped_column(BigInteger, default=0)
    next_faiss_id: Mapped[int] = mapped_column(BigInteger, default=0)
    live_docs: Mapped[int] = mapped_column(BigInteger, default=0)
    live_chunks: Mapped[int] = mapped_column(BigInteger, default=0)
    keywords_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    keywords_number: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKey(Base):
    """A key of a team. *id* is its public part, *key_hash* the SHA-256 of the whole; the key itself is nowhere.

    *scopes* are words with a space between them. A key is active until it has been revoked or has expired.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "id"),)

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    key_hash: Mapped[bytes]
    scopes: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
