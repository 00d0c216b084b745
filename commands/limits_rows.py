"""What is limited, and what happens beyond: a line for each limit, with its value from the code that holds it."""

from __future__ import annotations

from api import limits
from api.access_log import MOST_WAITING as MOST_LINES_WAITING
from api.dependencies import Limit
from api.forms import MAX_FIELD_BYTES
from api.middleware import SLOWEST_BYTES
from api.routing import LONGEST_KEY
from api.strings import LONGEST_CURSOR, Key, Word
from api.v1.ask import AskIn
from api.v1.documents import ChunkIn, DocIn, ETag
from api.v1.erasures import ErasureIn
from api.v1.evaluation import EvalIn
from api.v1.keys import KeyIn, RotateIn
from api.v1.preview import PreviewForm
from api.v1.search import SearchIn
from api.v1.versions import CompareIn, GatesIn, PromptsIn, VersionIn
from commands.door_limits import DOORS
from commands.limit_bounds import Bound, Section, largest, of_type
from database.engine import RESERVE_BYTES
from database.postgres import POOL_TIMEOUT_SECONDS
from engines.keywords.cache import CACHE_BYTES
from engines.keywords.lexemes import MAX_BYTES as MAX_WORD_BYTES
from engines.vectors.graphs import MAX_HALF_DIMENSIONS
from engines.web.fetcher import MAX_REDIRECTS
from job_queue import LONGEST_PAUSE_SECONDS
from services.answers.query_log import MAX_ROWS_WAITING
from services.answers.usage import MAX_DAYS
from services.erasure.content import KEYS_IN_RECEIPT
from services.erasure.requests import HIDDEN_AT_ONCE
from services.evaluation.judging import MAX_RELEVANCE
from services.evaluation.shadowing import MOST_WAITING
from services.evaluation.version_comparing import MAX_K
from services.evaluation.version_report import MOST_CHANGED
from services.index.index_versions import MOST_VERSIONS
from services.index.names import MAX_NAME_BYTES
from services.ingest.checking import MAX_METADATA_DEPTH
from services.ingest.ingesting import MAX_ERRORS_REPORTED
from services.ingest.listing import MOST_EXAMINED
from services.ingest.previewing import MAX_CONCURRENT as MAX_PREVIEWS
from services.ingest.uploading import MAX_FILENAME_CHARS
from services.operations.idempotency import RETENTION, UNFINISHED_RETENTION
from services.search.executor import MAX_WAITING
from settings import EVAL_QUERIES_CEILING
from text.extract.base import MAX_CAVEATS
from text.filter_spellings import MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH
from text.words import MAX_QUERY_WORDS
from times import EARLIEST, LATEST

_RETRY = "503 with `Retry-After`"
_FAILS = "The document fails, and `error` says why"
_CHARS, _MB, _KB, _SECONDS = "characters", "MB", "KB", "s"

CONNECTIONS = Section(
    "Connections",
    (
        Bound("Connections of one API process", "max_connections", "503"),
        Bound("A request's head: URL and headers", "max_header_kb", "431"),
        Bound("Time for a head to arrive", "request_timeout_seconds", "408; closed without an answer if nothing came"),
        Bound(
            "Time spent waiting for a body",
            "request_timeout_seconds",
            f"408; {SLOWEST_BYTES:,} bytes add a second; of a stream, for each piece",
        ),
        Bound("`If-Match`, `If-None-Match`", of_type(ETag), "422", _CHARS),
        Bound("`Idempotency-Key`", LONGEST_KEY, "422", _CHARS),
        Bound("An answer kept under an idempotency key", RETENTION.days, "The request is new", "day"),
        Bound(
            "An unfinished request's claim on its key", UNFINISHED_RETENTION.seconds // 60, "The key is free", "minutes"
        ),
    ),
    "The first three hold if the API was started as `python app_v1.py`, or by uvicorn with\n"
    "`--http api.connections:GuardedProtocol`; the others with any server.",
)

