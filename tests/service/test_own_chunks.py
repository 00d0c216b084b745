"""Documents that come in chunks, with vectors of their own or without."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from domain import Scope
from services.index import namespaces
from services.index.namespaces import external_version
from services.search.question import Answer, Question
from tests.support.accounts import keyed, make_team
from tests.support.prose import prose
from tests.support.service import PLACE, Service, every_store

__all__ = ["keyed"]

AXES = np.eye(4).tolist()
TEXT: dict[str, Any] = {"text": "Cats sleep."}
VECTOR: dict[str, Any] = {"chunks": [{"text": "a", "vector": [1, 0]}]}

on_sqlite_shared = pytest.mark.parametrize("shared_service", ["sqlite"], indirect=True)


def put(service: Service, doc_id: str, chunks: list[Any], *, expect: int = 200, **more: Any) -> Any:
    sent = [each if isinstance(each, dict) else {"text": each} for each in chunks]
    return service.post("/v1/docs/upsert", {**PLACE, "doc_id": doc_id, "chunks": sent, **more}, expect=expect)


def near(service: Service, vector: Any, *, expect: int = 200, **more: Any) -> Any:
    return service.post("/v1/search", {**PLACE, "vector": vector, **more}, expect=expect)


def make(service: Service, place: dict[str, str]) -> None:
    """An empty namespace, as an admin makes it."""
    version = service.settings.version
    service.runtime.index.embedding.embedder(version)
    namespaces.create(service.runtime.database, **place, embedding_version=version, dimension=384)


def counts(answer: Any) -> tuple[int, int, int, int, int]:
    names = ("upserted_docs", "skipped_docs", "chunks_created", "chunks_embedded", "chunks_reused")
    return tuple(answer[name] for name in names)


def test_own_chunks_are_embedded_by_the_model_and_taken_as_they_are(service: Service) -> None:
    chunks = [{"text": "Cats sleep.", "page": 3, "metadata": {"kind": "fact", "by": "chunk"}}, " Ships\nsail. "]
    assert counts(put(service, "doc", chunks, metadata={"by": "doc", "lang": "en"})) == (1, 0, 2, 2, 0)
    first, second = service.chunks("doc")
    assert [(each["text"], each["page_start"], each["metadata"]) for each in (first, second)] == [
        ("Cats sleep.", 3, {"kind": "fact", "by": "chunk"}),
        (" Ships\nsail. ", None, None),
    ]
    assert (second["char_start"], second["char_end"]) == (13, 13 + len(" Ships\nsail. "))
    best = service.search("cats")["chunks"][0]
    assert best["metadata"] == {"kind": "fact", "by": "chunk", "lang": "en"}
    for filters, expected in [({"by": "chunk"}, [3]), ({"by": "doc"}, [None]), ({"lang": "en", "page": 3}, [3])]:
        hits = service.search("cats", filters=filters)["chunks"]
        assert [chunk["page_start"] for chunk in hits] == expected


def test_the_same_chunks_are_skipped_and_changed_ones_pay_for_what_changed(service: Service) -> None:
    chunks = [prose(number) for number in range(5)]
    put(service, "doc", chunks)
    assert counts(put(service, "doc", chunks)) == (0, 1, 0, 0, 0)
    assert counts(put(service, "doc", chunks, metadata={"a": 1})) == (1, 0, 0, 0, 0)
    assert counts(put(service, "doc", [*chunks[:4], "Another."], metadata={"a": 1})) == (1, 0, 5, 1, 4)
    marked = [{"text": text, "metadata": {"n": n}} for n, text in enumerate(chunks)]
    assert counts(put(service, "doc", marked, metadata={"a": 1})) == (1, 0, 5, 0, 5)
    assert [c["text"] for c in service.search("x", filters={"n": 3, "a": 1})["chunks"]] == [chunks[3]]
    assert counts(service.upsert("doc", "\n\n".join(chunks)))[0] == 1
    assert service.search("x", filters={"n": 3})["chunks"] == []
    assert service.problems() == []


@every_store
def test_vectors_from_outside_are_found_by_vectors(service: Service) -> None:
    first = [{"text": f"axis {n}", "vector": [10 * value for value in axis]} for n, axis in enumerate(AXES[:3])]
    assert counts(put(service, "doc", first)) == (1, 0, 3, 0, 3)
    assert counts(put(service, "doc", first)) == (0, 1, 0, 0, 0)
    same_text = [{"text": "axis 0", "vector": AXES[3]}, {"text": "axis 0", "vector": AXES[0]}]
    sent = {**PLACE, "doc_id": "other", "chunks": same_text}
    job_id = service.post("/v1/docs/upsert/batch", {"docs": [sent], "async_mode": True})["job_id"]
    service.work()
    result = service.job(job_id)["result"]
    assert (result["chunks_created"], result["chunks_embedded"], result["chunks_reused"]) == (2, 0, 2)
    [used] = [day for day in service.get("/v1/usage", PLACE)["data"] if day["kind"] == "ingest"]
    assert (used["chunks_embedded"], used["chunks_reused"]) == (0, 5)
    answer = near(service, [0, 0, 0, 0.001], top_k=2)
    assert [(chunk["text"], chunk["score"]) for chunk in answer["chunks"]] == [
        ("axis 0", pytest.approx(1.0)),
        ("axis 0", pytest.approx(0.0)),
    ]
    assert answer["index"]["embedding_version"].startswith("external-4-")
    assert service.stats()["dimension"] == 4
    service.rebuild()
    chunks = near(service, [0, 1e300, 0, 1e299], filters={"doc_id": "doc"})["chunks"]
    assert chunks[0]["text"] == "axis 1"
    assert service.chunks("other")[0]["token_count"] == 0
    assert service.problems() == []


def in_base64(values: list[float], kind: str = "<f4") -> dict[str, str]:
    return {"base64": base64.b64encode(np.asarray(values, kind).tobytes()).decode()}


def test_a_vector_in_base64_is_that_of_its_numbers(service: Service) -> None:
    numbers = [0.25, -1.5, 3.0]
    put(service, "numbers", [{"text": "same", "vector": numbers}])
    assert put(service, "numbers", [{"text": "same", "vector": in_base64(numbers)}])["skipped_docs"] == 1
    answers = [near(service, vector)["chunks"] for vector in (numbers, in_base64(numbers))]
    assert answers[0] == answers[1]
    wrong: list[tuple[Any, str]] = [
        (in_base64([1.0, 2.0]), "3 numbers, not 2"),
        (in_base64([1.0, float("nan"), 0.0]), "finite"),
        (in_base64([0.0, 0.0, 0.0]), "zero"),
        (in_base64([]), "0 numbers"),
        (in_base64([1.0, 2.0, 3.0], "<f2"), "multiple of 4"),
        ({"base64": "AACAPw"}, "padding"),
        ({"base64": "????"}, "padding"),
        ({"base64": 7}, "array of numbers"),
        ({"base64": "", "more": 1}, "array of numbers"),
        (in_base64([0.0] * 16_001), "16000"),
    ]
    for vector, problem in wrong:
        assert problem in near(service, vector, expect=422)["detail"]


def test_vectors_from_outside_and_a_models_are_not_mixed(service: Service) -> None:
    put(service, "doc", [{"text": "a", "vector": [1.0, 0.0]}])
    inside = {**PLACE, "namespace": "inside"}
    service.upsert("doc", "Cats sleep.", namespace="inside")
    refused: list[tuple[Any, str]] = [
        (lambda: put(service, "b", ["b"], expect=422), "send chunks, each with a vector of 2 numbers"),
        (lambda: service.upsert("b", "b", expect=422), "send chunks, each with a vector of 2 numbers"),
        (lambda: put(service, "b", [{"text": "b", "vector": [1, 0, 0]}], expect=422), "have 2 numbers, not 3"),
        (lambda: put(service, "b", [{"text": "b", "vector": [1, 0]}, "c"], expect=422), "all or none"),
        (lambda: put(service, "b", [{"text": "b", "vector": [1, 0]}], expect=422, **inside), "without vector"),
        (lambda: near(service, [1, 0, 0], expect=422), "have 2 numbers, not 3"),
        (lambda: service.search("cats", expect=422), "words with mode keyword, or send a vector of 2 numbers"),
        (lambda: service.search("cats", expect=422, mode="hybrid"), "send a vector of 2 numbers"),
        (lambda: near(service, [1, 0], expect=422, **inside), "have 384 numbers, not 2"),
    ]
    for ask, message in refused:
        assert message in ask()["detail"]
    file = ("Müll.txt", b"b", "text/plain")
    upload = service.client.post("/v1/docs/upload", data=PLACE, files={"file": file})
    assert (upload.status_code, "'Müll.txt' does not fit" in upload.json()["detail"]) == (422, True)
    version = near(service, [1, 0])["index"]["embedding_version"]
    for name in (version, external_version("another", "tenant", 3)):  # nobody learns whether it is there, or takes it
        body = {**inside, "reembed": True, "new_embedding_version": name}
        assert "stand for external vectors" in service.post("/v1/index/rebuild", body, expect=422)["detail"]


def test_a_namespace_that_an_admin_made_takes_the_kind_of_vectors_of_its_first_document(keyed: Service) -> None:
    team = make_team(keyed, "acme")
    team.post(f"{team.own}/projects", {"namespace": "outside"}, expect=201)
    [before] = team.get("/v1/index/stats")["indices"]
    for query in ({"vector": [1, 0, 0]}, {"query": "one", "mode": "hybrid"}):
        nothing = team.post("/v1/search", {"namespace": "outside", **query})
        assert (nothing["chunks"], nothing["hint"]) == ([], "Nothing was published in this namespace yet.")
    first = {"namespace": "outside", "doc_id": "a", "chunks": [{"text": "one", "vector": [1, 0, 0]}]}
    assert team.post("/v1/docs/upsert", first, scope=Scope.INGEST)["chunks_created"] == 1
    [index] = team.get("/v1/index/stats")["indices"]
    assert (before["dimension"], index["dimension"], index["ntotal"]) == (384, 3, 1)
    assert index["embedding_version"].startswith("external-3-")
    answer = team.post("/v1/search", {"namespace": "outside", "vector": [1, 0, 0]})
    assert [chunk["doc_id"] for chunk in answer["chunks"]] == ["a"]
    text = {"namespace": "outside", "doc_id": "b", "text": "Cats sleep."}
    assert "a vector of 3 numbers" in team.post("/v1/docs/upsert", text, expect=422)["detail"]
    team.ask("DELETE", "/v1/docs/a", params={"namespace": "outside"}, expect=200)
    assert "a vector of 3 numbers" in team.post("/v1/docs/upsert", text, expect=422)["detail"]
    keyed.work()
    assert keyed.problems() == []


def test_what_waits_to_be_published_has_decided_too(keyed: Service) -> None:
    team = make_team(keyed, "acme")
    for namespace, sent, other in [("outside", VECTOR, TEXT), ("inside", TEXT, VECTOR)]:
        team.post(f"{team.own}/projects", {"namespace": namespace}, expect=201)
        team.ask("POST", f"{team.own}/projects", json={"namespace": namespace}, expect=409)
        batch = {"docs": [{"namespace": namespace, "doc_id": "a", **sent}], "async_mode": True}
        team.post("/v1/docs/upsert/batch", batch)
        refused = {"namespace": namespace, "doc_id": "b", **other}
        assert "does not fit" in team.post("/v1/docs/upsert", refused, expect=422)["detail"]
        keyed.work()
        team.post("/v1/docs/upsert", {"namespace": namespace, "doc_id": "b", **sent})
        assert team.get("/v1/docs", params={"namespace": namespace})["data"][0]["status"] == "ready"
    assert keyed.problems() == []


def test_a_rebuild_of_a_namespace_that_was_never_used_decides_nothing(service: Service) -> None:
    make(service, PLACE)
    assert service.rebuild()["status"] == "completed"
    put(service, "a", [{"text": "a", "vector": [1.0, 0.0]}])
    assert service.rebuild()["result"]["dimension"] == 2
    assert near(service, [1, 0])["chunks"][0]["text"] == "a"
    assert service.problems() == []


FIRST_ONES: list[list[dict[str, Any]]] = [[TEXT, VECTOR], [VECTOR, {"chunks": [{"text": "b", "vector": [1, 2, 3]}]}]]


@every_store
@pytest.mark.parametrize("is_created", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_of_two_first_documents_that_do_not_fit_together_one_wins(
    service: Service, *, is_async: bool, is_created: bool
) -> None:
    for number, kinds in enumerate(FIRST_ONES * 5):
        place = {"tenant_id": "acme", "namespace": f"n{number}"}
        if is_created:
            make(service, place)
        together = Barrier(len(kinds))

        def send(kind: dict[str, Any], place: dict[str, str] = place, together: Barrier = together) -> Any:
            doc = {**place, "doc_id": str(kind), **kind}
            together.wait()
            return service.client.post("/v1/docs/upsert/batch", json={"docs": [doc], "async_mode": is_async})

        with ThreadPoolExecutor(len(kinds)) as pool:
            answers = list(pool.map(send, kinds))
        assert sorted(answer.status_code for answer in answers) == [200, 422], [each.text for each in answers]
        [refused] = [answer.json()["detail"] for answer in answers if answer.status_code == 422]
        assert "does not fit" in refused
    service.work()
    assert service.runtime.operations.observing.index_stats()[0].ntotal == 1
    assert service.problems() == []


@every_store
def test_a_vector_and_words_together_are_half_of_each_sides_scaled_scores(service: Service) -> None:
    texts = ["copper lamp", "copper window", "tin window", "tin roof"]
    put(service, "doc", [{"text": text, "vector": axis} for text, axis in zip(texts, AXES, strict=True)])
    vector, query = [0.9, 0.3, 0.1, 0], "copper window"
    dense = {chunk["text"]: chunk["score"] for chunk in near(service, vector)["chunks"]}
    words = {chunk["text"]: chunk["score"] for chunk in service.search(query, mode="keyword")["chunks"]}
    assert (len(dense), set(words)) == (4, {"copper lamp", "copper window", "tin window"})
    sides = [
        {text: (score - min(side.values())) / (max(side.values()) - min(side.values())) for text, score in side.items()}
        for side in (dense, words)
    ]
    for mode in (None, "hybrid"):
        answer = near(service, vector, query=query, explain=True, mode=mode, fusion="min_max")
        assert answer["mode"] == "hybrid"
        assert {chunk["text"]: chunk["score"] for chunk in answer["chunks"]} == pytest.approx(
            {text: sum(side.get(text, 0) for side in sides) / 2 for text in texts}, abs=1e-6
        )
        ranks = {each["side"]: each["rank"] for each in answer["chunks"][0]["found_by"]}
        assert ranks == {"dense": 2, "keyword": 1}


def test_the_models_own_vector_beside_a_query_finds_what_the_query_finds(service: Service) -> None:
    service.batch({f"doc-{number:02d}": prose(number) for number in range(20)})
    query = "copper window harbour 7-0"
    embedder = service.runtime.index.embedding.embedder(service.settings.version)
    vector = embedder.embed_queries([query])[0].tolist()
    alone = {chunk["doc_id"]: chunk["score"] for chunk in service.search(query, mode="hybrid")["chunks"]}
    both = {chunk["doc_id"]: chunk["score"] for chunk in near(service, vector, query=query)["chunks"]}
    assert both == pytest.approx(alone, abs=1e-5)


@every_store
def test_the_longest_vectors_are_kept_searched_and_rebuilt(service: Service) -> None:
    first, second = np.eye(2, 16_000).tolist()
    put(service, "doc", [{"text": "a", "vector": first}, {"text": "b", "vector": second}])
    service.rebuild()
    assert [chunk["text"] for chunk in near(service, second)["chunks"]] == ["b", "a"]
    assert service.problems() == []


def test_one_bad_question_does_not_spoil_those_beside_it(service: Service) -> None:
    put(service, "doc", [{"text": "a", "vector": [1.0, 0.0]}])
    good, short = (np.array(each, "<f4").tobytes() for each in ([0, 1], [1]))
    sent: list[dict[str, Any]] = [{"vector": good}, {"query": "cats"}, {"vector": short}, {"vector": good}]
    questions = [Question("acme", "project_001", each.get("query", ""), 1, vector=each.get("vector")) for each in sent]
    answers = service.runtime.search.searching.search_many(questions)
    assert [isinstance(answer, Answer) for answer in answers] == [True, False, False, True]


def test_a_model_can_take_over_a_namespace_whose_vectors_came_from_outside(service: Service) -> None:
    chunks = [{"text": text, "vector": [1.0, 0.5]} for text in ("Cats sleep.", "Ships sail the seas.")]
    put(service, "doc", chunks)
    job = service.rebuild(reembed=True, new_embedding_version=service.settings.version)
    assert (job["status"], job["result"]["chunks_embedded"]) == ("completed", 2)
    assert service.search("a cat that rests", top_k=1)["chunks"][0]["text"] == "Cats sleep."
    assert "without vector" in put(service, "doc", [{"text": "b", "vector": [1.0, 0.5]}], expect=422)["detail"]
    assert service.problems() == []


@pytest.mark.parametrize(
    ("chunk", "param"),
    [
        ({"text": "a", "vector": [0.0, -0.0]}, "chunks.0.vector"),
        ({"text": "a", "vector": []}, "chunks.0.vector"),
        ({"text": "a", "vector": [1.0] * 16_001}, "chunks.0.vector"),
        ({"text": "a", "vector": [1.0, True]}, "chunks.0.vector.1"),
        ({"text": "a", "vector": ["1.0"]}, "chunks.0.vector.0"),
        ({"text": " ", "vector": [1.0]}, "chunks.0.text"),
        ({"text": "\x00"}, "chunks.0.text"),
        ({"text": "a", "page": 0}, "chunks.0.page"),
        ({"text": "a", "metadata": {"x": "y" * 70_000}}, "chunks.0.metadata"),
        ({"text": "word " * 2000}, "chunks.0.text"),
    ],
)
@on_sqlite_shared
def test_a_chunk_that_cannot_be_kept_is_refused_with_its_place(
    shared_service: Service, chunk: dict[str, Any], param: str
) -> None:
    expect = 413 if param == "chunks.0.metadata" else 422
    never_used = str(chunk)[:60]
    assert put(shared_service, "doc", [chunk], namespace=never_used, expect=expect)["error"]["param"] == param


@on_sqlite_shared
def test_of_a_batch_the_document_is_named_whose_vector_cannot_be_kept(shared_service: Service) -> None:
    docs = [{**PLACE, "doc_id": f"d{n}", "chunks": [{"text": "a", "vector": [n]}]} for n in (2, 1, 0)]
    detail = shared_service.post("/v1/docs/upsert/batch", {"docs": docs}, expect=422)["detail"]
    assert detail.startswith("The vector of chunk 0 of 'd0' is zero")


@on_sqlite_shared
def test_a_request_says_one_thing_in_one_way(shared_service: Service) -> None:
    both = {**PLACE, "doc_id": "doc", "text": "a", "chunks": [{"text": "a"}]}
    assert shared_service.post("/v1/docs/upsert", both, expect=422)["error"]["param"] == "text"
    assert shared_service.post("/v1/docs/upsert", {**PLACE, "doc_id": "doc"}, expect=422)["error"]["param"] == "text"
    assert put(shared_service, "doc", ["a"], expect=422, chunk_overlap=5)["error"]["param"] == "chunk_strategy"
    refused: list[tuple[dict[str, Any], str, str]] = [
        ({"query": "a", "mode": "dense"}, "query", "Mode dense looks for query or for vector, not for both"),
        ({"query": "a", "mode": "keyword"}, "query", "Mode keyword looks for"),
        ({"mode": "keyword"}, "vector", "A vector has no words"),
        ({"mode": "hybrid"}, "vector", "A vector has no words"),
        ({"rerank": True}, "rerank", "no reranker"),
        ({"query": " "}, "query", "query is empty"),
        ({"query": "x" * 10_001}, "query", "MAX_QUERY_CHARS"),
        ({"queries": ["a"]}, "queries", "leave queries out"),
        ({"query": "a", "queries": ["b"]}, "queries", "leave queries out"),
    ]
    for more, param, message in refused:
        problem = near(shared_service, [1.0], expect=422, **more)
        assert (problem["error"]["param"], message in problem["detail"]) == (param, True), problem
    for number in ("NaN", "1e999", "-1e400"):
        body = f'{{"tenant_id": "acme", "namespace": "n", "vector": [{number}]}}'
        assert shared_service.client.post("/v1/search", content=body).status_code == 422
