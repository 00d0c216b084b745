"""Words are found as soon as they are committed, in one namespace alone, by BM25, whatever is asked."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from engines.keywords.base import BEHIND, Matches
from engines.keywords.lexemes import BUCKETS, posting
from engines.keywords.postings import Postings
from engines.keywords.scoring import bm25 as bm25_of
from models import KeywordRow, Project
from tests.support.examples import examples
from tests.support.prose import WORDS, prose
from tests.support.service import MODEL, PLACE, Service, Store
from text.words import query_words, words

OTHER = {**PLACE, "tenant_id": "other"}

NASTY = [
    '"', "'", "''", '""', "*", "a*", "-winter", "winter -garden", "NEAR(winter garden)", "winter NEAR/2 garden",
    "lexemes:winter", "lexemes : winter", "{winter garden}", "^winter", "winter AND", "AND OR NOT", "winter OR OR",
    "(winter", "winter)", "winter + garden", "winter & garden | !stone", "winter <-> garden", "winter:*", "a:b:c",
    "\\", "\\'", "'; DROP TABLE keywords; --", "\x01\x02\x1f winter \x7f", "\ufeffwinter\u200b", "%_%", "?", "🤷",
    "1_1_winter_1", "2_1_winter_1", '"2_1_winter_1"', "'1_1_winter_1' | '2_1_winter_1'", "the", "to be or not to be",
]  # fmt: skip


def fill(service: Service, count: int = 30) -> dict[str, str]:
    texts = {f"doc-{number:02d}": prose(number, 1 + number % 4) for number in range(count)}
    service.batch(texts)
    return texts


def by_keyword(service: Service, query: str, **more: Any) -> list[tuple[str, float]]:
    chunks = service.search(query, mode="keyword", **{"top_k": 1000, **more})["chunks"]
    return [(chunk["doc_id"], chunk["score"]) for chunk in chunks]


def bm25(texts: dict[str, str], query: str) -> dict[str, float]:
    """The formula, term by term, with counts as coarse as the index keeps them."""
    held = {name: Counter(words(text)) for name, text in texts.items()}
    counts_of_query = query_words(query)
    matching = [name for name, counts in held.items() if counts.keys() & counts_of_query.keys()]
    average = sum(held[name].total() for name in matching) / max(len(matching), 1)
    scores: dict[str, float] = defaultdict(float)
    for word, said in counts_of_query.items():
        holders = [name for name in texts if held[name][word]]
        idf = math.log(1 + (len(texts) - len(holders) + 0.5) / (len(holders) + 0.5))
        for name in holders:
            count = max(bucket for bucket in BUCKETS if bucket <= held[name][word])
            norm = 1.2 * (1 - 0.75 + 0.75 * held[name].total() / average)
            scores[name] += said * idf * count * 2.2 / (count + norm)
    return scores


def test_scores_are_bm25_of_the_namespace_whatever_other_tenants_have(service: Service) -> None:
    texts = fill(service)
    rng = random.Random(3)
    queries = [" ".join(rng.choices(WORDS, k=n)) for n in (1, 2, 5, 9)] + ["stone stone stone garden", "7-0 12-1"]
    results = {query: by_keyword(service, query) for query in queries}
    for query, hits in results.items():
        expected = bm25(texts, query)
        assert {name for name, _ in hits} == expected.keys()
        assert [score for _, score in hits] == pytest.approx(sorted(expected.values(), reverse=True))
        assert dict(hits) == pytest.approx(expected)
    others = [{**OTHER, "doc_id": f"other-{number}", "text": "stone " * 9 + prose(number)} for number in range(40)]
    service.post("/v1/docs/upsert/batch", {"docs": others})
    assert {query: by_keyword(service, query) for query in queries} == results


def test_what_is_committed_is_found_at_once_and_what_is_dead_is_not(service: Service) -> None:
    service.upsert("doc", "Volcanoes and zymurgy.")
    service.batch({"waiting": "Zymurgy waits."}, async_mode=True)
    assert service.hit_ids("zymurgy", mode="keyword") == ["doc"]
    service.upsert("doc", "Glaciers.")
    assert service.hit_ids("volcanoes zymurgy", mode="keyword") == []
    assert service.hit_ids("glaciers", mode="keyword") == ["doc"]
    service.work()
    assert service.hit_ids("zymurgy", mode="keyword") == ["waiting"]
    service.delete("doc")
    assert service.hit_ids("glaciers", mode="keyword") == []
    assert service.problems() == []


def test_words_that_a_chunk_is_embedded_with_are_its_words(service: Service) -> None:
    service.upsert("doc", "It is renewed every year.", title="Licences", enrich_context=True)
    assert service.hit_ids("licence", mode="keyword") == ["doc"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("北京大学的学生在图书馆学习。", "图书馆在哪里"),
        ("東京都に住んでいる学生は図書館で勉強します。", "図書館"),
        ("ห้องสมุดมหาวิทยาลัยเปิดทุกวัน", "ห้องสมุด"),
        ("Die Straßen Münchens.", "strassen munchens"),
    ],
)
@pytest.mark.parametrize("service", [Store.SQLITE, Store.POSTGRES], indirect=True)
def test_any_script_is_found(service: Service, text: str, query: str) -> None:
    service.batch({"wanted": text, "other": "Ships sail the seven seas."})
    assert service.hit_ids(query, mode="keyword") == ["wanted"]


def test_no_question_is_an_error_or_finds_anothers_rows(service: Service) -> None:
    mine = fill(service, 5)
    theirs = [{**OTHER, "doc_id": "theirs", "text": f"{' '.join(WORDS)} winter garden {chr(1)} 1_1_winter_1"}]
    service.post("/v1/docs/upsert/batch", {"docs": theirs})

    def check(query: str) -> None:
        for mode in ("keyword", "hybrid"):
            chunks = service.search(query, mode=mode, top_k=1000)["chunks"]
            assert {chunk["doc_id"] for chunk in chunks} <= mine.keys()
            assert {chunk["text"] for chunk in chunks} <= set(mine.values())

    for query in NASTY:
        check(query)

    @settings(examples(40), suppress_health_check=list(HealthCheck))
    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip))
    def fuzz(query: str) -> None:
        check(query)

    fuzz()


def test_ten_thousand_words_are_a_question_too(service: Service) -> None:
    fill(service, 5)
    many = " ".join(f"{word}{number}" for number in range(1250) for word in ("stone ", *"abcdefg"))
    with service.restarted(max_query_chars=100_000) as patient:
        assert len(many.split()) >= 10_000
        assert patient.hit_ids(many, mode="keyword")
    service.search(many, mode="keyword", expect=422)


@pytest.mark.parametrize("apart", [1, 7, 10_000])
def test_scores_do_not_depend_on_how_far_apart_the_ids_are(apart: int) -> None:
    rng = random.Random(4)
    lengths = [rng.randint(1, 90) for _ in range(200)]
    held = {word: {n: rng.choice(range(len(BUCKETS))) for n in rng.sample(range(200), 60)} for word in "abc"}

    def matches(step: int) -> Matches:
        postings = {
            word: Postings.of(
                [
                    np.array([posting(3, step * n, lengths[n]) for n, kept in some.items() if kept == bucket], np.int64)
                    for bucket in range(len(BUCKETS))
                ]
            )
            for word, some in held.items()
        }
        return bm25_of({"a": 1, "b": 2, "c": 1}, postings, chunks=200, k=50, allowed=None)

    expected = {n: 0.0 for some in held.values() for n in some}
    average = sum(lengths[n] for n in expected) / len(expected)
    for word, said in (("a", 1), ("b", 2), ("c", 1)):
        for n, kept in held[word].items():
            norm = 1.2 * (1 - 0.75 + 0.75 * lengths[n] / average)
            expected[n] += said * 2.2 * math.log(1 + 140.5 / 60.5) * BUCKETS[kept] / (BUCKETS[kept] + norm)
    best = sorted(expected, key=lambda n: (-expected[n], n))[:50]
    result = matches(apart)
    assert [hit[0] for hit in result.hits] == [apart * n for n in best]
    assert [hit[1] for hit in result.hits] == pytest.approx([expected[n] for n in best])
    ids = np.array([*(apart * n for n in range(200)), apart * 200 + 1], np.int64)
    assert result.score_of(ids) == pytest.approx([expected.get(n, 0.0) for n in range(201)])
    assert result.highest == pytest.approx(4 * 2.2 * math.log(1 + 140.5 / 60.5))


def test_of_a_chunk_of_any_size_no_word_is_found_that_it_has_not_and_the_first_are(service: Service) -> None:
    """Postgres would wrap around beyond 1 MiB of words, and say nothing."""
    many = [f"wörd{number:06d}" for number in range(150_000)]
    place = {**PLACE, "doc_id": "large"}
    service.post("/v1/docs/upsert", {**place, "chunks": [{"text": " ".join(many), "vector": [1, 0]}]})
    hits = [number for number in range(0, 150_000, 10_000) if service.hit_ids(many[number], mode="keyword")]
    assert hits == list(range(0, 70_000, 10_000))  # of 16 bytes each as they are kept
    assert service.hit_ids("large", mode="keyword") == []
    assert service.problems() == []


def test_searching_by_words_needs_no_model(service: Service) -> None:
    service.upsert("doc", "Cats sleep.")
    with service.restarted(embed_model_name="/there/is/no/such/model", embedding_version=MODEL) as without:
        assert without.hit_ids("cats", mode="keyword") == ["doc"]
        without.search("cats", mode="hybrid", expect=503)


def test_rows_that_do_not_follow_are_not_trusted_and_made_right(service: Service) -> None:
    fill(service, 12)
    before = by_keyword(service, "stone garden winter")
    with service.runtime.database.write() as session:
        session.execute(update(Project).values(keywords_seq=0))  # an older version publishes: it tells nobody
        session.execute(delete(KeywordRow).where(KeywordRow.faiss_id < 5))
    assert by_keyword(service, "stone garden winter") == before
    assert BEHIND in service.problems()
    service.upsert("later", "Zymurgy is of stone.")
    service.delete("doc-07")
    expected = by_keyword(service, "zymurgy stone")
    assert service.work() == 1
    assert service.problems() == []
    assert dict(by_keyword(service, "zymurgy stone")) == pytest.approx(dict(expected))
    service.upsert("last", "Zymurgy.")
    assert len(by_keyword(service, "zymurgy")) == 2
    assert service.problems() == []


def test_an_installation_that_is_upgraded_finds_what_it_had_by_its_words(service: Service) -> None:
    fill(service, 12)
    service.delete("doc-03")
    expected = by_keyword(service, "stone garden winter")
    migration, shortening = (
        import_module(f"migrations.versions.{name}") for name in ("0006_keywords", "0014_short_lexemes")
    )
    with (
        service.runtime.database.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        shortening.downgrade()
        migration.downgrade()
        migration.upgrade()
        shortening.upgrade()
    with service.restarted() as upgraded:
        assert by_keyword(upgraded, "stone garden winter") == expected
        upgraded.work()
        with upgraded.runtime.database.read() as session:
            assert session.scalar(select(func.count()).select_from(KeywordRow)) == 11
        assert upgraded.problems() == []
        assert by_keyword(upgraded, "stone garden winter") == expected
