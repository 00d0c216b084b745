"""Spans for OpenTelemetry: a request, the stages of its search, its answer, and the jobs that it made.

Off unless OpenTelemetry's own environment variables ask for them (OTEL_EXPORTER_OTLP_ENDPOINT, or
OTEL_TRACES_EXPORTER=otlp or console). No span holds a text, a question, a key or the name of a tenant or document. A
trace goes on in the worker: a job's row holds the traceparent of the request that made it. Attributes are named by
OpenTelemetry's conventions for HTTP and for generative AI, ours begin with adf.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from errors import Invalid
from version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

PROBES = ("/v1/health", "/metrics")
PROTOCOL = "http/protobuf"
PROTOCOL_NAMES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
ENDPOINT_NAMES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

Attributes = Mapping[str, str | int]

_tracer: Tracer | None = None
_PROPAGATOR = TraceContextTextMapPropagator()


class SpanEnd(Protocol):
    """Says how what a span is about ended: called at most once, before the span's block ends."""

    def __call__(self, attributes: Attributes, *, name: str | None = None, has_failed: bool = False) -> None: ...


def _ignored(attributes: Attributes, *, name: str | None = None, has_failed: bool = False) -> None:
    """The SpanEnd of what has no span."""


_NOTHING: AbstractContextManager[SpanEnd] = nullcontext(_ignored)


def is_enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Raises Invalid for an exporter or a protocol that the service does not have."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    if exporter not in {"", "otlp", "console"}:
        raise Invalid(f"OTEL_TRACES_EXPORTER is {exporter!r}, and can be otlp, console or none.")
    for name in PROTOCOL_NAMES:
        if environment.get(name, PROTOCOL) != PROTOCOL:
            raise Invalid(f"{name} is {environment[name]!r}, and can only be {PROTOCOL}; its usual port is 4318.")
    return bool(exporter) or any(environment.get(name) for name in ENDPOINT_NAMES)


@contextmanager
def exported(process: str) -> Iterator[None]:
    """Export the spans of this *process* (api, worker) while the block runs, if they are wanted. Raises Invalid.

    At its end, what has not been sent yet is. A collector that does not answer delays nothing else.
    """
    global _tracer
    if not is_enabled():
        yield
        return
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = Resource.create({"service.name": f"ai3-datafactory-{process}", "service.version": VERSION})
    provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter()))
    _tracer = provider.get_tracer("ai3-datafactory", VERSION)
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


@contextmanager
def _span(
    tracer: Tracer, name: str, kind: SpanKind, about: Attributes, parent: context.Context | None = None
) -> Iterator[SpanEnd]:
    with tracer.start_as_current_span(name, parent, kind, about, record_exception=False) as span:

        def end(attributes: Attributes, *, name: str | None = None, has_failed: bool = False) -> None:
            span.set_attributes(attributes)
            if name is not None:
                span.update_name(name)
            if has_failed:
                span.set_status(StatusCode.ERROR)

        yield end


def request(scope: Mapping[str, Any], request_id: str) -> AbstractContextManager[SpanEnd]:
    """The span of a request, but for probes. The client's own traceparent continues its trace."""
    if _tracer is None or scope["path"].startswith(PROBES):
        return _NOTHING
    method = scope["method"]
    about: Attributes = {"http.request.method": method, "url.scheme": scope["scheme"], "adf.request.id": request_id}
    sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name.startswith(b"trace")}
    return _span(_tracer, method, SpanKind.SERVER, about, _PROPAGATOR.extract(sent))


def job(type: str, job_id: str, attempt: int, traceparent: str | None) -> AbstractContextManager[SpanEnd]:
    """The span of an attempt at a job."""
    if _tracer is None:
        return _NOTHING
    about: Attributes = {"adf.job.type": type, "adf.job.id": job_id, "adf.job.attempt": attempt}
    parent = _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {})
    return _span(_tracer, f"job {type}", SpanKind.CONSUMER, about, parent)


def embedding(texts: int, version: str) -> AbstractContextManager[SpanEnd]:
    """The span of the texts of documents in the model."""
    if _tracer is None:
        return _NOTHING
    about: Attributes = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": version, "adf.texts": texts}
    return _span(_tracer, f"embeddings {version}", SpanKind.INTERNAL, about)


def traceparent() -> str | None:
    """The current span as W3C Trace Context writes it, to go on with in another process."""
    if _tracer is None:
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def watch_search(search: Future[Any], mode: str, top_k: int) -> None:
    """Record the search under the current span once it has an Answer, with its stages.

    They follow each other and end with the search; searches that wait together share stages, and each shows them.
    """
    if _tracer is None:
        return
    tracer, parent, started_ns = _tracer, context.get_current(), time_ns()

    def record(search: Future[Any]) -> None:
        if search.cancelled():
            return
        ended_ns, error = time_ns(), search.exception()
        about: Attributes = {"gen_ai.operation.name": "retrieval", "adf.search.mode": mode, "adf.search.top_k": top_k}
        span = tracer.start_span("retrieval", parent, attributes=about, start_time=started_ns)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        else:
            span.set_attribute("adf.search.passages", len(search.result().passages))
            _record_stages(tracer, span, search.result().timings, ended_ns)
        span.end(ended_ns)

    search.add_done_callback(record)


def _record_stages(tracer: Tracer, search: Span, milliseconds: Mapping[str, float], ended_ns: int) -> None:
    within = trace.set_span_in_context(search)
    for name, duration in reversed(tuple(milliseconds.items())):
        started_ns = ended_ns - int(duration * 1e6)
        tracer.start_span(name.removesuffix("_ms"), within, start_time=started_ns).end(ended_ns)
        ended_ns = started_ns


def record_answer(model: str, started_ns: int, tokens: Attributes, error: str | None) -> None:
    """The call of a language model that has just ended. *tokens* by their names in the conventions."""
    if _tracer is None:
        return
    about: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, **tokens}
    span = _tracer.start_span(f"chat {model}", kind=SpanKind.CLIENT, attributes=about, start_time=started_ns)
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end()


def _exporter() -> SpanExporter:
    if os.environ.get("OTEL_TRACES_EXPORTER") == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
