"""What is asked is logged without slowing whoever asks, and summed by day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from database.engine import Database
from domain import Partition
from errors import StorageFull
from models import LoggedQuery, QueryCitation, utc_now
from services.answers import query_log
from services.answers.query_log import QueryLog, QueryRecord
from services.index.counting import day_of
from tests.support.processes import until
from tests.support.service import PLACE, Service
from text.hashing import doc_hash

QUESTION = "Who sleeps all day?"


def logged(service: Service) -> list[LoggedQuery]:
    with service.runtime.database.read() as session:
        return list(session.scalars(select(LoggedQuery).order_by(LoggedQuery.created_at)))


def citations(service: Service, query_id: str) -> list[tuple[int, float]]:
    """Ranks and scores, by rank."""
    query = select(QueryCitation).where(QueryCitation.query_id == query_id).order_by(QueryCitation.rank)
    with service.runtime.database.read() as session:
        return [(each.rank, each.score or 0.0) for each in session.scalars(query)]


def usage(service: Service, kind: str, **params: Any) -> list[dict[str, Any]]:
    return [each for each in service.get("/v1/usage", params)["data"] if each["kind"] == kind]


def record(number: int = 0, **changed: Any) -> QueryRecord:
    fields = {
        "query_id": f"query-{number}",
        "kind": "search",
        "partition": Partition(1, 1, "v1"),
        "question": QUESTION,
        "top_k": 5,
        "latency_ms": number,
    }
    return QueryRecord(**{**fields, **changed})


def full() -> None:
    raise StorageFull("The disk is full.")


@pytest.fixture
def in_place(service: Service) -> Iterator[Service]:
    """With a tenant and a namespace, whose numbers are 1 and 1."""
    service.upsert("cats", "Cats sleep all day.")
    yield service


def test_searches_and_questions_are_logged_by_hash_with_what_they_gave_and_cited(in_place: Service) -> None:
    in_place.upsert("dogs", "Dogs bark at the postman all night.")
    results = in_place.search(QUESTION, top_k=2)
    answer = in_place.post("/v1/ask", {**PLACE, "question": QUESTION, "top_k": 2, "min_score": -1})
    in_place.post("/v1/ask", {**PLACE, "question": "Why?", "min_score": 1})
    in_place.search(QUESTION, namespace="nowhere")
    until(lambda: len(logged(in_place)) == 3)
    search, ask, nothing = logged(in_place)
    assert [each.kind for each in (search, ask, nothing)] == ["search", "ask", "ask"]
    assert search.question_hash == ask.question_hash == doc_hash(QUESTION) != nothing.question_hash
    assert {each.question for each in (search, ask, nothing)} == {None}
    assert (search.model, ask.model, nothing.model) == (None, "extractive", None)
    assert (search.used_rag, ask.used_rag, nothing.used_rag) == (False, True, False)
    assert (ask.query_id, ask.top_k, ask.error) == (answer["query_id"], 2, None)
    ranked = [(rank, chunk["score"]) for rank, chunk in enumerate(results["chunks"], 1)]
    cited = [(each["rank"], each["score"]) for each in answer["citations"]]
    assert citations(in_place, search.query_id) == ranked
    assert citations(in_place, ask.query_id) == cited != []


def test_the_text_of_a_question_is_logged_only_where_it_is_wanted_and_nothing_where_logging_is_off(
    in_place: Service,
) -> None:
    with in_place.restarted(log_query_text=True) as telling:
        telling.search(QUESTION)
    with in_place.restarted(query_log="off") as silent:
        silent.search(QUESTION)
    assert [each.question for each in logged(in_place)] == [QUESTION], "what waited was written at the stop"


def test_usage_sums_requests_tokens_and_latency_by_day_kind_and_key(in_place: Service) -> None:
    now = utc_now()
    for number in range(1, 101):
        in_place.runtime.answers.query_log.add(record(number, created_at=now, prompt_tokens=2, completion_tokens=1))
    more = [
        record(200, kind="ask", api_key_id="key-1", created_at=now),
        record(201, kind="ask", api_key_id="key-1", created_at=now, error="llm_failed"),
        record(202, kind="ask", api_key_id="key-2", created_at=now),
        record(203, created_at=now - timedelta(days=2)),
    ]
    for each in more:
        in_place.runtime.answers.query_log.add(each)
    in_place.runtime.answers.query_log.flush()
    today, before = usage(in_place, "search", tenant_id="acme", namespace="project_001")
    assert (today["day"], before["day"]) == tuple(day_of(now - timedelta(days=days)) for days in (0, 2))
    assert (today["requests"], today["errors"], today["latency_p50_ms"], today["latency_p95_ms"]) == (100, 0, 50, 95)
    assert (today["prompt_tokens"], today["completion_tokens"]) == (200, 100)
    assert (before["requests"], before["latency_p50_ms"], before["prompt_tokens"]) == (1, 203, 0)
    counts = [(each["api_key_id"], each["requests"], each["errors"]) for each in usage(in_place, "ask")]
    assert counts == [("key-1", 2, 1), ("key-2", 1, 0)]
    assert usage(in_place, "search", tenant_id="other") == []
    [only] = usage(in_place, "search", since=before["day"], until=before["day"])
    assert only == before
    assert in_place.get("/v1/usage", {"since": "2020-01-01"}, expect=422)["error"]["param"] == "since"
    assert in_place.get("/v1/usage", {"until": "0001-01-01"})["data"] == []


def test_usage_counts_what_was_embedded_and_what_was_reused(in_place: Service) -> None:
    in_place.upsert("copy", "Cats sleep all day.")
    in_place.upsert("copy", "Cats sleep all day.")
    docs = {"one": "Ships sail.", "two": "Cats sleep all day.", "three": "Ships sail."}
    in_place.batch(docs, async_mode=True)
    in_place.work()
    [day] = usage(in_place, "ingest")
    assert (day["requests"], day["chunks_embedded"], day["chunks_reused"]) == (3, 2, 3)
    with in_place.restarted(embedding_version="second") as moving:
        moving.rebuild(reembed=True, new_embedding_version="second")
        [day] = usage(moving, "ingest")
    assert (day["requests"], day["chunks_embedded"], day["chunks_reused"]) == (3, 4, 6)
    assert (day["latency_p50_ms"], day["api_key_id"]) == (None, None)


def test_what_is_too_much_is_dropped_and_counted_and_the_rest_is_written(
    in_place: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "MAX_ROWS_WAITING", 20)
    monkeypatch.setattr(query_log, "ROWS_PER_WRITE", 7)
    in_place.batch({"two": "Ships sail.", "three": "Dogs bark."})
    filled = QueryLog(in_place.runtime.database, is_on=True, keeps_text=False)
    for number in range(10):
        filled.add(record(number, citations=[(1, 1, 0.5), (2, 2, 0.25)]))
    assert filled.dropped == 4
    filled.flush()
    assert [each.query_id for each in logged(in_place)] == [f"query-{number}" for number in range(6)]
    assert citations(in_place, "query-5") == [(1, 0.5), (2, 0.25)]
    filled.add(record(10, partition=Partition(99, 99, "v1")))  # there is no such namespace: the database refuses it
    filled.add(record(11))
    filled.flush()
    assert (filled.dropped, [each.query_id for each in logged(in_place)][6:]) == (5, ["query-11"])
    assert in_place.get("/v1/health")["logs_dropped"] == 0


def test_records_wait_while_the_database_cannot_take_them(in_place: Service) -> None:
    with Database.open(in_place.settings.database_url) as database:
        waiting = QueryLog(database, is_on=True, keeps_text=False)
        waiting.add(record(1))
        waiting.add(record(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "refuse_when_nearly_full", full)
            with pytest.raises(StorageFull):
                waiting.flush()
        waiting.flush()
    assert ([each.query_id for each in logged(in_place)], waiting.dropped) == (["query-1", "query-2"], 0)


def test_old_logs_are_forgotten_by_the_worker_with_what_hangs_on_them(
    in_place: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "PRUNED_PER_BATCH", 3)
    old = utc_now() - timedelta(days=40)
    for number in range(8):
        in_place.runtime.answers.query_log.add(record(number, created_at=old, citations=[(1, 0, 0.5)]))
    in_place.runtime.answers.query_log.add(record(8, citations=[(1, 0, 0.5)]))
    in_place.runtime.answers.query_log.flush()
    in_place.worker.housekeeping.run_due_chores()
    assert [each.query_id for each in logged(in_place)] == ["query-8"]
    assert (citations(in_place, "query-7"), citations(in_place, "query-8")) == ([], [(1, 0.5)])
    [today] = usage(in_place, "ingest")
    assert today["requests"] == 1
