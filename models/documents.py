"""What was sent, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, partial_index, utc_now


class DocStatus(StrEnum):
    """uploaded -> processing -> ready | failed: how the newest accepted revision of a doc is doing."""

    UPLOADED = "uploaded"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class RevisionStatus(StrEnum):
    """pending -> live -> retired; or, never seen by a search, superseded, failed or cancelled."""

    PENDING = "pending"
    LIVE = "live"
    RETIRED = "retired"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Doc(Base):
    """One document of a namespace. *revision* counts what was accepted, deletions included."""

    __tablename__ = "docs"
    __table_args__ = (ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),)

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    doc_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    live_revision: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(default=DocStatus.PROCESSING)
    error: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class Revision(Base):
    """One accepted content of a doc, and how far it got. The text is kept as it was sent.

    Its chunks have the numbers from *first_id* on. *published_seq* and *published_at* say when it appeared, or was
    described anew since. *text* stands last in the row: reading the metadata of a hit does not walk through it.
    """

    __tablename__ = "revisions"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id", "doc_id"], ["docs.team_id", "docs.project_id", "docs.doc_id"]),
        Index(None, "job_id", "status"),
        partial_index("ix__revisions__live", "status = 'live'", "team_id", "project_id", "published_seq"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    doc_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    status: Mapped[str]
    error: Mapped[str | None]
    job_id: Mapped[str | None]
    doc_hash: Mapped[str]
    recipe: Mapped[str]
    title: Mapped[str | None]
    source_type: Mapped[str] = mapped_column(default="manual")
    mime_type: Mapped[str] = mapped_column(default="text/plain")
    blob_uri: Mapped[str | None]
    doc_metadata: Mapped[Json] = mapped_column("metadata")
    chunk_count: Mapped[int]
    first_id: Mapped[int | None] = mapped_column(BigInteger)
    published_seq: Mapped[int | None] = mapped_column(BigInteger)
    published_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    text: Mapped[str]


class File(Base):
    """The raw file that a revision came as; *revisions.blob_uri* is its name in the store of raw files.

    *asked* is how its sender wants it read and cut, for the worker that turns it into text. *warnings* say what of it
    is not in the text, each as a text/extract/base.py Caveat; what was read by earlier versions has strings there.
    """

    __tablename__ = "files"
    __table_args__ = (
        ForeignKeyConstraint(
            ["team_id", "project_id", "doc_id", "revision"],
            ["revisions.team_id", "revisions.project_id", "revisions.doc_id", "revisions.revision"],
        ),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    doc_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    filename: Mapped[str]
    byte_count: Mapped[int] = mapped_column(BigInteger)
    asked: Mapped[Json]
    warnings: Mapped[list[Json | str]] = mapped_column(JSON, default=list)

    @property
    def caveats(self) -> list[Json]:
        """The warnings as objects, whichever version wrote them."""
        return [{"code": "other", "message": each} if isinstance(each, str) else each for each in self.warnings]

    @property
    def messages(self) -> list[str]:
        """What the warnings say, each once: of many pages one may say the same."""
        return list(dict.fromkeys(str(each["message"]) for each in self.caveats))


class PendingBlob(Base):
    """A raw file that is being stored and that no revision has taken yet. Taking it deletes the row.

    *is_doomed*: it was given up, nobody may take it any more, and its blob is being deleted.
    """

    __tablename__ = "pending_blobs"

    name: Mapped[str] = mapped_column(primary_key=True)
    is_doomed: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Chunk(Base):
    """A piece of a revision. *faiss_id* is its number in its project and in every index of it.

    *header* is the context that was put before the text when it was embedded, and *embed_hash* the hash of
    both: the key under which the vector is found. *chunk_metadata* is the chunk's own, beside the document's.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["team_id", "project_id", "doc_id", "revision"],
            ["revisions.team_id", "revisions.project_id", "revisions.doc_id", "revisions.revision"],
        ),
        Index(None, "team_id", "project_id", "doc_id", "revision", "chunk_index", unique=True),
        Index(None, "team_id", "project_id", "live_seq"),
        Index(None, "team_id", "project_id", "dead_seq"),
        partial_index("ix__chunks__metadata", "metadata IS NOT NULL", "team_id", "project_id", "faiss_id"),
        partial_index("ix__chunks__pages", "page_start IS NOT NULL", "team_id", "project_id", "faiss_id"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    faiss_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    doc_id: Mapped[str]
    revision: Mapped[int] = mapped_column(BigInteger)
    chunk_index: Mapped[int]
    text: Mapped[str]
    header: Mapped[str] = mapped_column(default="")
    section: Mapped[str | None]
    chunk_hash: Mapped[str]
    embed_hash: Mapped[bytes]
    chunk_metadata: Mapped[Json | None] = mapped_column("metadata", JSON(none_as_null=True))
    page_start: Mapped[int | None]
    page_end: Mapped[int | None]
    char_start: Mapped[int]
    char_end: Mapped[int]
    token_count: Mapped[int]
    live_seq: Mapped[int | None] = mapped_column(BigInteger)
    dead_seq: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
