"""All tables, on one page: the schema's source of truth. Declarations only.

Primary keys of a tenant's rows start with the team, so that one statement per table shards by tenant. Projects and
chunks get their numbers from the parent's row, never from a sequence of the database.

Tenants
    teams               a tenant
    projects            a namespace of a tenant, and the counters of everything in it
    api_keys            a key of a team, as its hash
Documents
    docs                a document: its newest and its live revision, and its status
    revisions           an accepted content of a document
    files               the raw file of a revision
    pending_blobs       a raw file that no revision has adopted yet
    file_objects        a raw file that was uploaded by itself, to be attached as a document
    uploads             a file object that is uploaded in parts
    upload_parts        one of its parts
    chunks              a piece of a revision, and between which seqs it is visible
Indexes
    embedding_versions  a way of turning text into vectors
    installation        which of them new namespaces get
    embeddings          a vector, once per tenant, version and embedded text
    indices             the checkpoint of a partition
    index_versions      a namespace's name for one way to index it
    vectors             the vector of a live chunk, where pgvector searches it
    keywords            the words of a live chunk
Vector stores
    vector_stores       what a namespace is called as a vector store, and when it expires
    file_batches        files that were attached to one together
    batch_files         one of them
Jobs
    jobs                a unit of work in the queue
    workers             a worker process that signed on
Events
    events              what happened to a document or a job
    webhooks            a URL that is called with events
    webhook_deliveries  an event for a webhook, and the answer
Requests
    query_logs          a question, and how it was answered
    query_citations     a chunk that a search returned, or that an answer cited
    ingest_usage        what a project ingested on one day
    idempotency_keys    the answer to a keyed request
Operating
    backups             how the scheduled backups fare
    backup_places       where backups of this database were made
Erasures
    erasures            an erasure, and its receipt
    erasure_docs        a document that an erasure has not finished with
    erasure_ledger      the key of the receipts' keyed names, and the last receipt
    audit_log           who changed what, and when
    audit_chain         the newest row of it
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
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from compression import CompressedText, plain_text
from domain import JobStatus, Json, Mirror
from times import in_utc, storable


def utc_now() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC on every database: SQLite drops the zone, Postgres returns its own.

    Times without a zone, or out of the drivers' range, are refused, as values and in comparisons.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else storable(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else in_utc(value)


class StoredText(TypeDecorator[str]):
    """A text, compressed where it was written as a CompressedText. Read, it is a text in either form.

    On SQLite, whose columns hold any type, a plain text is one for other programs too.
    """

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else LargeBinary())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        if isinstance(value, CompressedText):
            return value.frame
        return value if value is None or dialect.name == "sqlite" else value.encode()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return value if value is None or isinstance(value, str) else plain_text(value)


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
    """An index of only the rows that meet the condition."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


# An integer primary key that SQLite increments by itself; 64 bits wide elsewhere.
TeamId = BigInteger().with_variant(Integer, "sqlite")


