"""Every table, on one page: the schema's one source of truth. Declarations only.

Keys of what a tenant owns start with the team, so that one statement per table shards by tenant. Numbers
of projects and of chunks are handed out by the parent's row, never by a sequence of the database.

Who owns data
    teams               a tenant
    projects            a namespace of a tenant, and the counters of everything in it
    api_keys            a key of a team, as its hash
Documents
    docs                a document: its newest revision, the live one, and its status
    revisions           an accepted content of a document
    files               the raw file of a revision
    pending_blobs       a raw file that no revision has taken yet
    chunks              a piece of a revision, and from when to when it is visible
What chunks are found by
    embedding_versions  a way of turning text into vectors
    embeddings          a vector, once per tenant, version and embedded text
    indices             the checkpoint of a partition
    vectors             the vector of a live chunk, where pgvector searches it
    keywords            the words of a live chunk
Long work
    jobs                a unit of it
    workers             a worker process that was seen
What is kept of requests
    query_logs          a question, and how it was answered
    query_citations     a chunk that a search returned, or that an answer cited
    ingest_usage        what a project took in on one day
    idempotency_keys    the answer to a keyed request
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from domain import Json
from times import in_utc, storable


def utc_now() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC on every database: SQLite forgets the zone, Postgres answers in its own.

    One without a zone, or that no driver could read again, is refused, as a value and in a comparison alike.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else storable(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else in_utc(value)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix__%(table_name)s__%(column_0_N_name)s",
            "uq": "uq__%(table_name)s__%(column_0_N_name)s",
            "fk": "fk__%(table_name)s__%(referred_table_name)s",
            "pk": "pk__%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, Json: JSON, bytes: LargeBinary}


def partial_index(name: str, condition: str, *columns: str) -> Index:
    """Of the rows alone that meet the condition."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


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
    """The raw file that a revision was sent as; *revisions.blob_uri* is its name in the blob store.

    *options* are the sender's, for the worker that extracts its text and cuts it into chunks. *warnings* say what of it
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
    options: Mapped[Json] = mapped_column("asked")
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
