"""Dify's external knowledge, asked as Dify asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.dify.filters import OPERATORS
from domain import Scope
from tests.support.accounts import keyed, make_team
from tests.support.service import PLACE, Service, open_service, settings_in

__all__ = ["keyed"]

URL, KNOWLEDGE = "/v1/dify/retrieval", "acme/project_001"
DOCS: dict[str, dict[str, Any]] = {
    "one": {"author": "Anna Seghers", "year": 1942, "tags": ["war", "flight"], "day": "1942-05-01", "at": 100},
    "two": {"author": "Anna Karenina", "year": 1877, "tags": "novel", "day": "1877-01-01", "at": 200},
    "three": {"author": "Bertolt Brecht", "year": "1939", "note": "", "at": "300"},
    "four": {"nothing": None},
}
ALL = set(DOCS)
ANNAS = {"one", "two"}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(settings_in(tmp_path_factory.mktemp("dify"), max_top_k=50)) as service:
        docs = [
            {**PLACE, "doc_id": name, "text": f"A book, number {name}.", "metadata": metadata}
            for name, metadata in DOCS.items()
        ]
        service.post("/v1/docs/upsert/batch", {"docs": docs})
        yield service


def body(**more: Any) -> dict[str, Any]:
    setting = {"top_k": 10, "score_threshold": 0.0}
    return {"knowledge_id": KNOWLEDGE, "query": "a book", "retrieval_setting": setting, **more}


def condition(name: Any, operator: str, **value: Any) -> dict[str, Any]:
    return {"name": name, "comparison_operator": operator, **value}


def matching(service: Service, *conditions: Any, operator: str = "and") -> set[str]:
    request = body(metadata_condition={"logical_operator": operator, "conditions": list(conditions)})
    return {each["metadata"]["doc_id"] for each in service.post(URL, request)["records"]}


def test_records_have_the_cosine_of_the_chunk_and_metadata_that_are_never_null(books: Service) -> None:
    records = books.post(URL, body())["records"]
    dense = {each["doc_id"]: each["score"] for each in books.search("a book", mode="dense")["chunks"]}
    assert {each["metadata"]["doc_id"]: each["score"] for each in records} == pytest.approx(dense, abs=1e-3)
    assert all(record.keys() == {"content", "score", "title", "metadata"} for record in records)
    first = next(each for each in records if each["metadata"]["doc_id"] == "one")
    assert (first["content"], first["title"], first["metadata"]["year"]) == ("A book, number one.", "one", 1942)
    scores = sorted(each["score"] for each in records)
    between = (scores[0] + scores[1]) / 2
    high = body(retrieval_setting={"top_k": 10, "score_threshold": between, "score_threshold_enabled": True})
    assert sorted(each["score"] for each in books.post(URL, high)["records"]) == scores[1:]
    few = body(retrieval_setting={"top_k": 2, "score_threshold": 0.0})
    assert len(books.post(URL, few)["records"]) == 2


@pytest.mark.parametrize(
    ("name", "operator", "value", "expected"),
    [
        ("author", "contains", "Anna", ANNAS),
        ("tags", "contains", "war", {"one"}),
        ("author", "not contains", "Anna", ALL - ANNAS),
        ("author", "start with", "Anna", ANNAS),
        ("author", "start with", "Anna S", {"one"}),
        ("author", "end with", "Brecht", {"three"}),
        ("author", "is", "Anna Seghers", {"one"}),
        ("year", "is", "1942", {"one"}),
        ("year", "is", 1939, {"three"}),
        ("author", "is not", "Anna Seghers", ALL - {"one"}),
        ("author", "in", ["Anna Seghers", "Bertolt Brecht"], {"one", "three"}),
        ("year", "in", "1942, 1877", ANNAS),
        ("year", "not in", ["1942", "1877"], ALL - ANNAS),
        ("year", "=", 1942, {"one"}),
        ("year", "=", "1942", {"one"}),
        ("year", "≠", 1942, ALL - {"one"}),
        ("year", ">", 1900, {"one"}),
        ("year", "<", "1900", {"two"}),
        ("year", "≥", 1942, {"one"}),
        ("year", "≤", 1942, ANNAS),
        ("day", "before", "1900-01-01", {"two"}),
        ("day", "after", "1900-01-01", {"one"}),
        ("at", "before", 150, {"one"}),
        ("at", "after", "150", {"two", "three"}),
        ("created_at", "before", "2000-01-01", set()),
        (["day", "nowhere"], "after", "1900-01-01", {"one"}),
    ],
)
def test_each_operator_means_what_dify_says(
    books: Service, name: Any, operator: str, value: Any, expected: set[str]
) -> None:
    assert operator in OPERATORS
    assert matching(books, condition(name, operator, value=value)) == expected


def test_what_is_empty_has_no_value_and_conditions_are_joined(books: Service) -> None:
    assert matching(books, condition("note", "empty")) == ALL
    assert matching(books, condition("nothing", "empty", value=None)) == ALL
    assert matching(books, condition("author", "empty")) == {"four"}
    assert matching(books, condition("author", "not empty")) == ALL - {"four"}
    anna, brecht = (condition("author", "start with", value=name) for name in ("Anna", "Bertolt"))
    assert matching(books, anna, brecht) == set()
    assert matching(books, anna, brecht, operator="or") == ALL - {"four"}
    assert matching(books) == ALL
    assert len(books.post(URL, body(metadata_condition=None, unknown={"field": 1}))["records"]) == 4


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"knowledge_id": "acme/nowhere"}, 404, "has no namespace"),
        ({"query": " "}, 422, "query is empty"),
        ({"query": "x" * 10_001}, 422, "MAX_QUERY_CHARS"),
        ({"retrieval_setting": {"top_k": 51, "score_threshold": 0}}, 422, "MAX_TOP_K"),
        ({"retrieval_setting": {"top_k": 5, "score_threshold": 2}}, 422, "score_threshold"),
        ({"retrieval_setting": None}, 422, "retrieval_setting"),
        ({"metadata_condition": {"conditions": [condition("a", "like", value="b")]}}, 422, "Unknown operator 'like'"),
        ({"metadata_condition": {"conditions": [condition("a", ">", value="b")]}}, 422, "takes a number"),
        ({"metadata_condition": {"conditions": [condition("a", "contains", value=[])]}}, 422, "takes a text"),
        ({"metadata_condition": {"conditions": [condition([], "empty")]}}, 422, "name"),
        ({"metadata_condition": {"conditions": [condition("a", "empty")] * 257}}, 422, "conditions"),
        ({"metadata_condition": {"logical_operator": "xor", "conditions": []}}, 422, "logical_operator"),
    ],
)
def test_errors_are_in_difys_form(books: Service, wrong: dict[str, Any], status: int, said: str) -> None:
    error = books.post(URL, body(**wrong), expect=status)
    assert error.keys() == {"error_code", "error_msg"} and said in error["error_msg"]
    assert error["error_code"] == (2001 if status == 404 else status)


def test_the_check_at_registration_tells_a_bad_key_from_a_good_one_without_a_body(keyed: Service) -> None:
    one, other = make_team(keyed, "one"), make_team(keyed, "other")
    one.post(f"{one.own}/projects", {"namespace": "books"}, expect=201)
    one.post("/v1/docs/upsert", {"namespace": "books", "doc_id": "cats", "text": "Cats sleep."})
    one.ask("POST", f"{one.own}/api-keys", json={"scopes": ["search"], "name": "gone"}, expect=201)
    keys = one.get(f"{one.own}/api-keys")["data"]
    gone = next(each["key_id"] for each in keys if each["name"] == "gone")
    one.ask("DELETE", f"{one.own}/api-keys/{gone}", expect=200)

    def checked(header: str | None, **request: Any) -> tuple[int, int | None]:
        answer = keyed.client.post(URL, headers={"Authorization": header} if header else {}, **request)
        return answer.status_code, answer.json().get("error_code")

    good = f"Bearer {one.keys[Scope.SEARCH]}"
    assert checked(None) == checked("Basic abc") == (403, 1001)
    assert checked("Bearer wrong") == checked(f"Bearer adf_{gone}_{'0' * 64}") == (403, 1002)
    assert checked(f"Bearer {one.keys[Scope.INGEST]}") == (403, 1002)
    assert checked(good) == (422, 422)
    mine = body(knowledge_id="books")
    assert checked(good, json=mine) == (200, None)
    foreign = f"Bearer {other.keys[Scope.SEARCH]}"
    assert checked(foreign, json=mine) == checked(foreign, json=body(knowledge_id="songs")) == (404, 2001)


def test_in_mode_keyword_records_have_a_cosine_all_the_same(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, search_mode="keyword")) as service:
        service.upsert("cats", "A book about cats.")
        [record] = service.post(URL, body())["records"]
        assert 0.3 < record["score"] < 1