class Team(Base):
    """A tenant. In the data API it is the string ``tenant_id``, which is the *name* here.

    With *erased_at*, here and in projects, the row is only a shell, under another name, until its jobs are pruned.
    *system_prompt* is the language model's system prompt for this team; null: the service's default. Requests may
    override it only with *allow_system_prompt*. The quotas are its own: null is the default, 0 none. *file_bytes* are
    those of its file objects and of parts of uploads, for the quota of bytes.
    """

    __tablename__ = "teams"

    id: Mapped[int] = mapped_column(TeamId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    next_project_id: Mapped[int] = mapped_column(BigInteger, default=1)
    system_prompt: Mapped[str | None]
    allow_system_prompt: Mapped[bool] = mapped_column(default=True, server_default=true())
    quota_documents: Mapped[int | None] = mapped_column(BigInteger)
    quota_chunks: Mapped[int | None] = mapped_column(BigInteger)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_embedded_chunks_per_day: Mapped[int | None] = mapped_column(BigInteger)
    file_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    erased_at: Mapped[datetime | None]

    @property
    def has_quotas(self) -> bool:
        own = (self.quota_documents, self.quota_chunks, self.quota_bytes, self.quota_embedded_chunks_per_day)
        return any(quota is not None for quota in own)


class Project(Base):
    """A namespace of a tenant, and the counters of everything in it.

    *seq* counts publications: a chunk is visible at S when live_seq <= S and dead_seq is null or > S.
    *next_faiss_id* numbers chunks densely. Both are incremented by UPDATE ... RETURNING, whose row lock makes the
    numbers follow the order of commits. *keywords_seq* is the seq up to which the table of keywords is complete;
    unless it equals *seq*, the table must not be used. *keywords_number* is the project's number in that table.
    *other_versions* are the embedding versions, besides its own, that have a vector of every live chunk: a publication
    that lacks one of theirs must not be committed. *shadow* names one that is asked a share of the searches until a
    time. Both are here because every reader and writer has this row anyway.
    The rows of chunks that disappeared up to *purged_seq* may be gone: who has applied less has to begin anew.
    *live_bytes* are those of the live revisions. *has_quotas*: its team has some of its own, so that a writer knows.
    *mirrors* are its hidden namespaces with the same live documents in other chunks, and *serving_mirror* is the id of
    the one that answers searches; null: its own chunks do. In a mirror's row *mirror_of* is the id of its namespace.
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
    live_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    has_quotas: Mapped[bool] = mapped_column(default=False, server_default=false())
    keywords_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    keywords_number: Mapped[int | None] = mapped_column(BigInteger)
    other_versions: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    shadow: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    mirrors: Mapped[list[Json] | None] = mapped_column(JSON(none_as_null=True))
    serving_mirror: Mapped[int | None] = mapped_column(BigInteger)
    mirror_of: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    erased_at: Mapped[datetime | None]
    purged_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")

    @property
    def indexed_versions(self) -> tuple[str, ...]:
        """The embedding versions that every publication reaches, the serving one first."""
        return (self.embedding_version, *(self.other_versions or ()))

    @property
    def all_mirrors(self) -> tuple[Mirror, ...]:
        return tuple(Mirror(**each) for each in self.mirrors or ())

    @property
    def following_mirrors(self) -> tuple[Mirror, ...]:
        """Those that every publication reaches."""
        return tuple(each for each in self.all_mirrors if each.is_complete)

    def change_mirror(self, mirror_id: int, *, is_complete: bool) -> None:
        changed = {mirror_id: is_complete}
        self.mirrors = [
            {**each, "is_complete": changed.get(each["id"], each["is_complete"])} for each in self.mirrors or ()
        ]

    @property
    def is_headed(self) -> bool:
        """Whether a mirror puts the titles of the documents before their chunks."""
        return any(mirror.chunking["enrich_context"] for mirror in self.following_mirrors)

    @property
    def namespace_id(self) -> int:
        """The id of the namespace that it mirrors, or its own: what has jobs, usage and a name."""
        return self.id if self.mirror_of is None else self.mirror_of

    @property
    def searched_id(self) -> int:
        """The id of the project whose chunks a search of this namespace returns."""
        return self.id if self.serving_mirror is None else self.serving_mirror

    @property
    def version_set(self) -> frozenset[str | int]:
        """The same, whichever of them serves: what was prepared for these stays good when another one does."""
        return frozenset((*self.indexed_versions, *(mirror.id for mirror in self.following_mirrors)))


class ApiKey(Base):
    """A key of a team. *id* is its public part, *key_hash* the SHA-256 of the whole; the key itself is not stored.

    *scopes* are separated by spaces. A key is active until it has been revoked or has expired. With *filters*, as they
    were sent, or *namespaces* it sees nothing else of its team.
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
    filters: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    namespaces: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))


