"""Every table, on one page: the schema's one source of truth.

Keys of what a tenant owns start with the team, so that one statement per table shards by tenant. Numbers
of projects and of chunks are handed out by the parent's row, never by a sequence of the database.

teams.py        who owns data
    teams               a tenant
    projects            a namespace of a tenant, and the counters of everything in it
    api_keys            a key of a team, as its hash
documents.py    what was sent, and what became of it
    docs                a document: its newest revision, the live one, and how it is doing
    revisions           an accepted content of a document
    files               the raw file that a revision came as
    pending_blobs       a raw file that no revision has taken yet
    chunks              a piece of a revision, and from when to when it is visible
indexes.py      what chunks are found by
    embedding_versions  a way of turning text into vectors
    embeddings          a vector, once per tenant, version and embedded text
    indices             the checkpoint of a partition
    vectors             the vector of a live chunk, where pgvector searches it
    keywords            the words of a live chunk
jobs.py         long work
    jobs                a unit of it
    workers             a worker process that was seen
requests.py     what is kept of requests
    query_logs          a question, and how it was answered
    query_citations     a chunk that a search gave, or that an answer cited
    ingest_usage        what a project took in on one day
    idempotency_keys    the answer to a keyed request
"""

from models.base import Base, Json, UtcDateTime, utc_now
from models.documents import Chunk, Doc, DocStatus, File, PendingBlob, Revision, RevisionStatus
from models.indexes import Embedding, EmbeddingVersion, IndexRow, KeywordRow, VectorRow
from models.jobs import Job, JobStatus, WorkerRow
from models.requests import IdempotencyKey, IngestUsage, LoggedQuery, QueryCitation
from models.teams import ApiKey, Project, Team

__all__ = [
    "ApiKey",
    "Base",
    "Chunk",
    "Doc",
    "DocStatus",
    "Embedding",
    "EmbeddingVersion",
    "File",
    "IdempotencyKey",
    "IndexRow",
    "IngestUsage",
    "Job",
    "JobStatus",
    "Json",
    "KeywordRow",
    "LoggedQuery",
    "PendingBlob",
    "Project",
    "QueryCitation",
    "Revision",
    "RevisionStatus",
    "Team",
    "UtcDateTime",
    "VectorRow",
    "WorkerRow",
    "utc_now",
]
