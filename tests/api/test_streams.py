"""POST /v1/docs/upsert/stream: a document per line, and what becomes of each."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from domain import ANYONE, Scope
from services.accounts.api_keys import id_of
from services.ingest.documents import DocumentService
from services.ingest.drafts import NewDoc, UpsertResult
from tests.support.accounts import issue, keyed, make_team
from tests.support.service import PLACE, Service, open_service, settings_in

__all__ = ["keyed"]

STREAM = "/v1/docs/upsert/stream"
TYPE = {"Content-Type": "application/x-ndjson"}
Results = list[dict[str, Any]]


def doc(doc_id: str, text: str = "Cats sleep.", **more: Any) -> bytes:
    return json.dumps({**PLACE, "doc_id": doc_id, "text": text, **more}).encode()


def own(doc_id: str, **more: Any) -> bytes:
    return json.dumps({**PLACE, "doc_id": doc_id, "chunks": [{"text": doc_id, "vector": [1, 2]}], **more}).encode()


def stream(service: Service, lines: Iterable[bytes], query: str = "", **headers: str) -> Results:
    return results_of(service.client.post(STREAM + query, content=b"\n".join(lines), headers={**TYPE, **headers}))


def results_of(answer: Any) -> Results:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def codes(results: Results) -> dict[int, str]:
    return {line["line"]: line["error"]["code"] for line in results if line["status"] == "failed"}


def test_each_line_is_a_document_and_a_bad_one_is_its_own_fault(service: Service) -> None:
    service.upsert("there", "Dogs bark.")
    lines = [
        doc("a"),
        b"",
        b"{not json",
        b'{"doc_id": "\xff"}',
        doc("b", chunk_strategy="no such"),
        doc("c", colour="red"),
        b" \r",
        doc("d", text=" "),
        own("e"),
        doc("there", "Dogs bark."),
        doc("twice", "First."),
        doc("twice", "Second."),
        b"7",
        doc("last") + b"\r\n",
    ]
    results = stream(service, lines)
    assert codes(results) == dict.fromkeys((3, 4, 5, 6, 8, 9, 13), "invalid_request")
    stored = [(line["line"], line["doc_id"]) for line in results if line["status"] == "stored"]
    assert stored == [(1, "a"), (10, "there"), (11, "twice"), (12, "twice"), (14, "last")]
    assert [line["line"] for line in results] == sorted(line["line"] for line in results)
    errors = {line["line"]: line["error"] for line in results if "error" in line}
    assert "not UTF-8" in errors[4]["message"]
    params = [errors[number]["param"] for number in (3, 5, 6, 8, 9)]
    assert params == [None, "chunk_strategy", "colour", "text", "chunks"]
    assert service.chunks("twice")[0]["text"] == "Second."
    assert sorted(each["doc_id"] for each in service.get("/v1/docs", PLACE)["data"]) == ["a", "last", "there", "twice"]


def test_more_than_a_batch_is_stored_in_order_and_no_batch_is_large(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    upsert = DocumentService.upsert

    def counted(self: DocumentService, docs: list[NewDoc]) -> UpsertResult:
        sizes.append(len(docs))
        return upsert(self, docs)

    monkeypatch.setattr(DocumentService, "upsert", counted)
    results = stream(service, [own(f"doc-{number}") for number in range(300)])
    assert [(line["line"], line["doc_id"]) for line in results] == [(n + 1, f"doc-{n}") for n in range(300)]
    assert {line["status"] for line in results} == {"stored"}
    assert sizes == [256, 44]
    with service.restarted(max_batch_docs=2) as small:
        assert {line["status"] for line in stream(small, [own(f"doc-{n}") for n in range(3)])} == {"stored"}


def test_in_async_mode_each_tenant_has_a_job(service: Service) -> None:
    results = stream(
        service, [own("a"), own("b", tenant_id="other"), own("c"), own("d", metadata=7)], "?async_mode=true"
    )
    assert [line["status"] for line in results] == ["accepted", "accepted", "accepted", "failed"]
    first, second, third = (line["job_id"] for line in results[:3])
    assert first == third != second
    assert service.get("/v1/docs", PLACE)["data"][0]["status"] == "processing"
    service.work()
    assert service.job(second)["status"] == "completed"
    assert [each["status"] for each in service.get("/v1/docs", PLACE)["data"]] == ["ready", "ready"]


def test_a_line_may_be_as_long_as_a_body_and_a_longer_one_is_left_out(service: Service) -> None:
    lines = [doc("a"), doc("long", "x" * (2 << 20)), doc("b", "Cats sleep. " * 40_000), b'{"a":[' + b"[]," * 200_000]
    with service.restarted(max_body_mb=1, max_text_chars=1 << 20) as small:
        results = stream(small, [*lines, doc("c")])
    assert codes(results) == {2: "too_large", 4: "too_large"}
    assert "MAX_BODY_MB" in results[1]["error"]["message"]
    assert [line.get("doc_id") for line in results] == ["a", None, "b", None, "c"]


def test_a_body_may_be_packed_and_one_that_is_cut_off_keeps_its_whole_lines(service: Service) -> None:
    lines = b"\n".join([doc("a"), doc("b"), doc("c")])
    packed = gzip.compress(lines, mtime=0)
    headers = {**TYPE, "Content-Encoding": "gzip"}
    results = results_of(service.client.post(STREAM, content=packed, headers=headers))
    assert [line["doc_id"] for line in results] == ["a", "b", "c"]
    half = gzip.compress(doc("d") + b"\n") + gzip.compress(doc("e"))[:-9]
    results = results_of(service.client.post(STREAM, content=half, headers=headers))
    assert [(line["line"], line["status"]) for line in results] == [(1, "stored"), (2, "failed")]
    assert results[1]["error"]["code"] == "bad_request"
    service.doc("d")
    service.doc("e", expect=404)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"\x1f\x8b nonsense", {**TYPE, "Content-Encoding": "gzip"}, 400, "bad_request"),
        (doc("a"), {"Content-Type": "text/csv"}, 422, "invalid_request"),
    ],
)
def test_a_body_that_cannot_be_read_at_all_is_a_problem_of_its_own(
    shared_service: Service, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = shared_service.client.post(STREAM, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_empty_body_has_an_empty_answer(shared_service: Service) -> None:
    assert stream(shared_service, [b"", b"\n\n"]) == []
    assert results_of(shared_service.client.post(STREAM)) == []


def test_anothers_tenant_is_that_lines_error(keyed: Service) -> None:
    one, other = make_team(keyed, "one"), make_team(keyed, "other")
    for team in (one, other):
        team.post(f"{team.own}/projects", {"namespace": "place"}, expect=201)
    fields = {"namespace": "place", "doc_id": "a", "text": "Cats sleep."}
    lines = [
        fields,
        {**fields, "tenant_id": "other"},
        {**fields, "tenant_id": "nobody"},
        {**fields, "tenant_id": "one"},
    ]
    body = "\n".join(map(json.dumps, lines))
    results = results_of(one.ask("POST", STREAM, content=body, headers=TYPE))
    assert [line["status"] for line in results] == ["stored", "failed", "failed", "stored"]
    unknown, absent = ({**line, "line": 0} for line in results[1:3])
    assert unknown == absent
    assert codes(results)[2] == "not_found"
    assert other.get("/v1/docs", params={"namespace": "place"})["data"] == []
    assert one.ask("POST", STREAM, scope=Scope.SEARCH, content=body, headers=TYPE).status_code == 403


def test_each_batch_counts_as_a_request_and_waits_for_its_turn(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, auth_mode="keys", rate_limit_per_key="1/second", max_batch_docs=2)
    with open_service(settings) as service:
        team = make_team(service, "acme")
        service.runtime.accounts.teams.create_project("acme", PLACE["namespace"])
        started = time.monotonic()
        answer = team.ask("POST", STREAM, content=b"\n".join([own("a"), own("b"), own("c")]), headers=TYPE)
        assert [line["status"] for line in results_of(answer)] == ["stored"] * 3
        assert answer.headers["ratelimit-remaining"] == "0"
        assert time.monotonic() - started >= 0.5


def test_a_key_that_is_revoked_stores_no_further_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upsert = DocumentService.upsert
    with open_service(settings_in(tmp_path, auth_mode="keys", max_batch_docs=2)) as service:
        team = make_team(service, "acme")
        service.runtime.accounts.teams.create_project("acme", PLACE["namespace"])
        key = issue(service, "acme", Scope.INGEST)
        accounts = service.client.app_state["runtime"].accounts

        def revoking(self: DocumentService, docs: list[NewDoc]) -> UpsertResult:
            accounts.keys.revoke("acme", id_of(key) or "", by=ANYONE)
            return upsert(self, docs)

        monkeypatch.setattr(DocumentService, "upsert", revoking)
        lines = b"\n".join([own("a"), own("b"), own("c"), own("d")])
        answer = service.client.post(STREAM, content=lines, headers={**TYPE, "Authorization": f"Bearer {key}"})
        results = results_of(answer)
        assert [(line["line"], line["status"]) for line in results] == [(1, "stored"), (2, "stored"), (3, "failed")]
        assert results[2]["error"]["code"] == "invalid_api_key"
        assert team.get("/v1/docs/a", params=PLACE)["status"] == "ready"