class DocStatus(StrEnum):
    """uploaded -> processing -> ready | failed: the status of the newest accepted revision."""

    UPLOADED = "uploaded"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class RevisionStatus(StrEnum):
    """pending -> live -> retired; or superseded, failed or cancelled, without ever being live.

    Of a failed or cancelled one the chunks are kept as long as it is its document's newest, so that it can be retried.
    """

    PENDING = "pending"
    LIVE = "live"
    RETIRED = "retired"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Doc(Base):
    """A document of a namespace. *revision* counts accepted changes, deletions included."""

    __tablename__ = "docs"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        Index(None, "team_id", "project_id", "updated_at", "doc_id"),
        partial_index("ix__docs__not_ready", "status <> 'ready'", "team_id", "project_id", "status", "doc_id"),
    )

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
    """An accepted content of a document, and its status. The text is stored as received.

    Its chunks have consecutive ids from *first_id* on. *published_seq* and *published_at* are those of its publication,
    or of a later change of its description; *accepted_seq* is the project's seq when its content or its description
    was last accepted, null in rows of older releases. *byte_count* is that of its text in UTF-8, once there is one, and
    of its raw file. *has_own_chunks*: it came in chunks, which are not cut again. *text* is the last column, so that
    reading metadata does not read it. In a mirror a revision has the number of the seq that published it, and no text.
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
    byte_count: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    has_own_chunks: Mapped[bool] = mapped_column(default=False, server_default=false())
    first_id: Mapped[int | None] = mapped_column(BigInteger)
    accepted_seq: Mapped[int | None] = mapped_column(BigInteger)
    published_seq: Mapped[int | None] = mapped_column(BigInteger)
    published_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    text: Mapped[str] = mapped_column(StoredText)


class File(Base):
    """The raw file of a revision; *revisions.blob_uri* is its name in the blob store.

    *read_options* (column *asked*) are the upload's options for extraction and chunking, for the worker. *warnings*
    name content that is missing from the text, each as a text/extract/base.py Caveat; earlier versions wrote strings.
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
    read_options: Mapped[Json] = mapped_column("asked")
    warnings: Mapped[list[Json | str]] = mapped_column(JSON, default=list)

    @property
    def caveats(self) -> list[Json]:
        """The warnings as objects, whatever version wrote them."""
        return [{"code": "other", "message": each} if isinstance(each, str) else each for each in self.warnings]

    @property
    def messages(self) -> list[str]:
        """The distinct messages of the warnings, which may repeat for many pages."""
        return list(dict.fromkeys(str(each["message"]) for each in self.caveats))


class PendingBlob(Base):
    """A raw file that is stored, or being stored, and that no revision has adopted yet. Adoption deletes the row.

    *is_doomed*: it was abandoned; no revision may adopt it any more, and its blob is being deleted.
    """

    __tablename__ = "pending_blobs"

    name: Mapped[str] = mapped_column(primary_key=True)
    is_doomed: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class FileObject(Base):
    """A raw file that was uploaded by itself, and can be attached to vector stores. *blob* is its own.

    The document that it is attached as has its *id* as doc_id, and a copy of the blob.
    """

    __tablename__ = "file_objects"
    __table_args__ = (partial_index("ix__file_objects__expiring", "expires_at IS NOT NULL", "expires_at"),)

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    byte_count: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    mime_type: Mapped[str]
    declared: Mapped[str]
    blob: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]


class UploadStatus(StrEnum):
    """pending -> completed or cancelled. One that is pending beyond its time has expired."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Upload(Base):
    """A file object that arrives in parts. *byte_count* is what its client announced.

    *file_seconds* is how long the file object shall be kept; null: until it is deleted.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "expires_at"),)

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    declared: Mapped[str]
    byte_count: Mapped[int] = mapped_column(BigInteger)
    file_seconds: Mapped[int | None]
    status: Mapped[str] = mapped_column(default=UploadStatus.PENDING)
    file_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]


