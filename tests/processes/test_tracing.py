"""A trace from the request to the worker, as a collector of OpenTelemetry receives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import tracing
from errors import Invalid
from tests.support.chat_server import chat_server
from tests.support.collector import collector
from tests.support.processes import api_process, until, worker_process
from tests.support.service import PLACE, settings_in

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SECRET = "zanzibar"
STAGES = ("embed", "catch_up", "index", "keywords", "fetch")


def test_a_trace_goes_from_the_request_through_the_search_the_answer_and_the_job(
    tmp_path: Path, remote: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as received, chat_server() as chat:
        settings = settings_in(tmp_path, llm_base_url=chat.url, llm_model="small", **remote)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        with api_process(settings) as api, worker_process(settings):
            api.client.headers["traceparent"] = f"00-{TRACE}-{CALLER}-01"
            api.wait(api.batch({SECRET: f"Cats sleep in {SECRET}."}))
            api.search(f"cats in {SECRET}", mode="hybrid")
            api.post("/v1/ask", {**PLACE, "question": f"Do cats sleep in {SECRET}?", "min_score": -1})
            until(lambda: {"POST /v1/ask", "job ingest_docs"} <= {span.name for span in received.spans})
        spans = [span for span in received.spans if span.trace_id.hex() == TRACE]
        assert received.services == {"ai3-datafactory-api", "ai3-datafactory-worker"}
        assert not [body for body in received.bodies if SECRET.encode() in body]
    assert parents(spans, "job ingest_docs") == ["POST /v1/docs/upsert/batch"]
    assert parents(spans, "embeddings bundled") == ["job ingest_docs"]
    assert parents(spans, "retrieval") == ["POST /v1/ask", "POST /v1/search"]
    assert {stage: set(parents(spans, stage)) for stage in STAGES} == {stage: {"retrieval"} for stage in STAGES}
    assert parents(spans, "chat small") == ["POST /v1/ask"]
    assert all(is_within(span, spans) for span in spans if span.name in {*STAGES, "retrieval", "chat small"})
    [batch] = [span for span in spans if span.name == "POST /v1/docs/upsert/batch"]
    assert batch.parent_span_id.hex() == CALLER
    [search] = [span for span in spans if span.name == "POST /v1/search"]
    assert attributes(search)["http.response.status_code"] == 200
    [chatting] = [span for span in spans if span.name == "chat small"]
    assert attributes(chatting)["gen_ai.usage.output_tokens"] > 0


def parents(spans: list[Span], name: str) -> list[str]:
    names = {span.span_id: span.name for span in spans}
    return sorted(names[span.parent_span_id] for span in spans if span.name == name)


def is_within(span: Span, spans: list[Span]) -> bool:
    [parent] = [each for each in spans if each.span_id == span.parent_span_id]
    return (
        parent.start_time_unix_nano
        <= span.start_time_unix_nano
        <= span.end_time_unix_nano
        <= (parent.end_time_unix_nano)
    )


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.mark.parametrize(
    ("environment", "is_enabled"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_environment_says_whether_spans_are_wanted(environment: dict[str, str], *, is_enabled: bool) -> None:
    assert tracing.is_enabled(environment) is is_enabled


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")]
)
def test_what_the_service_cannot_export_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"{name} is '{value}'"):
        tracing.is_enabled({name: value})