BODIES = Section(
    "Bodies",
    (
        Bound("Body of `/v1/docs/upload`, `/v1/docs/preview`", "max_upload_mb", "413"),
        Bound("Body of `/v1/docs/upsert`, `/v1/docs/upsert/batch`", "max_body_mb", "413"),
        Bound("A line of `/v1/docs/upsert/stream`, whose body has no limit", "max_body_mb", "The line fails"),
        Bound("Lines that a stream stores by one transaction", limits.LINES_PER_BATCH, "The next transaction"),
        Bound("Body of `/v1/eval`", limits.FIXED_BODY_BYTES["/v1/eval"] >> 20, "413", _MB),
        Bound(
            "Body of `/v1/search`, `/v1/ask`, `/v1/docs/fetch`", limits.FIXED_BODY_BYTES["/v1/ask"] >> 20, "413", _MB
        ),
        Bound("Body of any other path", limits.OTHER_BODY_BYTES >> 10, "413", _KB),
        Bound("A body before it counts as large", limits.LARGE_BODY_BYTES >> 10, "Parsed when its turn comes", _KB),
        Bound(
            "Large bodies that a process receives at once", "max_body_mb", "Waits", times=limits.RECEIVED_PER_MAX_BODY
        ),
        Bound("Memory for large bodies, parsed", "max_body_mb", "Waits", times=limits.PARSED_PER_MAX_BODY),
        Bound("Memory for one parsed body, estimated", "max_body_mb", "413", times=limits.PARSED_PER_MAX_BODY // 2),
        Bound("Each wait of a large body for its turn", limits.PATIENCE_SECONDS, _RETRY, _SECONDS),
        Bound("Time for a large body to arrive", limits.RECEIVE_SECONDS, "408", _SECONDS),
        Bound("Errors of a body named in one 422", limits.MAX_ERRORS_LISTED, "`detail` says how many more there are"),
        Bound("`detail` of an error", limits.MAX_DETAIL_CHARS, "Cut off", _CHARS),
    ),
    "Of a body with `Content-Encoding: gzip`, the unpacked length counts. Large bodies are parsed one at a time.",
)

NAMES = Section(
    "Names and lists",
    (
        Bound(
            "`tenant_id`, `namespace`, `whole_namespace`, `confirm_tenant_id`, `confirm_namespace`, "
            "`embedding_version`, `new_embedding_version`",
            "max_name_chars",
            "422",
        ),
        Bound("`doc_id`, each of `doc_ids`", "max_doc_id_chars", "422"),
        Bound("A new name or `doc_id`, in UTF-8", MAX_NAME_BYTES, "422", "bytes"),
        Bound("`title`", largest(DocIn, "title"), "422; a file's own title is cut off", _CHARS),
        Bound("`mime_type`", largest(DocIn, "mime_type"), "422", _CHARS),
        Bound("`url`", 4096, "422", _CHARS),
        Bound(
            "`chunk_strategy`, `modes`, `type`, `action`, `job_id`, `erasure_id`, `key_id`",
            of_type(Word),
            "422",
            _CHARS,
        ),
        Bound(
            "Documents whose title or metadata one request for a list compares", MOST_EXAMINED, "The page ends early"
        ),
        Bound("`after`, and `filters` in a URL", LONGEST_CURSOR, "422", _CHARS),
        Bound("`limit` of a list", of_type(Limit), "422"),
        Bound("`text_limit` of a preview", largest(PreviewForm, "text_limit"), "422", _CHARS),
        Bound("A time, as a year in UTC", f"{EARLIEST.year} to {LATEST.year}", "422"),
    ),
)

DOCUMENTS = Section(
    "Documents",
    (
        Bound("Documents in a batch (`docs`)", "max_batch_docs", "413"),
        Bound("`text` of a document, or of its `chunks` together", "max_text_chars", "413"),
        Bound("`chunks` of your own in a document", largest(DocIn, "chunks"), "422"),
        Bound("Chunks that a document is cut into", "max_chunks_per_document", "422"),
        Bound("A chunk that the service cuts", "chunk_tokens", "Cut smaller"),
        Bound("`chunk_overlap`", largest(DocIn, "chunk_overlap"), "422; shortened to what the model reads", _CHARS),
        Bound("Numbers in a `vector`", largest(ChunkIn, "vector"), "422"),
        Bound("`metadata` of a document or a chunk, as JSON", "max_metadata_bytes", "413"),
        Bound("Keys at the top of `metadata`", largest(DocIn, "metadata"), "422"),
        Bound("Nesting of `metadata`", MAX_METADATA_DEPTH, "422", "levels"),
        Bound("Free disk, at least", "min_free_disk_mb", "507; deleting still works"),
    ),
)

FILES = Section(
    "Files",
    (
        Bound("Files in one upload (`file`, with `doc_id` and `title`)", "max_batch_docs", "413"),
        Bound("An upload's other form fields together", MAX_FIELD_BYTES >> 20, "413", _MB),
        Bound("A file's name", MAX_FILENAME_CHARS, "Its middle is replaced by a hash", _CHARS),
        Bound("Pages or slides of a file", "max_pages", _FAILS),
        Bound("Text of a file", "max_text_chars", _FAILS),
        Bound("Chunks of a file", "max_chunks_per_document", _FAILS),
        Bound("Memory for extracting a file, and its unpacked size", "extract_memory_mb", _FAILS),
        Bound("CPU time for extracting a file", "extract_cpu_seconds", _FAILS),
        Bound("Time for extracting a file, OCR included", "extract_seconds", _FAILS),
        Bound("Warnings of a document", MAX_CAVEATS, "Not listed"),
        Bound("A stored file that belongs to no document", "blob_grace_hours", "Removed"),
        Bound("A fetched file", "max_upload_mb", "413"),
        Bound("Time for fetching a URL, redirects included", "fetch_timeout_seconds", "502 `fetch_failed`"),
        Bound("Files that a process previews at once", MAX_PREVIEWS, _RETRY),
        Bound("Redirects of a fetched URL", MAX_REDIRECTS, "502 `fetch_failed`"),
    ),
)

SEARCH = Section(
    "Search and filters",
    (
        Bound("`query`, `question`, each of `queries`", "max_query_chars", "422"),
        Bound("Further `queries` of a search", largest(SearchIn, "queries"), "422"),
        Bound("Different words of a keyword query", MAX_QUERY_WORDS, "The rarest in the query are ignored"),
        Bound("Different words of a chunk, together", MAX_WORD_BYTES, "Not found by keyword", "bytes"),
        Bound("`top_k`, or `top_k` times `group_size`", "max_top_k", "422"),
        Bound("`group_size`", largest(SearchIn, "group_size"), "422"),
        Bound("`context`", largest(SearchIn, "context"), "422", "chunks"),
        Bound("`mmr_lambda`", largest(SearchIn, "mmr_lambda"), "422"),
        Bound("`include`", largest(SearchIn, "include"), "422", "members"),
        Bound("Conditions in `filters`", MAX_CONDITIONS, "422; `$in` takes many values in one"),
        Bound("Nesting of `filters`", MAX_DEPTH, "422", "levels"),
        Bound("`filters` as JSON", MAX_BYTES >> 20, "422", _MB),
        Bound("Searches that wait in a process", MAX_WAITING, _RETRY),
        Bound("Candidates that are reranked", "rerank_depth", "Keep their order, behind the others"),
        Bound("Time for reranking", "rerank_timeout_seconds", "The original order; `reranked` is false"),
        Bound("Vectors of an index in full precision", "index_full_up_to", "Half precision, ranked by full vectors"),
        Bound("Vectors of an index that is searched exactly", "index_exact_up_to", "An HNSW graph"),
        Bound("Dimensions of a graph in Postgres", MAX_HALF_DIMENSIONS, "No graph: exact search"),
        Bound("Loaded indexes of a process", "index_memory_mb", "The one used longest ago is unloaded"),
        Bound(
            "Keyword postings in memory of a process", CACHE_BYTES >> 20, "The words asked longest ago are dropped", _MB
        ),
        Bound("Filter data of a process", "filter_memory_mb", "The one used longest ago is dropped"),
    ),
)

ANSWERS = Section(
    "Answers and measuring",
    (
        Bound("`system_prompt`", largest(AskIn, "system_prompt"), "422", _CHARS),
        Bound("`temperature`", largest(AskIn, "temperature"), "422"),
        Bound("`max_tokens`", largest(AskIn, "max_tokens"), "422"),
        Bound("Passages in a prompt", "llm_context_tokens", "A passage that does not fit is skipped"),
        Bound("Time for one answer", "llm_timeout_seconds", "504 `llm_too_slow`"),
        Bound("Retries before an answer begins", "llm_retries", "503 `llm_unavailable`"),
        Bound("`queries` of one evaluation", "max_eval_queries", "413"),
        Bound("Judgements of one evaluation (`qrels`)", "max_eval_judgements", "413"),
        Bound("A query's id in `queries` and `qrels`", of_type(Key), "422", _CHARS),
        Bound("A document's id in `qrels`", LONGEST_CURSOR, "422", _CHARS),
        Bound("Relevance of a judgement, up or down", MAX_RELEVANCE, "422"),
        Bound("`modes` of one evaluation", largest(EvalIn, "modes"), "422"),
    ),
)

VERSIONS = Section(
    "Index versions",
    (
        Bound("Index versions of a namespace", MOST_VERSIONS, "409"),
        Bound("`name` of an index version", largest(VersionIn, "name"), "422", _CHARS),
        Bound("`index_version`, `against`, `expected_active`", of_type(Word), "422", _CHARS),
        Bound("Prompts for a `query` and a `document`", largest(PromptsIn, "query"), "422", _CHARS),
        Bound("Keys of `chunking`, which is refused", limits.MAX_METADATA_KEYS, "422"),
        Bound("`If-Match` of an activation", 255, "422", _CHARS),
        Bound("`k`, `min_overlap`, `max_ndcg_drop` and `share`, in this order", f"{MAX_K}, 1, 1, 1", "422"),
        Bound("`max_p95_ratio`", largest(GatesIn, "max_p95_ratio"), "422"),
        Bound("`log_sample`", EVAL_QUERIES_CEILING, "422"),
        Bound("`queries` and `qrels` of a comparison", "max_eval_queries", "413"),
        Bound("`modes` of a comparison", largest(CompareIn, "modes"), "422"),
        Bound("Body of a comparison", limits.FIXED_BODY_BYTES[limits.COMPARE] >> 20, "413", _MB),
        Bound("Queries of a comparison that are listed as most changed", MOST_CHANGED, "Not listed"),
        Bound("Searches that wait for a shadow", MOST_WAITING, "Dropped and counted in `shadow`"),
    ),
)

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

SECTIONS = (
    CONNECTIONS,
    BODIES,
    NAMES,
    DOCUMENTS,
    FILES,
    SEARCH,
    ANSWERS,
    DOORS,
    VERSIONS,
    ACCOUNTS,
    JOBS,
    ERASURE,
    PROCESSES,
)