class UploadPart(Base):
    __tablename__ = "upload_parts"
    __table_args__ = (ForeignKeyConstraint(["team_id", "upload_id"], ["uploads.team_id", "uploads.id"]),)

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    upload_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    blob: Mapped[str]
    byte_count: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class VectorStoreRow(Base):
    """What is known of a namespace as a vector store. A namespace without a row is one too, under its own name.

    *expires_at* is *expires_days* after *last_active_at*, which is kept only where there are *expires_days*;
    *expired_at*: its documents were deleted.
    """

    __tablename__ = "vector_stores"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        partial_index("ix__vector_stores__expiring", "expires_at IS NOT NULL", "expires_at"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None]
    store_metadata: Mapped[Json] = mapped_column("metadata", default=dict)
    expires_days: Mapped[int | None]
    last_active_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]


class FileBatch(Base):
    """Files that were attached to a vector store together. How they fare, their documents say.

    *job_ids* are the jobs that publish them: what *cancelled_at* has cancelled.
    """

    __tablename__ = "file_batches"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        Index(None, "created_at"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger)
    job_ids: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    cancelled_at: Mapped[datetime | None]


class BatchFile(Base):
    """A file of a batch, by the document that it is attached as."""

    __tablename__ = "batch_files"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "batch_id"], ["file_batches.team_id", "file_batches.id"], ondelete="CASCADE"),
        Index(None, "team_id", "project_id", "doc_id"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    doc_id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger)


class Chunk(Base):
    """A piece of a revision. *faiss_id* is its number in its project and in every index of it.

    *header* is the context that was embedded before the text, and *embed_hash* the hash of both, which is the vector's
    key. *chunk_metadata* is the chunk's own, in addition to the document's. *chunk_hash* is empty: older releases
    stored a hash of the text in it, which nothing reads.
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
        Index(None, "team_id", "embed_hash"),
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
    """The definition of an embedding version. Written once, at its first use; the same for every tenant.

    *is_external*: its vectors come with the chunks, not from a model.
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


class Installation(Base):
    """One row: the embedding version of processes that name no model. The first model that was loaded chose it."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    embedding_version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.name"))


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

    *faiss_path* is relative to the index folder; null: there is no checkpoint, and everything is in the tail.
    *problem* describes why the file could not be loaded. *vectors_seq* is the seq up to which the table of vectors is
    complete; unless it equals the project's, the table must not be used.
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


class IndexVersion(Base):
    """A namespace's name for one way to index it. A namespace without rows has one, which serves.

    *is_complete*: it has a vector of every live chunk, and follows each publication; *job_id* builds it otherwise.
    *covered_seq* is up to where it was complete when it stopped following. *activate* and *gates* say when it shall
    serve. *figures* are those of its last comparison, *shadow* has sums over live searches. The version that served
    last has the latest *retired_at*. *chunks_of* is the project whose chunks it indexes: its own, or a mirror of it.
    """

    __tablename__ = "index_versions"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        UniqueConstraint("team_id", "project_id", "chunks_of", "embedding_version", name="uq__index_versions__way"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    chunks_of: Mapped[int] = mapped_column(BigInteger)
    embedding_version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.name"))
    is_complete: Mapped[bool] = mapped_column(default=False)
    covered_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    job_id: Mapped[str | None]
    activate: Mapped[str]
    gates: Mapped[Json] = mapped_column(default=dict)
    figures: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    shadow: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    problem: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    ready_at: Mapped[datetime | None]
    activated_at: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]


class VectorRow(Base):
    """The vector of a live chunk, for pgvector. Only Postgres has this table.

    The column has no fixed dimension, so that it holds versions of any dimension; each has its own index.
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
    """The words of a live chunk, as engines/keywords encodes them.

    The database looks rows up by lexeme: Postgres with the index below, SQLite with an FTS5 table that triggers keep
    in step (migration 0014), whose rowid is *posting*. There *lexemes* has only what the row's key does not say.
    """

    __tablename__ = "keywords"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        # Without fastupdate, because searches would scan all insertions that are not merged yet.
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


