"""What chunks are found by: their vectors and their words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, Text, false
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, utc_now


class EmbeddingVersion(Base):
    """What a version's name stands for. Written once, at its first use; the same for every tenant.

    *is_external*: its vectors come from whoever sends the chunks; no model stands behind it.
    """

    __tablename__ = "embedding_versions"

    name: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    is_remote: Mapped[bool]
    is_external: Mapped[bool] = mapped_column(default=False, server_default=false())
    query_prompt: Mapped[str | None]
    document_prompt: Mapped[str | None]
    dimension: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Embedding(Base):
    """A vector, once per tenant, version and embedded text: little-endian float32, unit length."""

    __tablename__ = "embeddings"

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    embedding_version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.name"), primary_key=True)
    embed_hash: Mapped[bytes] = mapped_column(primary_key=True)
    vector: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class IndexRow(Base):
    """A partition's checkpoint. The commit that names a file is the swap to it.

    *faiss_path* is relative to the folder of indices; null: there is no checkpoint, the tail is everything.
    *problem* is what was wrong with the file when somebody last tried to read it. *vectors_seq* is the number
    up to which the table of vectors follows the partition; it is the project's, or the table is not to be used.
    """

    __tablename__ = "indices"
    __table_args__ = (ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),)

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    embedding_version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.name"), primary_key=True)
    dimension: Mapped[int]
    faiss_path: Mapped[str | None]
    checksum: Mapped[str | None]
    covered_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    ntotal: Mapped[int] = mapped_column(BigInteger, default=0)
    changes: Mapped[int] = mapped_column(BigInteger, default=0)
    vectors_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    problem: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class VectorRow(Base):
    """The vector of a live chunk where pgvector searches it. Postgres alone has this table.

    The column has no dimension, so that versions of every dimension live here; each has an index of its own.
    """

    __tablename__ = "vectors"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        {"info": {"only_on": "postgresql"}},
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    embedding_version: Mapped[str] = mapped_column(primary_key=True)
    faiss_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    embedding: Mapped[Any] = mapped_column(VECTOR())


class KeywordRow(Base):
    """The words of a live chunk, as engines/keywords writes them.

    The database finds rows by a lexeme: Postgres through the index below, SQLite through an FTS5 table that triggers
    keep in step (migration 0006), whose rows are numbered by *posting*.
    """

    __tablename__ = "keywords"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        # Without fastupdate: a search would read every insertion that still waits to be sorted in.
        Index(
            None,
            "lexemes",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            info={"only_on": "postgresql"},
        ),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    faiss_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    posting: Mapped[int] = mapped_column(BigInteger)
    lexemes: Mapped[str] = mapped_column(TSVECTOR().with_variant(Text(), "sqlite"))
