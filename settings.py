"""Every setting, read from the environment once, by an entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain import Mode
from locations import check_base_url, check_counter, check_hosts, check_origins, listed

Positive = Annotated[int, Field(gt=0)]
BaseUrl = Annotated[str, AfterValidator(check_base_url)]

BATCH_DOCS_CEILING = 100_000
EVAL_QUERIES_CEILING = 100_000
EVAL_JUDGEMENTS_CEILING = 1_000_000
"""The largest values of these settings, which the OpenAPI document states."""


class Settings(BaseSettings):
    """Read by configuration.py. docs/settings.md is generated from the fields, in this order."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)

    database_url: str = Field("sqlite:///./ai3_rag.db", description="Database connection string")
    database_pool_size: Positive = Field(
        10, description="Postgres connections each process keeps open; under load it opens as many again"
    )
    database_statement_timeout_seconds: float = Field(
        60.0,
        ge=0,
        description="Postgres statement timeout of API requests, not of workers or manage.py; 0: no limit",
    )
    database_lock_timeout_seconds: float = Field(30.0, ge=0, description="Postgres lock timeout; 0: no limit")
    text_compression: Literal["zstd", "off"] = Field(
        "zstd", description="How the texts of documents are stored; those of either kind can always be read"
    )

    auth_mode: Literal["open", "keys"] = Field(
        "open", description="open: anyone who reaches the port may do everything; keys: requests need an API key"
    )
    console: Literal["auto", "on", "off"] = Field(
        "auto", description="Web console at /console; auto: without keys only for callers on this machine; on: for all"
    )
    auth_trust_seconds: float = Field(
        5.0, ge=0, description="Longest time an API process accepts a key that another process has revoked or rotated"
    )
    derived_key_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret of 32 characters or more that signs derived API keys, the same for all API processes; "
        "empty: no key can be derived",
    )
    auth_failures_per_minute: int = Field(
        60,
        ge=0,
        description="Requests without a valid key that a client address may send; 0: no limit",
    )
    rate_limit_per_key: str = Field(
        "", description="Rate limit of each API key, as in 20/second; 600/minute; empty: no limit"
    )
    rate_limit_per_team: str = Field("", description="Rate limit of all of a team's keys together")
    rate_limit_per_tenant: str = Field(
        "", description="Rate limit of each tenant, without keys too, where requests name it"
    )
    rate_limit_url: Annotated[str, AfterValidator(check_counter)] = Field(
        "memory://",
        description="Where requests are counted: redis://host:6379/0 (shared), or memory:// (each process by itself)",
    )

    quota_documents: int = Field(0, ge=0, description="Most documents of a team; 0: no limit; teams may have their own")
    quota_chunks: int = Field(0, ge=0, description="Most chunks of a team; 0: no limit")
    quota_bytes: int = Field(0, ge=0, description="Most bytes of a team's texts and raw files; 0: no limit")
    quota_embedded_chunks_per_day: int = Field(
        0, ge=0, description="Most chunks of a team that are embedded in a day (UTC); 0: no limit"
    )

    embed_model_name: str = Field(
        "",
        description="Embedding model: its name on the hub, a folder, or its name on the remote server; empty: the "
        "installation's",
    )
    embed_default_model: str = Field(
        "BAAI/bge-m3", description="Embedding model of a new installation where EMBED_MODEL_NAME is empty"
    )
    embedding_version: str = Field(
        "", description="Name of the embedding version; empty: the model's name or, without one, the installation's"
    )
    embed_backend: Literal["auto", "openvino", "torch", "remote"] = Field(
        "auto", description="What runs the embedding model; auto: torch on a GPU, otherwise OpenVINO"
    )
    embed_batch_size: Positive = Field(8, description="Batch size of a local model; 8 to 16 is fastest on a CPU")
    embed_precision: Literal["auto", "bf16", "f32"] = Field(
        "auto", description="OpenVINO's precision; auto: bf16 where the processor supports it"
    )
    embed_query_prompt: str | None = Field(None, description="Prefix of every query; unset: the model's own")
    embed_document_prompt: str | None = Field(None, description="Prefix of every chunk; unset: the model's own")
    model_cache_dir: Path = Field(
        Path("~/.cache/ai3-datafactory"), description="Folder for exported models, shared by all processes"
    )
    embed_base_url: BaseUrl = Field(
        "", description="Base URL, up to /v1, of the OpenAI-compatible server for EMBED_BACKEND=remote"
    )
    embed_api_key: SecretStr = Field(SecretStr(""), description="Bearer token for the embedding server")
    embed_timeout_seconds: float = Field(60.0, gt=0, description="Timeout of a request to the embedding server")

    search_mode: Mode = Field("hybrid", description="Mode of searches that name none")
    rerank_model_name: str = Field(
        "", description="Cross-encoder that reranks the best candidates: a name on the hub or a folder; empty: none"
    )
    rerank_base_url: BaseUrl = Field("", description="Base URL, without /rerank, of a reranking server to use instead")
    rerank_api: Literal["tei", "cohere"] = Field("tei", description="API that the reranking server speaks")
    rerank_api_key: SecretStr = Field(SecretStr(""), description="Bearer token for the reranking server")
    rerank_depth: Positive = Field(50, description="Number of candidates to rerank")
    rerank_timeout_seconds: float = Field(
        5.0, gt=0, description="Timeout of reranking; after it the original order is kept"
    )

    llm_base_url: BaseUrl = Field(
        "",
        description="Base URL, up to /v1, of the OpenAI-compatible server that writes answers; empty: quotes",
    )
    llm_model: str = Field("", description="The language model's name on that server")
    llm_api_key: SecretStr = Field(SecretStr(""), description="Bearer token for the language model's server")
    llm_timeout_seconds: float = Field(120.0, gt=0, description="Timeout of one complete answer")
    llm_retries: int = Field(2, ge=0, description="Retries when the language model's server is busy or unreachable")
    llm_context_tokens: Positive = Field(
        3000, description="Token budget for passages in a prompt, counted with the embedding model's tokenizer"
    )
    default_system_prompt: str = Field(
        "You answer questions about a collection of documents, briefly, in the language of the question.",
        description="System prompt, unless the team or the request has its own",
    )

    query_log: Literal["on", "off"] = Field("on", description="Whether searches and questions are logged")
    log_query_text: bool = Field(False, description="Log the text of queries too, not only its hash")
    audit_keep_days: float = Field(365.0, ge=1, description="Retention of the audit log, in days")
    query_log_keep_days: float = Field(30.0, ge=0, description="Retention of the query log and of usage, in days")

    blob_store_url: str = Field(
        "file://./raw_files",
        description="Store for raw files: file://folder, s3://bucket/prefix or gs://bucket/prefix",
    )
    blob_grace_hours: float = Field(
        24.0, gt=0, description="Age at which a raw file that belongs to no document is removed"
    )
    extract_memory_mb: Positive = Field(
        1024, description="Memory limit for extracting one file, and the largest size that it may unpack to"
    )
    extract_cpu_seconds: Positive = Field(120, description="CPU time limit for extracting one file")
    extract_seconds: float = Field(600.0, gt=0, description="Time limit for extracting one file, OCR included")
    max_pages: Positive = Field(5000, description="Most pages or slides in one file")
    ocr_enabled: bool = Field(False, description="Run OCR on scans with tesseract, which must be installed")
    ocr_languages: str = Field("eng", description="Tesseract's languages, as in eng+deu")
    fetch_enabled: bool = Field(False, description="Whether POST /v1/docs/fetch may request URLs")
    fetch_allow_hosts: Annotated[str, AfterValidator(check_hosts)] = Field(
        "", description="Comma-separated names, addresses and networks that may be called although they are not public"
    )
    fetch_timeout_seconds: float = Field(20.0, gt=0, description="Timeout of fetching one document, redirects included")

    keep_deleted_days: float = Field(
        30.0, ge=0, description="How long deleted and replaced content is kept before workers remove it for good"
    )
    receipt_key_file: Path = Field(
        Path("receipt_key"),
        description="File with the key that signs receipts of erasures; created at the first one. Keep a copy of it",
    )
    receipt_key: SecretStr = Field(SecretStr(""), description="That key itself, 32 bytes as base64 or hex, instead")

    chunk_tokens: Positive = Field(
        200, description="Most tokens in a chunk, not counting its header; capped at what the model reads"
    )
    vector_store: Literal["auto", "faiss", "pgvector"] = Field(
        "auto", description="What searches vectors; auto: pgvector on Postgres, otherwise FAISS files"
    )
    pgvector_halfvec: bool = Field(
        False, description="Half-precision pgvector graphs: half the memory; full-precision vectors decide the ranking"
    )
    index_dir: Path = Field(Path("./faiss_indices"), description="Folder for FAISS index files")
    index_exact_up_to: int = Field(
        50_000, ge=0, description="Largest index, in vectors, that is searched exactly; larger ones use an HNSW graph"
    )
    index_full_up_to: int = Field(
        4000, ge=0, description="Largest index kept in full precision; larger ones in half, ranked by the full vectors"
    )
    index_recall: float = Field(
        0.99, gt=0, le=1, description="Share of the nearest chunks that a graph is to find; measured when it is built"
    )
    index_memory_mb: Positive = Field(4096, description="Memory of each process for loaded indexes")
    filter_memory_mb: Positive = Field(512, description="Memory of each process for filter data")
    rebuild_share: float = Field(
        0.1, gt=0, description="Share of a checkpoint that must have changed before a rebuild is queued automatically"
    )
    rebuild_min_changes: Positive = Field(
        1000, description="Number of changes that must have accumulated before a rebuild is queued automatically"
    )

    job_lease_seconds: float = Field(30.0, gt=0, description="Time after which the job of a silent worker is released")
    job_max_attempts: Positive = Field(12, description="Attempts before a job fails for good")
    job_retry_seconds: float = Field(2.0, ge=0, description="Pause before the second attempt; it doubles each time")
    job_keep_days: float = Field(7.0, ge=0, description="Retention of finished jobs, in days")
    events_keep_days: float = Field(7.0, ge=0, description="Retention of events, in days")
    max_event_streams: Positive = Field(
        200, description="Most streams of events, and requests that wait for a job, of one API process"
    )
    webhook_timeout_seconds: float = Field(
        15.0, gt=0, description="Time in which the receiver of a webhook has to answer one delivery"
    )
    webhook_retry_seconds: float = Field(
        5.0, gt=0, description="Pause before the second try of a delivery; the later ones grow in proportion, to a day"
    )
    worker_nice: int = Field(19, ge=0, le=19, description="Niceness of the worker, so that searches stay fast")
    worker_silence_seconds: float = Field(
        60.0,
        ge=0,
        description="Time that jobs may wait while no worker is seen before health fails; 0: health does not mind",
    )
    worker_slice_seconds: float = Field(
        5.0, gt=0, description="Time that a job may run before it yields to the waiting jobs of other tenants"
    )
    worker_stop_seconds: float = Field(
        20.0, gt=0, description="Time that a stopping worker has to finish its current job"
    )

    librechat_jwt_secret: SecretStr = Field(SecretStr(""), description="LibreChat's JWT_SECRET; empty: no token opens")
    librechat_tenant_id: str = Field("default", min_length=1, description="Tenant of the files of LibreChat's users")
    librechat_namespace: str = Field(
        "librechat", min_length=1, description="Namespace of these files, and of no others"
    )

    cors_origins: Annotated[str, AfterValidator(check_origins)] = Field(
        "", description="Origins whose pages may call the API from a browser, separated by commas; *: all; empty: none"
    )
    max_connections: Positive = Field(500, description="Most connections of one API process; further ones get 503")
    max_header_kb: Positive = Field(64, description="Longest head of a request: URL and headers")
    request_timeout_seconds: float = Field(
        20.0, gt=0, description="Time that a request's head, or the next piece of its body, may take to arrive"
    )
    max_body_mb: Positive = Field(32, description="Largest body of a request that brings documents, uploads excepted")
    max_upload_mb: Positive = Field(256, description="Largest upload, all of its files together; largest fetched file")
    max_text_chars: Positive = Field(10_000_000, description="Longest text of a document, in characters")
    max_chunks_per_document: Positive = Field(
        100_000, description="Most chunks of a document: twice what the longest text comes to in most scripts"
    )
    max_metadata_bytes: Positive = Field(65_536, description="Largest metadata of a document, as JSON")
    max_batch_docs: Positive = Field(1000, le=BATCH_DOCS_CEILING, description="Most documents in a batch")
    max_top_k: Positive = Field(1000, description="Largest top_k")
    max_query_chars: Positive = Field(10_000, description="Longest query, in characters")
    max_eval_queries: Positive = Field(
        1000, le=EVAL_QUERIES_CEILING, description="Most queries in one evaluation over HTTP"
    )
    max_eval_judgements: Positive = Field(
        100_000, le=EVAL_JUDGEMENTS_CEILING, description="Most judgements in one evaluation over HTTP"
    )
    max_name_chars: Positive = Field(256, description="Longest tenant_id, namespace or embedding version")
    max_doc_id_chars: Positive = Field(1024, description="Longest doc_id")
    min_free_disk_mb: int = Field(
        200, ge=0, description="Free disk space below which new documents are refused; deleting still works"
    )

    backup_url: str = Field(
        "",
        description="Where workers make backups: file://folder, s3://bucket/prefix or gs://bucket/prefix; empty: they "
        "make none",
    )
    backup_every_hours: float = Field(24.0, gt=0, description="Time between two scheduled backups")
    backup_keep: Positive = Field(7, description="Number of backups that the scheduled ones leave in BACKUP_URL")

    memory_limit_mb: int = Field(
        0, ge=0, description="Private memory that an API or worker process may take before it refuses; 0: no limit"
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port of its own for the API's /metrics, for anyone; 0: on the API's port, for operators",
    )
    metrics_host: str = Field("127.0.0.1", description="Address that METRICS_PORT and --metrics-port listen on")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Log level")
    log_format: Literal["text", "json"] = Field("text", description="Format of log lines; json: an object per line")

    @property
    def cors_origin_list(self) -> list[str]:
        return listed(self.cors_origins)

    @property
    def changed(self) -> dict[str, Any]:
        """Those that differ from their defaults."""
        return {name: value for name, value in self if value != type(self).model_fields[name].default}

    @property
    def version(self) -> str:
        """The embedding version that this process runs, once runtime/installation.py has given it a model."""
        return self.embedding_version or self.embed_model_name
