"""Every setting, read from the environment once, by an entry point."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain import Mode

Positive = Annotated[int, Field(gt=0)]
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,*]+")

MOST_BATCH_DOCS = 100_000
MOST_EVAL_QUERIES = 100_000
MOST_EVAL_JUDGEMENTS = 1_000_000
"""What these settings may be at the most: the OpenAPI document states it of every service."""


class Settings(BaseSettings):
    """Built by app_v1, worker and manage; handed to open_runtime and to nobody else."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)

    database_url: str = Field("sqlite:///./ai3_rag.db", description="Database connection string")
    database_pool_size: Positive = Field(
        10, description="Connections that a process keeps to a Postgres; it takes as many again under load"
    )
    database_statement_timeout_seconds: float = Field(
        60.0,
        ge=0,
        description="Longest statement of a request on a Postgres; 0: no limit, as for workers and manage.py",
    )
    database_lock_timeout_seconds: float = Field(
        30.0, ge=0, description="Longest wait on a Postgres for what another transaction holds; 0: no limit"
    )
    auth_mode: Literal["open", "keys"] = Field(
        "open", description="Who may do what; open: whoever reaches the port everything, keys: what their API key says"
    )
    auth_trust_seconds: float = Field(
        5.0,
        ge=0,
        description="How long a key that another process revoked or replaced goes on to be taken, at the most",
    )
    auth_failures_per_minute: int = Field(
        60, ge=0, description="How often a client address may ask without a good key before it gets 429; 0: always"
    )
    rate_limit_per_key: str = Field(
        "", description="How often a key may ask, like 20/second; 600/minute; empty: always"
    )
    rate_limit_per_team: str = Field("", description="The same for all keys of a team together")
    rate_limit_url: str = Field(
        "memory://",
        description="Where requests are counted: redis://host:6379/0, or memory://, each process for itself",
    )
    vector_store: Literal["auto", "faiss", "pgvector"] = Field(
        "auto", description="What searches the vectors; auto: pgvector on Postgres, else FAISS files"
    )
    pgvector_halfvec: bool = Field(
        False, description="Half precision in pgvector's graphs: half their memory; the whole vectors still decide"
    )
    index_dir: Path = Field(Path("./faiss_indices"), description="Directory for FAISS index files")

    embed_model_name: str = Field(
        "BAAI/bge-m3", description="Embedding model: a name on the hub, a folder, or what the remote server calls it"
    )
    embedding_version: str = Field("", description="Embedding model version identifier; empty: the model's name")
    embed_backend: Literal["auto", "openvino", "torch", "remote"] = Field(
        "auto", description="What runs the model; auto: torch on a GPU, else OpenVINO"
    )
    embed_batch_size: Positive = Field(8, description="Texts per batch of a local model; 8 to 16 is best on a CPU")
    embed_precision: Literal["auto", "bf16", "f32"] = Field(
        "auto", description="OpenVINO arithmetic; auto: bf16 where the processor has it"
    )
    embed_query_prompt: str | None = Field(None, description="Put before every query; unset: the model's own")
    embed_document_prompt: str | None = Field(None, description="Put before every chunk; unset: the model's own")
    model_cache_dir: Path = Field(
        Path("~/.cache/ai3-datafactory"), description="Where exported models are kept, shared by processes"
    )
    embed_base_url: str = Field("", description="OpenAI-compatible server for EMBED_BACKEND=remote, up to /v1")
    embed_api_key: SecretStr = Field(SecretStr(""), description="Bearer token for that server")
    embed_timeout_seconds: float = Field(60.0, gt=0, description="Patience with that server, per request")

    search_mode: Mode = Field("dense", description="How a search looks that names no mode; hybrid finds most")
    rerank_model_name: str = Field(
        "", description="Cross-encoder that reorders the best candidates: a name on the hub or a folder; empty: none"
    )
    rerank_base_url: str = Field("", description="Server of a reranker instead, up to before /rerank")
    rerank_api: Literal["tei", "cohere"] = Field("tei", description="What that server speaks")
    rerank_api_key: SecretStr = Field(SecretStr(""), description="Bearer token for that server")
    rerank_depth: Positive = Field(50, description="Best candidates that are reranked")
    rerank_timeout_seconds: float = Field(
        5.0, gt=0, description="Patience with the reranker; then its order is left out"
    )

    llm_base_url: str = Field(
        "", description="OpenAI-compatible server that writes answers, up to /v1; empty: passages are quoted"
    )
    llm_model: str = Field("", description="What that server calls the model")
    llm_api_key: SecretStr = Field(SecretStr(""), description="Bearer token for that server")
    llm_timeout_seconds: float = Field(120.0, gt=0, description="Patience with that server, for a whole answer")
    llm_retries: int = Field(2, ge=0, description="How often that server is asked again when it is busy or away")
    llm_context_tokens: Positive = Field(
        3000, description="Most tokens of passages in a prompt, as the embedding model counts them"
    )
    default_system_prompt: str = Field(
        "You answer questions about a collection of documents, briefly, in the language of the question.",
        description="What the language model is told first, unless the request says something else",
    )

    query_log: Literal["on", "off"] = Field("on", description="Whether searches and questions are logged")
    log_query_text: bool = Field(False, description="Log the text of questions too, not only its hash")
    query_log_keep_days: float = Field(30.0, ge=0, description="How long logs and usage are kept")
    blob_store_url: str = Field(
        "file://./raw_files",
        description="Where raw files are kept: file://folder, s3://bucket/prefix, gs://bucket/prefix",
    )
    blob_grace_hours: float = Field(
        24.0, gt=0, description="Age at which a raw file is removed that no document has taken"
    )
    extract_memory_mb: Positive = Field(1024, description="Memory for reading one file, and most that it may unpack to")
    extract_cpu_seconds: Positive = Field(120, description="Processor time for reading one file")
    extract_seconds: float = Field(600.0, gt=0, description="Time for reading one file, OCR included")
    max_pages: Positive = Field(5000, description="Most pages or slides of one file")
    ocr_enabled: bool = Field(False, description="Read scans with the program tesseract, which has to be installed")
    ocr_languages: str = Field("eng", description="Tesseract's languages, as in eng+deu")
    fetch_enabled: bool = Field(False, description="Whether POST /v1/docs/fetch may ask other servers")
    fetch_allow_hosts: str = Field(
        "", description="Names, addresses and networks that may be fetched although they are not public, by commas"
    )
    fetch_timeout_seconds: float = Field(20.0, gt=0, description="Time for fetching one document, redirects included")

    chunk_tokens: Positive = Field(
        200, description="Most tokens in a chunk, enriched header not counted; never more than the model reads"
    )

    index_exact_up_to: int = Field(
        50_000, ge=0, description="Largest index, in vectors, that is searched exactly; beyond, an HNSW graph"
    )
    index_memory_mb: Positive = Field(4096, description="Memory that a process gives to open partitions")
    filter_memory_mb: Positive = Field(512, description="Memory that a process gives to what filters ask about")
    rebuild_share: float = Field(
        0.1, gt=0, description="Share of a checkpoint that may change before a rebuild is queued by itself"
    )
    rebuild_min_changes: Positive = Field(1000, description="Changes below which no rebuild is queued by itself")

    job_lease_seconds: float = Field(30.0, gt=0, description="How long a silent worker keeps its job")
    job_max_attempts: Positive = Field(12, description="Tries before a job is failed")
    job_retry_seconds: float = Field(2.0, ge=0, description="Pause before the second try; it doubles with each")
    job_keep_days: float = Field(7.0, ge=0, description="How long finished jobs are kept")
    worker_nice: int = Field(19, ge=0, le=19, description="Niceness of the worker, so that searches keep their pace")
    worker_slice_seconds: float = Field(
        5.0, gt=0, description="How long a job runs before it lets the waiting jobs of other tenants go first"
    )
    worker_stop_seconds: float = Field(20.0, gt=0, description="Time a stopping worker gives its current job")

    cors_origins: str = Field(
        "", description="Origins whose pages may ask from a browser, by commas; * for all; empty: none"
    )
    max_connections: Positive = Field(500, description="Most connections to one API process; more are answered 503")
    max_header_kb: Positive = Field(64, description="Longest head of a request: its URL and headers")
    request_timeout_seconds: float = Field(
        20.0, gt=0, description="How long the head of a request, or the next piece of its body, may take to arrive"
    )
    max_body_mb: Positive = Field(32, description="Largest request body that brings documents, uploads excepted")
    max_upload_mb: Positive = Field(256, description="Largest upload, all its files together; largest fetched file")
    max_text_chars: Positive = Field(10_000_000, description="Longest text of one document")
    max_chunks_per_document: Positive = Field(
        100_000, description="Most chunks of one document: twice what the longest text comes to in most scripts"
    )
    max_metadata_bytes: Positive = Field(65_536, description="Largest metadata of one document, as JSON")
    max_batch_docs: Positive = Field(1000, le=MOST_BATCH_DOCS, description="Most documents in one batch")
    max_top_k: Positive = Field(1000, description="Largest top_k")
    max_query_chars: Positive = Field(10_000, description="Longest query")
    max_eval_queries: Positive = Field(
        1000, le=MOST_EVAL_QUERIES, description="Most queries in one evaluation over HTTP"
    )
    max_eval_judgements: Positive = Field(
        100_000, le=MOST_EVAL_JUDGEMENTS, description="Most judgements in one evaluation over HTTP"
    )
    max_name_chars: Positive = Field(256, description="Longest tenant_id, namespace or embedding version")
    max_doc_id_chars: Positive = Field(1024, description="Longest doc_id")
    min_free_disk_mb: int = Field(
        200, ge=0, description="Free disk below which new documents are refused; deleting still works"
    )
    memory_limit_mb: int = Field(
        0, ge=0, description="Memory of its own that an API or worker process may take; beyond, it refuses; 0: no limit"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged")

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: write https://app.example.com, without a path, or *")
        return value

    @property
    def cors_origin_list(self) -> list[str]:
        return _listed(self.cors_origins)

    @property
    def version(self) -> str:
        """The embedding version that this process runs."""
        return self.embedding_version or self.embed_model_name


def _listed(value: str) -> list[str]:
    return [each for each in (part.strip().rstrip("/") for part in value.split(",")) if each]