class Job(Base):
    """A unit of work, written in the transaction of the change that needs it.

    So a document is never stored without the job that indexes it, and no job is left for a document that was rolled
    back. *dedupe_key*: a project has at most one pending job per key. *chunks_done* of *chunks_total*
    have their vectors; *seconds_left* is an estimate; all three are null while unknown. *failed_docs* counts the job's
    documents that failed. *retried_as* is the job that tries again what failed. *request_id* is for logs,
    *traceparent* for traces.
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
    chunks_done: Mapped[int | None]
    chunks_total: Mapped[int | None]
    seconds_left: Mapped[int | None]
    failed_docs: Mapped[int] = mapped_column(default=0, server_default="0")
    retried_as: Mapped[str | None]
    error: Mapped[str | None]
    dedupe_key: Mapped[str | None]
    request_id: Mapped[str | None]
    traceparent: Mapped[str | None]
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
    """A worker process. *seen_at* is its last heartbeat, by the database's clock.

    *doing* is the type of its job; null: it waits for one. *left_at*: it signed off.
    """

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str | None]
    pid: Mapped[int | None]
    version: Mapped[str | None]
    doing: Mapped[str | None]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    left_at: Mapped[datetime | None]


class EventRow(Base):
    """What happened, written in the transaction that made it happen (event_log.py).

    *number* grows over the whole installation and is never given twice; the newest row is kept, since SQLite counts on
    from it. *data* names what the event is about, without any text of it. Without a project it concerns the team.
    """

    __tablename__ = "events"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        Index(None, "number"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    project_id: Mapped[int | None] = mapped_column(BigInteger)
    type: Mapped[str]
    data: Mapped[Json]
    created_at: Mapped[datetime]


class DisabledBecause(StrEnum):
    """Why a webhook gets nothing: somebody said so, its receiver answered 410, or failed for too long."""

    REQUESTED = "requested"
    GONE = "gone"
    FAILING = "failing"


class Webhook(Base):
    """A URL that is called with what happens to a tenant, or to one of its projects. *events* are types; null: all.

    *secret* signs, and has to be readable for that; *previous_secret* signs too until *previous_until*. Events up to
    the number *position* have their deliveries. *due_at* is when the next delivery is due (null: none waits), and like
    *lease_until* in seconds since 1970 by the database's clock. Whoever delivers holds the lease as *holder*.
    """

    __tablename__ = "webhooks"
    __table_args__ = (ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),)

    team_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("teams.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[int | None] = mapped_column(BigInteger)
    url: Mapped[str]
    events: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    position: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[float | None]
    served_at: Mapped[float] = mapped_column(default=0.0)
    lease_until: Mapped[float | None]
    holder: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    last_error: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class WebhookDelivery(Base):
    """An event for a webhook, and how its receiver answered the last time. *due_at* is null unless it is pending.

    What is sent is read from the event when it is sent.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "webhook_id"], ["webhooks.team_id", "webhooks.id"], ondelete="CASCADE"),
        Index(None, "team_id", "webhook_id", "due_at"),
        Index(None, "team_id", "number"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    webhook_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float | None]
    attempted_at: Mapped[datetime | None]
    answer_status: Mapped[int | None]
    answer_excerpt: Mapped[str | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class LoggedQuery(Base):
    """A question and its outcome; *error* is the error code if it failed.

    Written some time after the answer. *question* is null unless the operator logs texts; *model* is null if no answer
    was generated. *day* is that of created_at in UTC, as 2026-11-21.
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
    """A chunk that a search returned or an answer cited. No foreign key: the log outlives the chunk."""

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
    """What a project ingested on one day, in UTC. Exact, as the storing transactions count it.

    *chunks* counts chunks that were published or re-embedded, *chunks_embedded* the vectors computed for them.
    """

    __tablename__ = "ingest_usage"
    __table_args__ = (
        ForeignKeyConstraint(["team_id", "project_id"], ["projects.team_id", "projects.id"]),
        Index(None, "team_id", "day"),
    )

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[int] = mapped_column(BigInteger)
    chunks_embedded: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKey(Base):
    """The answer to a request with an idempotency key; null while the first request is in progress."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    status_code: Mapped[int | None]
    response_headers: Mapped[str | None]
    response_body: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    tenant_id: Mapped[str | None]


class BackupRow(Base):
    """One row, on the scheduled backups: the last complete one, and why the last attempt failed, if it did."""

    __tablename__ = "backups"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tried_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    name: Mapped[str | None]
    error: Mapped[str | None]


class BackupPlace(Base):
    """A place where backups of this database were made; it also gets a copy of the ledger of erasures.

    *keep* is how many backups stay there, *every_hours* how often one is made; null: no rule is known.
    """

    __tablename__ = "backup_places"

    location: Mapped[str] = mapped_column(primary_key=True)
    keep: Mapped[int | None]
    every_hours: Mapped[float | None]
    used_at: Mapped[datetime] = mapped_column(default=utc_now)


class ErasureKind(StrEnum):
    """What an erasure was asked for: documents by id or filter, all documents of a place, or the place itself."""

    DOCUMENTS = "documents"
    FILTERS = "filters"
    EVERYTHING = "everything"
    NAMESPACE = "namespace"
    TENANT = "tenant"


class Erasure(Base):
    """An erasure. No foreign keys: it outlives what it erased, and holds no text of it once it is finished.

    *scope* names what it covers by keyed hashes, *doc_keys* are those of its documents, 16 bytes each. *work* is what
    the job needs until then: the request, cursors, texts to search for. *tally* counts rows by store. *number* is that
    of the *receipt*.
    """

    __tablename__ = "erasures"

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str | None]
    kind: Mapped[str]
    scope: Mapped[Json]
    doc_keys: Mapped[bytes | None]
    requested_by: Mapped[str]
    reason: Mapped[str | None]
    work: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    tally: Mapped[Json] = mapped_column(default=dict)
    number: Mapped[int | None] = mapped_column(BigInteger)
    receipt: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class ErasureDoc(Base):
    """A document of an erasure, until it is finished.

    *last_revision* is the newest one to erase; null: the document has not been hidden yet. *chunk_ranges* are the ids
    of its chunks, as pairs of the first and how many.
    """

    __tablename__ = "erasure_docs"
    __table_args__ = (ForeignKeyConstraint(["team_id", "erasure_id"], ["erasures.team_id", "erasures.id"]),)

    team_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    erasure_id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    doc_id: Mapped[str] = mapped_column(primary_key=True)
    last_revision: Mapped[int | None] = mapped_column(BigInteger)
    chunk_ranges: Mapped[list[list[int]]] = mapped_column(JSON, default=list)


