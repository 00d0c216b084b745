"""The lines of the page of limits that concern who calls and what runs: accounts, jobs, erasures, processes."""

from __future__ import annotations

from api.access_log import MOST_WAITING as MOST_LINES_WAITING
from api.v1.erasures import ErasureIn
from api.v1.keys import DeriveIn, KeyIn, RotateIn
from commands.limit_bounds import Bound, Section, largest
from database.engine import RESERVE_BYTES
from database.postgres import POOL_TIMEOUT_SECONDS
from job_queue import LONGEST_PAUSE_SECONDS
from services.accounts.derived_keys import MAX_CHARS
from services.accounts.restricting import MAX_FILTER_BYTES
from services.answers.query_log import MAX_ROWS_WAITING
from services.answers.usage import MAX_DAYS
from services.erasure.content import KEYS_IN_RECEIPT
from services.erasure.requests import HIDDEN_AT_ONCE
from services.ingest.ingesting import MAX_ERRORS_REPORTED

_RETRY = "503 with `Retry-After`"
_CHARS, _MB, _SECONDS = "characters", "MB", "s"

ACCOUNTS = Section(
    "Accounts and usage",
    (
        Bound("Requests of a key", "rate_limit_per_key", "429 with `Retry-After`"),
        Bound("Requests of all keys of a team together", "rate_limit_per_team", "429 with `Retry-After`"),
        Bound("Requests of a tenant, without keys too", "rate_limit_per_tenant", "429 with `Retry-After`"),
        Bound("Documents of a team", "quota_documents", "413 `quota_exceeded`"),
        Bound("Chunks of a team", "quota_chunks", "413 `quota_exceeded`"),
        Bound("Bytes of a team's texts and raw files", "quota_bytes", "413 `quota_exceeded`"),
        Bound(
            "Chunks of a team that are embedded in a day",
            "quota_embedded_chunks_per_day",
            "429 `daily_quota_exceeded`",
        ),
        Bound("Requests per minute and address without a valid key", "auth_failures_per_minute", "429 instead of 401"),
        Bound("Time that a revoked key lives on in other processes", "auth_trust_seconds", "401"),
        Bound("`scopes` of a key", largest(KeyIn, "scopes"), "422"),
        Bound("`name` of a key", largest(KeyIn, "name"), "422", _CHARS),
        Bound("`filters` of a key, as JSON", MAX_FILTER_BYTES, "422", "bytes"),
        Bound("`namespaces` of a key", largest(KeyIn, "namespaces"), "422"),
        Bound("A derived key", MAX_CHARS, "422", _CHARS),
        Bound("`expires_in_seconds` of a derived key", largest(DeriveIn, "expires_in_seconds"), "422", _SECONDS),
        Bound("`overlap_seconds` of a rotation (30 days)", largest(RotateIn, "overlap_seconds"), "422", _SECONDS),
        Bound("Days in one usage report", MAX_DAYS, "422"),
        Bound("The audit log is kept", "audit_keep_days", "Deleted"),
        Bound("Query log and usage are kept", "query_log_keep_days", "Deleted"),
        Bound("Lines about requests that wait to be written", MOST_LINES_WAITING, "Dropped and counted in the log"),
        Bound("Log records that wait to be written", MAX_ROWS_WAITING, "Dropped and counted in `logs_dropped`"),
    ),
)

JOBS = Section(
    "Jobs and workers",
    (
        Bound("Silence of a worker", "job_lease_seconds", "Another worker may claim its job"),
        Bound("Attempts of a job", "job_max_attempts", "The job fails"),
        Bound("Pause before the second attempt", "job_retry_seconds", "Doubles with each attempt"),
        Bound("The same before the last one", LONGEST_PAUSE_SECONDS, "Does not grow further", _SECONDS),
        Bound("Time that jobs wait while no worker is seen", "worker_silence_seconds", "Health fails; 0: it does not"),
        Bound("Time before a job yields between steps", "worker_slice_seconds", "Other tenants' jobs go first"),
        Bound("Time for the current job of a stopping worker", "worker_stop_seconds", "Its lease expires"),
        Bound("`errors`, and documents with `warnings`, in a job's result", MAX_ERRORS_REPORTED, "Not listed"),
        Bound("Finished jobs are kept", "job_keep_days", "Deleted"),
    ),
)

ERASURE = Section(
    "Erasure",
    (
        Bound("`doc_ids` of one erasure", largest(ErasureIn, "doc_ids"), "422"),
        Bound("`reason` of an erasure", largest(ErasureIn, "reason"), "422", _CHARS),
        Bound("Documents that an erasure hides before it is answered", HIDDEN_AT_ONCE, "Hidden by the job"),
        Bound("Names of documents in a receipt", KEYS_IN_RECEIPT, "Their number and their hash alone"),
        Bound("Deleted and replaced content is kept", "keep_deleted_days", "Removed for good"),
    ),
)

PROCESSES = Section(
    "Processes",
    (
        Bound("Private memory of an API or worker process", "memory_limit_mb", f"{_RETRY}, or the job's attempt fails"),
        Bound("Postgres connections that a process keeps open", "database_pool_size", "Opens as many again"),
        Bound("Postgres connections of a process", "database_pool_size", "Waits", times=2),
        Bound("Wait for one of them", POOL_TIMEOUT_SECONDS, _RETRY, _SECONDS),
        Bound("A statement of an API request on Postgres", "database_statement_timeout_seconds", _RETRY),
        Bound("A wait for a lock on Postgres", "database_lock_timeout_seconds", _RETRY),
        Bound("Disk reserved for deletions on SQLite", RESERVE_BYTES >> 20, "Deletions get 507 too", _MB),
        Bound("A request to the embedding server", "embed_timeout_seconds", "503 `model_unavailable`, or a retry"),
    ),
)
