"""What a process counts and times for Prometheus. Each process has its own figures, and serves them itself.

Names begin with adf_ and end in their unit. No label names a tenant, a document or a question, and each label has a
handful of values. What the database knows (jobs, indexes) is read when somebody asks: services/operations/exposing.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_STEP_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
_JOB_SECONDS = (0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_requests = Counter(
    "adf_http_requests", "Answered requests, by route template.", ["method", "route", "status"], registry=REGISTRY
)
_request_seconds = Histogram(
    "adf_http_request_duration_seconds",
    "Time from a request's head to the end of its answer.",
    ["method", "route"],
    buckets=_REQUEST_SECONDS,
    registry=REGISTRY,
)
_search_seconds = Histogram(
    "adf_search_duration_seconds",
    "Time that a search spent in each stage. Searches that wait together share stages, and each counts all of them.",
    ["mode", "stage"],
    buckets=_STEP_SECONDS,
    registry=REGISTRY,
)
_job_wait_seconds = Histogram(
    "adf_job_wait_seconds",
    "Time from a job's creation to its first start.",
    ["type"],
    buckets=_JOB_SECONDS,
    registry=REGISTRY,
)
_job_seconds = Histogram(
    "adf_job_duration_seconds",
    "Time that an attempt at a job took.",
    ["type", "outcome"],
    buckets=_JOB_SECONDS,
    registry=REGISTRY,
)
_embedding_seconds = Histogram(
    "adf_embedding_duration_seconds",
    "Time that the model took for a batch.",
    ["of"],
    buckets=_REQUEST_SECONDS,
    registry=REGISTRY,
)
_chunks_published = Counter("adf_chunks_published", "Chunks that documents were published with.", registry=REGISTRY)
_chunks_embedded = Counter(
    "adf_chunks_embedded", "Chunks that a model made vectors for; the others had one already.", registry=REGISTRY
)
_lock_seconds = Histogram(
    "adf_database_lock_wait_seconds",
    "Time that a writer waited for SQLite's write lock.",
    buckets=_STEP_SECONDS,
    registry=REGISTRY,
)
_llm_tokens = Counter("adf_llm_tokens", "Tokens that the language model counted.", ["of"], registry=REGISTRY)

_deliveries = Counter(
    "adf_webhook_deliveries", "Tries to deliver an event to a webhook, by outcome.", ["outcome"], registry=REGISTRY
)
for _outcome in ("delivered", "retried", "failed", "gone", "dropped"):
    _deliveries.labels(_outcome)  # a rate needs the zero before the first one

DATABASE_RETRIES = Counter(
    "adf_database_retries", "Transactions that the database interrupted and that were tried again.", registry=REGISTRY
)
LOGS_DROPPED = Counter(
    "adf_logs_dropped",
    "Lines of the access log, and records of the query log, that were dropped.",
    ["log"],
    registry=REGISTRY,
)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    method = method if method in _METHODS else "other"
    _requests_of(method, route, status).inc()
    _seconds_of(method, route).observe(seconds)


def count_search(mode: str, milliseconds: Mapping[str, float]) -> None:
    """*milliseconds* by stage, as in the answer's timings: embed_ms and so on."""
    for name, value in milliseconds.items():
        _stage_of(mode, name.removesuffix("_ms")).observe(value / 1000)


def count_attempt(job_type: str, outcome: str, seconds: float, *, waited_seconds: float | None) -> None:
    """*waited_seconds* of its first attempt, else None."""
    _job_seconds.labels(job_type, outcome).observe(seconds)
    if waited_seconds is not None:
        _job_wait_seconds.labels(job_type).observe(waited_seconds)


def count_chunks(*, published: int, embedded: int) -> None:
    """Called in the transaction that stores them, so one that is tried again counts twice."""
    _chunks_published.inc(published)
    _chunks_embedded.inc(embedded)


def count_tokens(*, prompt: int, completion: int) -> None:
    _llm_tokens.labels("prompt").inc(prompt)
    _llm_tokens.labels("completion").inc(completion)


def count_delivery(outcome: str) -> None:
    """*outcome*: delivered, retried, failed, gone or dropped."""
    _deliveries.labels(outcome).inc()


@contextmanager
def embedding(of: str) -> Iterator[None]:
    """Times the model; *of* is queries or documents."""
    with _embedding_seconds.labels(of).time():
        yield


@contextmanager
def waiting_for_lock() -> Iterator[None]:
    started = perf_counter()
    yield
    _lock_seconds.observe(perf_counter() - started)


@cache
def _requests_of(method: str, route: str, status: int) -> Counter:
    return _requests.labels(method, route, status)


@cache
def _seconds_of(method: str, route: str) -> Histogram:
    return _request_seconds.labels(method, route)


@cache
def _stage_of(mode: str, stage: str) -> Histogram:
    return _search_seconds.labels(mode, stage)