class ErasureLedgerRow(Base):
    """One row. *digest* is the hash of the receipt with the last *number*; whoever writes the next one locks it."""

    __tablename__ = "erasure_ledger"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    hmac_key: Mapped[bytes]
    number: Mapped[int] = mapped_column(BigInteger, default=0)
    digest: Mapped[str] = mapped_column(default="")


class AuditRow(Base):
    """Who changed what. Rows are appended by services/index/auditing.py, and never changed.

    *number* counts without gaps. *hash* is over *previous_hash*, that of the row before, and over what the row says.
    *tenant_id* is a name, since the row outlives what it speaks of; null: it concerns the installation.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "tenant_id", "number"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    tenant_id: Mapped[str | None]
    actor: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
    request_id: Mapped[str | None]
    details: Mapped[Json]
    previous_hash: Mapped[bytes]
    hash: Mapped[bytes]


class AuditChain(Base):
    """One row, which those who append wait for. Only Postgres has this table: SQLite has one writer at a time."""

    __tablename__ = "audit_chain"
    __table_args__ = ({"info": {"only_on": "postgresql"}},)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    previous_hash: Mapped[bytes]
    hash: Mapped[bytes]


TENANT_DATA: frozenset[str] = frozenset(
    {
        *("teams.name", "teams.system_prompt", "projects.name", "api_keys.name"),
        *("api_keys.filters", "api_keys.namespaces"),
        *("docs.doc_id", "docs.error"),
        *("revisions.doc_id", "revisions.error", "revisions.doc_hash", "revisions.title", "revisions.metadata"),
        *("revisions.text", "revisions.source_type", "revisions.mime_type", "revisions.blob_uri"),
        *("files.doc_id", "files.filename", "files.asked", "files.warnings"),
        *("chunks.doc_id", "chunks.text", "chunks.header", "chunks.section", "chunks.chunk_hash"),
        *("chunks.embed_hash", "chunks.metadata"),
        *("embeddings.embed_hash", "embeddings.vector", "vectors.embedding", "keywords.lexemes"),
        *("jobs.payload_json", "jobs.result_json", "jobs.error"),
        *("query_logs.question", "query_logs.question_hash", "query_logs.error"),
        *("idempotency_keys.response_body", "idempotency_keys.response_headers", "idempotency_keys.tenant_id"),
        *("erasures.work", "erasure_docs.doc_id", "index_versions.name", "events.data", "webhooks.url"),
        *("webhooks.last_error", "webhook_deliveries.answer_excerpt", "webhook_deliveries.error"),
        *("file_objects.filename", "file_objects.sha256", "file_objects.mime_type", "file_objects.declared"),
        *("file_objects.id", "file_objects.blob", "uploads.filename", "uploads.declared", "uploads.file_id"),
        *("upload_parts.blob", "vector_stores.name", "vector_stores.description", "vector_stores.metadata"),
        "batch_files.doc_id",
    }
)
"""Every column that holds what a tenant sent, or what was made of it: an erasure has to reach each of them."""

SERVICE_DATA: frozenset[str] = frozenset(
    {
        *("projects.embedding_version", "api_keys.id", "api_keys.key_hash", "api_keys.scopes", "docs.status"),
        *("revisions.status", "revisions.job_id", "revisions.recipe", "pending_blobs.name"),
        *("embedding_versions.name", "embedding_versions.model", "embedding_versions.query_prompt"),
        *("embedding_versions.document_prompt", "installation.embedding_version", "embeddings.embedding_version"),
        *("indices.embedding_version", "indices.faiss_path", "indices.checksum", "indices.problem"),
        *("vectors.embedding_version", "jobs.job_id", "jobs.type", "jobs.status", "jobs.retried_as"),
        *("jobs.dedupe_key", "jobs.request_id", "jobs.traceparent", "jobs.worker"),
        *("events.type", "webhooks.id", "webhooks.events", "webhooks.secret", "webhooks.previous_secret"),
        *("webhooks.holder", "webhooks.disabled_because", "webhook_deliveries.webhook_id", "webhook_deliveries.status"),
        *("workers.name", "workers.host", "workers.version", "workers.doing"),
        *(
            "query_logs.query_id",
            "query_citations.query_id",
            "query_logs.api_key_id",
            "query_logs.kind",
            "query_logs.model",
            "query_logs.day",
        ),
        *("ingest_usage.day", "idempotency_keys.key", "idempotency_keys.request_hash"),
        *("backups.name", "backups.error", "backup_places.location"),
        *("erasures.id", "erasures.job_id", "erasures.kind", "erasures.scope", "erasures.doc_keys"),
        *("erasures.requested_by", "erasures.reason", "erasures.tally", "erasures.receipt"),
        *("erasure_docs.erasure_id", "erasure_docs.chunk_ranges"),
        *("erasure_ledger.hmac_key", "erasure_ledger.digest"),
        *("projects.other_versions", "projects.shadow", "index_versions.embedding_version", "index_versions.job_id"),
        "projects.mirrors",
        *("index_versions.activate", "index_versions.gates", "index_versions.figures", "index_versions.shadow"),
        *("index_versions.problem", "audit_log.action", "audit_log.actor", "audit_log.details", "audit_log.hash"),
        *("audit_log.object", "audit_log.previous_hash", "audit_log.request_id", "audit_log.tenant_id"),
        *("audit_chain.hash", "audit_chain.previous_hash", "file_objects.purpose", "uploads.id", "uploads.purpose"),
        *("uploads.status", "upload_parts.id", "upload_parts.upload_id", "file_batches.id", "file_batches.job_ids"),
        "batch_files.batch_id",
    }
)
"""Every other column of text, bytes or JSON: nothing in it comes from a document."""
