"""Postings in memory are those of the database, at every seq, and are read once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from engines.keywords.base import Matches
from engines.keywords.cache import BYTES_PER_WORD, MAX_CHANGES, MAX_HIDDEN, PostingCache
from engines.keywords.lexemes import lexeme_prefix, lexemes
from engines.keywords.opening import open_keywords
from engines.keywords.postings import ENTRY_BYTES
from engines.keywords.table import KeywordTable
from models import KeywordRow, Project
from snapshot import Snapshot, chunk_contents, is_live, read_snapshot
from tests.support.plans import executed
from tests.support.prose import WORDS, prose
from tests.support.service import PLACE, Service
from text.words import words

QUERIES = [
    Counter(WORDS[:3]),
    Counter({WORDS[4]: 2, WORDS[7]: 1}),
    Counter(WORDS),
    Counter({"zymurgi": 1, WORDS[1]: 1}),
]


@contextmanager
def snapshot_of(service: Service) -> Iterator[tuple[Session, Snapshot]]:
    with service.runtime.database.read() as session:
        snapshot = read_snapshot(session, PLACE["tenant_id"], PLACE["namespace"])
        assert snapshot is not None
        yield session, snapshot


def matches(store: KeywordTable, session: Session, snapshot: Snapshot) -> list[tuple[object, ...]]:
    def exactly(each: Matches) -> tuple[object, ...]:
        return each.hits, each.highest, each.ids.tolist(), each.scores.tolist()

    return [exactly(each) for each in store.search(session, snapshot, QUERIES, k=5)]


def kept_by(service: Service) -> KeywordTable:
    store = open_keywords(service.runtime.database)
    assert isinstance(store, KeywordTable)
    return store


def test_whatever_is_published_and_hidden_what_is_kept_equals_what_is_read_anew(service: Service) -> None:
    rng, kept = random.Random(5), kept_by(service)
    small = kept_by(service)
    small.cache = PostingCache(3 * BYTES_PER_WORD)
    service.batch({f"doc-{number}": prose(number, 1 + number % 3) for number in range(20)})

    def change() -> None:
        number = rng.randrange(25)
        match rng.randrange(6):
            case 0 if number in live:
                service.delete(f"doc-{number}")
                live.remove(number)
            case 1:  # its chunks get ids before those that are published meanwhile
                service.batch({"later": prose(rng.randrange(1000))}, async_mode=True)
                service.upsert("doc-30", prose(rng.randrange(1000)))
                service.work()
            case 2:
                service.post("/v1/index/rebuild", {"tenant_id": PLACE["tenant_id"], "namespace": PLACE["namespace"]})
                service.work()
            case _:
                service.upsert(f"doc-{number}", prose(rng.randrange(1000), 1 + number % 4))
                live.add(number)

    live = set(range(20))
    for _ in range(25):
        change()
        with snapshot_of(service) as (session, snapshot):
            expected = matches(kept_by(service), session, snapshot)
            assert matches(kept, session, snapshot) == expected
            assert matches(small, session, snapshot) == expected
            assert small.cache.nbytes <= small.cache.max_bytes
    assert expected[0][0]


def test_a_snapshot_from_before_what_is_kept_is_answered_from_the_database(service: Service) -> None:
    kept = kept_by(service)
    service.batch({f"doc-{number}": prose(number) for number in range(6)})
    with snapshot_of(service) as (earlier_session, earlier):
        before = matches(kept, earlier_session, earlier)
        service.delete("doc-1")
        service.upsert("doc-2", prose(77))
        with snapshot_of(service) as (session, snapshot):
            after = matches(kept, session, snapshot)
            assert after == matches(kept_by(service), session, snapshot) != before
        assert matches(kept, earlier_session, earlier) == before
        with snapshot_of(service) as (session, snapshot):
            assert matches(kept, session, snapshot) == after


def test_a_word_is_read_once_and_then_only_what_came_after(service: Service) -> None:
    kept = kept_by(service)
    service.batch({f"doc-{number}": prose(number) for number in range(6)})
    service.upsert("doc-6", prose(6))

    def statements() -> list[str]:
        with snapshot_of(service) as (session, snapshot), executed() as seen:
            matches(kept, session, snapshot)
        return seen.texts

    def look_ups() -> int:
        return sum("lexeme.value" in each or "keywords.lexemes" in each for each in statements())

    assert look_ups() == 1
    assert statements() == []
    service.delete("doc-3")
    assert look_ups() == 0
    service.upsert("doc-7", prose(7))
    assert look_ups() == 1
    assert statements() == []
    assert kept.cache.nbytes == sum(
        BYTES_PER_WORD + ENTRY_BYTES * len(each.postings) for each in kept.cache._entries.values()
    )


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_more_changes_than_are_remembered_make_it_begin_anew(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.keywords.cache.MAX_CHANGES", 3)
    monkeypatch.setattr("engines.keywords.cache.MAX_HIDDEN", 2)
    assert MAX_CHANGES > 3 and MAX_HIDDEN > 2
    kept = kept_by(service)
    service.batch({f"doc-{number}": prose(number, 3) for number in range(12)})
    for number in range(8):
        service.upsert(f"doc-{number}", prose(100 + number))
        with snapshot_of(service) as (session, snapshot):
            rarely = [Counter({WORDS[number % 3]: 1})]
            [one], [other] = (store.search(session, snapshot, rarely, k=5) for store in (kept, kept_by(service)))
            assert one.hits == other.hits and one.ids.tolist() == other.ids.tolist()


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_the_inverted_file_has_the_lexemes_of_live_chunks_and_no_others(service: Service) -> None:
    """Triggers make them from rows that do not repeat them: a letter off, and dead chunks would go on being found."""
    texts = {f"doc-{number}": prose(number) for number in range(8)}
    service.batch({**texts, "many": "stone " * 9 + "C++ 5S ä 図書館 " * 3, "none": "?"})
    service.upsert("doc-2", "Stone garden.")
    service.delete("doc-3")
    with snapshot_of(service) as (session, snapshot):
        session.execute(text("CREATE VIRTUAL TABLE temp.kept USING fts5vocab(main, keyword_lexemes, instance)"))
        held = sorted(tuple(row) for row in session.execute(text("SELECT term, doc FROM temp.kept")))
        session.execute(text("DROP TABLE temp.kept"))
        rows = session.execute(text("SELECT faiss_id, posting FROM keywords")).all()
        postings = {faiss_id: posting for faiss_id, posting in rows}
        prefix = lexeme_prefix(snapshot.project)
        chunks = chunk_contents(session, snapshot.project, is_live(snapshot.project.seq))
        assert held == sorted(
            (term, postings[each.faiss_id]) for each in chunks for term in lexemes(prefix, words(each.text))
        )
        assert len(held) > 60


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_an_older_version_cannot_write_rows_that_would_not_be_found(service: Service) -> None:
    service.upsert("doc", "Stone garden.")
    with service.runtime.database.write() as session, pytest.raises(Exception, match="older version"):
        project = session.get_one(Project, (1, 1))
        row = KeywordRow(team_id=1, project_id=1, faiss_id=9, posting=9, lexemes=f"{lexeme_prefix(project)}stone_1")
        session.add(row)
        session.flush()
