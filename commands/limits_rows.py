"""What is limited, and what happens beyond: a line for each limit, with its value from the code that holds it."""

from __future__ import annotations

from api import limits
from api.dependencies import Limit
from api.forms import MAX_FIELD_BYTES
from api.middleware import SLOWEST_BYTES
from api.routing import LONGEST_KEY
from api.strings import LONGEST_CURSOR, Key, Word
from api.v1.ask import AskIn
from api.v1.documents import ChunkIn, DocIn, ETag
from api.v1.evaluation import EvalIn
from api.v1.preview import PreviewForm
from api.v1.search import SearchIn
from api.v1.versions import CompareIn, GatesIn, PromptsIn, VersionChunkingIn, VersionIn
from commands.limit_bounds import Bound, Section, largest, of_type
from engines.keywords.cache import CACHE_BYTES
from engines.keywords.lexemes import MAX_BYTES as MAX_WORD_BYTES
from engines.vectors.graphs import MAX_HALF_DIMENSIONS
from engines.web.fetcher import MAX_REDIRECTS
from services.evaluation.judging import MAX_RELEVANCE
from services.evaluation.shadowing import MOST_WAITING
from services.evaluation.version_comparing import MAX_K
from services.evaluation.version_report import MOST_CHANGED
from services.index.index_versions import MOST_VERSIONS
from services.index.names import MAX_NAME_BYTES
from services.ingest.checking import MAX_METADATA_DEPTH
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
        Bound("`If-Match`, `If-None-Match`, `Last-Event-ID`", of_type(ETag), "422", _CHARS),
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
            "`tenant_id`, `namespace`, `namespaces`, `whole_namespace`, `confirm_tenant_id`, `confirm_namespace`, "
            "`embedding_version`, `new_embedding_version`",
            "max_name_chars",
            "422",
        ),
        Bound("`doc_id`, each of `doc_ids`, `file_id` in a vector store", "max_doc_id_chars", "422"),
        Bound("A new name or `doc_id`, in UTF-8", MAX_NAME_BYTES, "422", "bytes"),
        Bound("`title`", largest(DocIn, "title"), "422; a file's own title is cut off", _CHARS),
        Bound("`mime_type`", largest(DocIn, "mime_type"), "422", _CHARS),
        Bound("`url`", 4096, "422", _CHARS),
        Bound(
            "`chunk_strategy`, `modes`, `type`, `action`, `job_id`, `erasure_id`, `key_id`, `webhook_id`",
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
        Bound("`chunk_tokens` of `chunking`", largest(VersionChunkingIn, "chunk_tokens"), "422"),
        Bound("`chunk_overlap` of `chunking`", largest(VersionChunkingIn, "chunk_overlap"), "422", _CHARS),
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
