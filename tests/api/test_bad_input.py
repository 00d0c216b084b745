"""Whatever is sent: a clear problem, nothing lost, and the next request is answered as if nothing had been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_v1 import create_app
from errors import DatabaseUnavailable
from runtime.opening import open_runtime
from tests.support.examples import examples
from tests.support.routes import OTHERS
from tests.support.service import PLACE, Service, open_service, settings_in

DOC = {**PLACE, "doc_id": "doc", "text": "Cats sleep."}
SEARCH = {**PLACE, "query": "cats"}
ONE_LINE = st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp"))


@pytest.fixture(scope="module")
def with_one(shared_service: Service) -> Service:
    """One document is there before and after each test: whatever is sent is refused."""
    shared_service.upsert("before", "Dogs bark.")
    return shared_service


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


BAD_UPSERTS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"chunk_strategy": "psychic"}, 422, "chunk_strategy"),
    ({"chunk_overlap": -1}, 422, "chunk_overlap"),
    ({"text": ""}, 422, "text"),
    ({"text": " \n\t "}, 422, "text"),
    ({"text": "\x00\x00"}, 422, "text"),
    ({"text": "x" * 10_000_001}, 413, "text"),
    ({"text": 7}, 422, "text"),
    ({"doc_id": ""}, 422, "doc_id"),
    ({"doc_id": "x" * 2000}, 422, "doc_id"),
    ({"doc_id": "a\x00b"}, 422, "doc_id"),
    ({"tenant_id": "x" * 300}, 422, "tenant_id"),
    ({"tenant_id": " "}, 422, "tenant_id"),
    ({"namespace": ""}, 422, "namespace"),
    ({"metadata": ["not", "an", "object"]}, 422, "metadata"),
    ({"metadata": {"big": "x" * 1_000_000}}, 413, "metadata"),
    ({"metadata": nested(200)}, 422, "metadata"),
    ({"source_type": "telepathy"}, 422, "source_type"),
    ({"metdata": {"year": 2020}}, 422, "metdata"),
    ({"text": None, "chunks": [{"text": "Cats sleep.", "meta": {"year": 2020}}]}, 422, "chunks.0.meta"),
]


@pytest.mark.parametrize(("changed", "status", "param"), BAD_UPSERTS, ids=lambda value: str(value)[:40])
def test_a_bad_document_is_refused_by_the_name_of_its_field(
    with_one: Service, changed: dict[str, Any], status: int, param: str | None
) -> None:
    answer = with_one.client.post("/v1/docs/upsert", json={**DOC, **changed})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["error"]["param"]) == (status, param)
    assert problem["detail"] == problem["error"]["message"]
    assert len(problem["detail"]) < 500
    assert with_one.hit_ids("anything") == ["before"]


BAD_SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({"top_k": 0}, "top_k"),
    ({"top_k": 10_001}, "top_k"),
    ({"top_k": "many"}, "top_k"),
    ({"query": ""}, "query"),
    ({"query": "   "}, "query"),
    ({"query": "x" * 100_000}, "query"),
    ({"tenant_id": ""}, "tenant_id"),
    ({"filter": {"year": 2020}}, "filter"),
]


@pytest.mark.parametrize(("changed", "param"), BAD_SEARCHES, ids=lambda value: str(value)[:40])
def test_a_bad_search_is_refused_by_the_name_of_its_field(
    with_one: Service, changed: dict[str, Any], param: str
) -> None:
    assert with_one.search(**{**{"query": "cats"}, **changed}, expect=422)["error"]["param"] == param
    assert with_one.hit_ids("cats") == ["before"]


def test_a_field_that_is_missing_is_named(with_one: Service) -> None:
    assert with_one.post("/v1/search", {"tenant_id": "a", "query": "x"}, expect=422)["error"]["param"] == "namespace"


def test_no_request_takes_a_field_that_nobody_knows() -> None:
    """Every body of every route of ours: one that is new has to be as strict. Newer clients of others may send more."""
    document = create_app().openapi()
    operations = [route for path in document["paths"].values() for route in path.values()]
    routes = [each for each in operations if "requestBody" in each and not OTHERS.intersection(each["tags"])]
    bodies = [next(iter(route["requestBody"]["content"].values()))["schema"] for route in routes]
    assert len(bodies) > 10
    for body in bodies:
        chosen = body.get("anyOf", [body])[0]  # the other is null
        name = chosen.get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"][name] if name else chosen
        assert schema["additionalProperties"] is False, name


NOT_JSON = {
    b"{": "not valid JSON",
    b"": "Field required",
    b'{"tenant_id": "a", "tenant_id": "b"}': "'tenant_id' stands twice",
    b'{"tenant_id": NaN}': "NaN is not a JSON number",
    b'{"filters": {"year": 1e999}, "min_score": -1e999}': "1e999 is out of range",
    b'{"metadata": {"size": 1e400}}': "1e400 is out of range",
    b'{"vector": [0.5, 1e999]}': "1e999 is out of range",
    b'{"query": "\\ud800"}': "lone surrogate",
    b'{"query": "\xff"}': "not UTF-8",
    b"[" * 200_000: "nested too deeply",
    b'{"filters": {"a": ' + b"9" * 5000 + b"}}": "thousands of digits",
    b"[]": "valid dictionary",
    b"7": "valid dictionary",
}


@pytest.mark.parametrize(("body", "message"), NOT_JSON.items(), ids=[str(body[:20]) for body in NOT_JSON])
def test_what_is_not_json_is_told_so(with_one: Service, body: bytes, message: str) -> None:
    for path, key in (("/v1/search", {}), ("/v1/docs/upsert", {"Idempotency-Key": "1"})):
        answer = with_one.client.post(path, content=body, headers={"Content-Type": "application/json", **key})
        assert answer.status_code == 422, answer.text
        assert message in answer.json()["detail"]


def test_curl_need_not_say_that_it_sends_json(with_one: Service) -> None:
    for header in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = with_one.client.post("/v1/search", content=json.dumps(SEARCH), headers=header)
        assert answer.status_code == 200, answer.text


def test_text_in_any_script_with_nul_bytes_is_kept_and_found(service: Service) -> None:
    text = "שלום עולם 🦊\u200f مرحبا\x00 بالعالم \u202e reversed"
    service.upsert("doc", text)
    [chunk] = service.search("שלום")["chunks"]
    assert chunk["text"] == text.replace("\x00", "\ufffd")


def test_a_body_over_the_limit_is_not_read(service: Service) -> None:
    with service.restarted(max_body_mb=1) as small:
        body = json.dumps({**DOC, "text": "x" * (2 << 20)}).encode()
        refused = small.client.post("/v1/docs/upsert", content=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
        streamed = small.client.post("/v1/docs/upsert", content=(body[i : i + 1000] for i in range(0, len(body), 1000)))
        assert streamed.status_code == 413
        small.upsert("doc", "Cats sleep.")


def test_a_batch_over_the_limit_is_refused_whole(service: Service) -> None:
    with service.restarted(max_batch_docs=3) as small:
        docs = [{**DOC, "doc_id": str(number)} for number in range(4)]
        assert small.post("/v1/docs/upsert/batch", {"docs": docs}, expect=413)["error"]["param"] == "docs"
        assert small.post("/v1/docs/upsert/batch", {"docs": []}, expect=422)["error"]["param"] == "docs"
        assert small.hit_ids("cats") == []


def test_one_bad_document_refuses_its_batch_before_anything_is_kept(service: Service) -> None:
    for async_mode in (False, True):
        docs = [DOC, {**DOC, "doc_id": "bad", "text": " "}]
        problem = service.post("/v1/docs/upsert/batch", {"docs": docs, "async_mode": async_mode}, expect=422)
        assert "'bad'" in problem["detail"]
    assert service.get("/v1/docs", PLACE)["data"] == []
    assert service.get("/v1/queue/stats")["total"] == 0


def test_what_is_not_there_is_a_404_that_says_so(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    assert "'nothing'" in service.delete("nothing", expect=404)["detail"]
    assert service.doc("nothing", expect=404)["error"]["code"] == "not_found"
    assert "'no-job'" in service.get("/v1/jobs/no-job", expect=404)["detail"]
    service.post("/v1/jobs/no-job/cancel", {}, expect=404)
    place = {"tenant_id": "acme", "namespace": "typo"}
    assert "'typo'" in service.post("/v1/index/rebuild", place, expect=404)["detail"]
    assert "'typo'" in service.delete("doc", namespace="typo", expect=404)["detail"]
    assert service.get("/v1/nowhere", expect=404)["detail"].startswith("There is no GET /v1/nowhere")
    assert service.client.put("/v1/search").status_code == 405
    assert service.get("/v1/jobs", {"after": "no-job"}, expect=404)["error"]["param"] == "after"
    assert service.get("/v1/jobs", {"status": "asleep"}, expect=422)["error"]["param"] == "status"


def test_a_nul_in_a_url_is_refused(with_one: Service) -> None:
    place = "tenant_id=acme&namespace=project_001"
    for url in (
        "docs?tenant_id=acme&namespace=%00",
        f"docs/a%00?{place}",
        f"docs?{place}&after=%00",
        "jobs/%00",
        "teams/%00",
    ):
        assert "NUL character" in with_one.get(f"/v1/{url}", expect=422)["detail"]


def test_a_search_of_a_namespace_that_does_not_exist_says_so(service: Service) -> None:
    answer = service.search("cats")
    assert (answer["chunks"], answer["index"]) == ([], None)
    assert "no namespace 'project_001'" in answer["hint"]


def test_an_unknown_embedding_version_is_a_conflict_that_names_the_one_that_serves(with_one: Service) -> None:
    detail = with_one.search("cats", embedding_version="v9", expect=409)["detail"]
    assert "'v9'" in detail and with_one.settings.version in detail
    body = {**PLACE, "new_embedding_version": "v9"}
    assert with_one.post("/v1/index/rebuild", body, expect=422)["error"]["param"] == "new_embedding_version"


def test_every_answer_carries_the_id_of_its_request(with_one: Service) -> None:
    assert with_one.client.get("/v1/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    request_id = with_one.client.get("/v1/nowhere", headers={"X-Request-ID": "a b"}).headers["x-request-id"]
    assert len(request_id) == 32


def test_the_same_idempotency_key_gives_the_same_answer_again(service: Service) -> None:
    key = {"Idempotency-Key": "k1"}
    first = service.client.post("/v1/docs/upsert", json=DOC, headers=key)
    again = service.client.post("/v1/docs/upsert", json=DOC, headers=key)
    assert (first.json(), again.headers["idempotency-replayed"]) == (again.json(), "true")
    assert first.json()["upserted_docs"] == 1
    other = service.post("/v1/docs/upsert", {**DOC, "text": "Other."}, headers=key, expect=422)
    assert "another request" in other["detail"]
    assert service.search("x")["chunks"][0]["text"] == "Cats sleep."


def test_two_tenants_may_choose_the_same_idempotency_key(service: Service) -> None:
    key = {"Idempotency-Key": "1"}
    for tenant in ("one", "two"):
        service.post("/v1/docs/upsert", {**DOC, "tenant_id": tenant}, headers=key)
    assert service.client.post("/v1/docs/upsert", content=b"{", headers=key).status_code == 422


def test_numbers_out_of_range_are_refused(with_one: Service) -> None:
    with_one.get("/v1/docs/before/chunks", {**PLACE, "after": str(10**30)}, expect=422)
    body = json.dumps({**DOC, "metadata": {"x": "BIG"}}).replace('"BIG"', "1e400")
    answer = with_one.client.post("/v1/docs/upsert", content=body)
    assert answer.status_code == 422
    assert "1e400 is out of range" in answer.json()["detail"]


def test_a_keyed_request_that_failed_can_be_sent_again(service: Service) -> None:
    key = {"Idempotency-Key": "k1"}
    service.post("/v1/index/rebuild", PLACE, headers=key, expect=404)
    service.upsert("doc", "Cats sleep.")
    assert service.post("/v1/index/rebuild", PLACE, headers=key)["job_id"]


def test_a_password_in_the_database_url_is_not_shown() -> None:
    from services.operations.observing import without_password

    assert without_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///{}/notes.txt", "not a SQLite database"),
        ("sqlite:///{}/missing/rag.db", "does not exist"),
        ("sqlite://", "must name a file"),
        ("nonsense", "not a database URL"),
        ("sqlite:///{}", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("These are notes and no database, for sure. " * 100)
    with (
        pytest.raises(DatabaseUnavailable, match=message),
        open_runtime(settings_in(tmp_path, database_url=url.format(tmp_path))),
    ):
        pass


def test_an_index_folder_that_cannot_be_written_costs_speed_alone(tmp_path: Path) -> None:
    (tmp_path / "indices").write_text("a file where the folder should be")
    with open_service(settings_in(tmp_path, job_max_attempts=2)) as service:
        service.upsert("doc", "Cats sleep.")
        job = service.rebuild()
        assert (job["status"], "INDEX_DIR" in job["error"]) == ("failed", True)
        assert service.hit_ids("cats") == ["doc"]
        health = service.get("/v1/health", expect=503)
        assert (health["index_store_ok"], health["db_ok"]) == (False, True)
        assert "INDEX_DIR" in health["problems"][0]


def test_a_model_that_cannot_be_had_is_told_by_health_and_by_the_call_that_needs_it(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, embed_model_name=str(tmp_path / "no-model"))) as service:
        problem = service.upsert("doc", "Cats sleep.", expect=503)
        assert problem["error"]["code"] == "model_unavailable"
        assert service.get("/v1/health", expect=503)["model"] == "failed"
        assert service.get("/v1/docs", PLACE)["data"] == []


@settings(examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(min_size=1, max_size=200).filter(str.strip),
    text=st.text(min_size=1, max_size=400).filter(lambda text: text.replace("\x00", "").strip()),
    doc_id=st.text(ONE_LINE, min_size=1, max_size=50).filter(str.strip),
)
def test_any_text_can_be_stored_and_asked_for(service: Service, query: str, text: str, doc_id: str) -> None:
    service.upsert(doc_id, text)
    chunks = service.search(query, top_k=1000)["chunks"]
    texts = [chunk["text"] for chunk in chunks if chunk["doc_id"] == doc_id]
    assert texts
    assert all(part in text.replace("\x00", "") for part in texts)
