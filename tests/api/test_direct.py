"""The short way to a route answers what the long way answers, to the byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.types import Scope

from api.direct import DirectCall
from app_v1 import all_routes
from tests.support.service import PLACE, Service

DOC = {**PLACE, "doc_id": "a", "chunks": [{"text": "Cats sleep.", "vector": [1.0, 0.0]}]}
SEARCH = {**PLACE, "vector": [1.0, 0.5], "top_k": 1}
CHANGES = ("x-request-id", "server-timing")

REQUESTS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "stored already": ("docs/upsert", DOC, {}),
    "found": ("search", SEARCH, {}),
    "found, all fields": ("search", {**SEARCH, "include": ["text"], "context": 1}, {}),
    "no namespace": ("search", {**SEARCH, "namespace": "none"}, {}),
    "refused by a service": ("search", {**SEARCH, "top_k": 10**6}, {}),
    "no such dataset": ("eval", {**PLACE, "queries": [], "k": 0}, {}),
    "unknown field": ("search", {**SEARCH, "vektor": 1}, {}),
    "a key twice": ("search", b'{"tenant_id": "acme", "tenant_id": "acme"}', {}),
    "lone surrogate": ("search", rb'{"tenant_id": "\ud800"}', {}),
    "no body": ("search", b"", {}),
    "null": ("search", b"null", {}),
    "not JSON": ("search", b"{}", {"content-type": "text/plain"}),
    "too long": ("search", b" " * (1 << 20) + b"{}", {}),
    "large": ("search", b" " * (1 << 17) + json.dumps(SEARCH).encode(), {}),
    "unknown parameter": ("search?top_k=1", SEARCH, {}),
    "trailing slash": ("search/", SEARCH, {}),
    "a declared header": ("docs/upsert", DOC, {"if-match": "none"}),
    "a key of idempotency": ("docs/upsert", DOC, {"idempotency-key": "k"}),
    "no vector store": ("vector_stores/vs_0/search", {"query": "cats"}, {}),
    "another's vector store": ("vector_stores/vs_0/search?x=1", {"query": "cats"}, {"openai-organization": "acme"}),
    "no query": ("vector_stores/vs_0/search", {"max_num_results": 51}, {}),
    "too long a key": ("docs/upsert", DOC, {"idempotency-key": "k" * 256}),
}


def test_routes_that_take_nothing_but_a_body_have_a_short_way() -> None:
    calls = [call for route in all_routes() if (call := DirectCall.of(route))]
    taken = {
        "/v1/search",
        "/v1/docs/upsert",
        "/v1/eval",
        "/v1/index/versions/rollback",
        "/v1/dify/retrieval",
        "/v1/librechat/query",
        "/v1/vector_stores/{vector_store_id}/search",
    }
    assert {call.route.path for call in calls} == taken


def test_both_ways_answer_the_same(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.post("/v1/docs/upsert", DOC)
    for name in REQUESTS:
        _answer(service, name)  # so that what is stored once is stored
    ways, suits = list[bool](), DirectCall.suits

    def noted(call: DirectCall, scope: Scope) -> bool:
        ways.append(suits(call, scope))
        return ways[-1]

    monkeypatch.setattr(DirectCall, "suits", noted)
    short = {name: _answer(service, name) for name in REQUESTS}
    assert (len(ways), sum(ways)) == (len(REQUESTS) - 1, len(REQUESTS) - 2)  # one is too long, another has a header
    monkeypatch.setattr(DirectCall, "suits", lambda _call, _scope: False)
    assert short == {name: _answer(service, name) for name in REQUESTS}


def _answer(service: Service, name: str) -> tuple[int, dict[str, str], bytes]:
    path, body, headers = REQUESTS[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = service.client.post(
        f"/v1/{path}", content=content, headers={"content-type": "application/json", **headers}
    )
    return answer.status_code, {key: each for key, each in answer.headers.items() if key not in CHANGES}, answer.content
