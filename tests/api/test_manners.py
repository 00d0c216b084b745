"""What any client expects of any server: HEAD, OPTIONS, slashes, compressed bodies, byte order marks, CORS, offsets."""

from __future__ import annotations

import gzip
import json
import os
from itertools import pairwise
from typing import Any

import pytest

from settings import Settings
from tests.support.service import PLACE, Service

DOC = {**PLACE, "doc_id": "gulls", "text": "Gulls nest on the pier."}
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}
PAGE = "https://app.example.com"


def test_head_is_answered_as_get_is_without_a_body(service: Service) -> None:
    service.post("/v1/docs/upsert", DOC)
    ours = [(path, PLACE) for path in ("/v1/docs/gulls", "/v1/docs/gulls/chunks", "/v1/docs")]
    for path, params in (*ours, ("/v1/health", {}), ("/docs", {})):
        got, head = service.client.get(path, params=params), service.client.head(path, params=params)
        assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
    assert service.client.head("/v1/docs/none", params=PLACE).status_code == 404
    assert service.client.head("/v1/search").status_code == 405


def test_a_slash_at_the_end_makes_no_other_path_but_may_end_a_doc_id(service: Service) -> None:
    service.post("/v1/docs/upsert/", DOC)
    assert service.client.post("/v1/docs/upload/", content=bytes(65 << 20)).status_code == 422  # not MAX_BODY_MB
    service.post("/v1/docs/upsert/batch/", {"docs": [{**DOC, "doc_id": "https://example.com/"}]})
    assert len(service.post("/v1/search/", {**PLACE, "query": "gulls"})["chunks"]) == 2
    assert len(service.get("/v1/docs/", params=PLACE)["data"]) == 2
    assert service.get("/v1/docs/gulls/chunks/", params=PLACE)["data"][0]["text"] == DOC["text"]
    assert service.client.get("/v1/docs/gulls/", params=PLACE).status_code == 404
    assert service.get("/v1/docs/https://example.com/", params=PLACE)["doc_id"] == "https://example.com/"
    assert service.client.get("/v1/nothing/").status_code == 404


def test_options_name_what_a_path_takes_and_only_listed_origins_may_ask(service: Service) -> None:
    assert service.client.options("/v1/docs/gulls").headers["allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert service.client.options("/v1/search").headers["allow"] == "POST, OPTIONS"
    assert service.client.options("/v1/nothing").status_code == 404
    probe = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert "access-control-allow-origin" not in service.client.options("/v1/search", headers=probe).headers
    with service.restarted(cors_origins=f"{PAGE}/, http://localhost:3000") as shared:
        allowed = shared.client.options("/v1/search", headers=probe)
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        refused = shared.client.post("/v1/search", json={}, headers={"Origin": PAGE})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (422, PAGE)
        assert "RateLimit-Remaining" in refused.headers["access-control-expose-headers"].split(", ")
        other = shared.client.get("/v1/health", headers={"Origin": "https://other.example.com"})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origins", ["app.example.com", "https://app.example.com/page", "https://a.org, b.org"])
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        Settings(cors_origins=origins)


def test_a_compressed_body_is_unpacked_and_counts_as_what_it_holds(service: Service) -> None:
    body = json.dumps(DOC).encode()
    for packed in (gzip.compress(body), gzip.compress(body[:20]) + gzip.compress(body[20:])):
        answer = service.client.post("/v1/docs/upsert", content=packed, headers=GZIP)
        assert answer.status_code == 200, answer.text
    fields = {name: PLACE[name] for name in ("tenant_id", "namespace")}
    plain = service.client.build_request("POST", "/v1/docs/upload", data=fields, files={"file": ("a.txt", b"Terns.")})
    packed, sent_as = gzip.compress(plain.read()), {"Content-Type": plain.headers["content-type"]}
    upload = service.client.post("/v1/docs/upload", content=packed, headers={**GZIP, **sent_as})
    assert upload.status_code == 200, upload.text


@pytest.mark.parametrize(
    ("body", "coding", "status", "said"),
    [
        (b"{}", "br", 415, "'br' is not supported"),
        (b"{}", "gzip, gzip", 415, "is not supported"),
        (b"{}", "gzip", 400, "not valid gzip"),
        (gzip.compress(os.urandom(1000))[:500], "gzip", 400, "cut off"),
        (gzip.compress(bytes(3 << 20)), "gzip", 413, "longer than 1 MB"),
        (gzip.compress(b"{}", mtime=0), "gzip", 422, "tenant_id"),
        (b"{}", "identity", 422, "tenant_id"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused_with_the_reason(
    service: Service, body: bytes, coding: str, status: int, said: str
) -> None:
    with service.restarted(max_body_mb=2) as small:
        answer = small.client.post("/v1/search", content=body, headers={**JSON, "Content-Encoding": coding})
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_json_with_a_byte_order_mark_is_json_and_that_of_another_encoding_is_not(service: Service) -> None:
    other = service.client.post("/v1/docs/upsert", content=json.dumps(DOC).encode("utf-16"), headers=JSON)
    assert (other.status_code, "not UTF-8" in other.json()["detail"]) == (422, True)
    answer = service.client.post("/v1/docs/upsert", content=json.dumps(DOC).encode("utf-8-sig"), headers=JSON)
    assert answer.status_code == 200, answer.text


def test_offsets_are_those_of_the_text_as_it_was_sent(service: Service) -> None:
    text = "\ufeffOne\x00 \U0001f600 line.\r\n\r\n" + "Zoë\x00 pays €5.\r\n" * 200
    service.post("/v1/docs/upsert", {**DOC, "text": text})
    chunks = service.get("/v1/docs/gulls/chunks", params={**PLACE, "limit": 1000})["data"]
    assert len(chunks) > 1
    for chunk in chunks:
        assert text[chunk["char_start"] : chunk["char_end"]].replace("\x00", "\ufffd") == chunk["text"]
    answer = service.post("/v1/search", {**PLACE, "query": "zoe", "mode": "keyword"})
    assert answer["chunks"]
    assert service.client.post("/v1/docs/upsert", json={**DOC, "text": "\x00 \x00"}).status_code == 422


def test_a_long_overlap_or_header_leaves_a_chunks_own_text_what_the_model_reads(service: Service) -> None:
    text = " ".join(f"Sentence {n} tells of gulls, terns and other birds." for n in range(80))
    with service.restarted(chunk_tokens=1000) as large:
        sent: dict[str, dict[str, Any]] = {
            "o": {"chunk_overlap": 3000},
            "h": {"enrich_context": True, "title": "Birds " * 100},
        }
        for name, more in sent.items():
            large.post("/v1/docs/upsert", {**DOC, "doc_id": name, "text": text, **more})
            chunks = large.get(f"/v1/docs/{name}/chunks", params=PLACE)["data"]
            model = large.runtime.index.embedding.embedder(large.settings.version)
            texts = [f"{each['header']}\n\n{each['text']}" if each["header"] else each["text"] for each in chunks]
            assert max(map(model.count_tokens, texts)) <= model.max_tokens
            assert len(chunks) > 3
            assert all((each["char_start"] < before["char_end"]) == (name == "o") for before, each in pairwise(chunks))
