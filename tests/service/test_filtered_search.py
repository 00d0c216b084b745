"""A filter is applied before ranking, in every store: the right chunks, and top_k of them whenever so many qualify."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from database.engine import Database
from domain import Hit, Mode, Partition
from engines.vectors.base import Hits
from engines.vectors.opening import VectorsConfig, open_store
from errors import DatabaseUnavailable
from index_building import Kinds, Rows, built_from
from loaded_index import LoadedIndex
from migrations.upgrade import bring_up_to_date
from models import Chunk, Doc, Embedding, EmbeddingVersion, IndexRow, Project, Revision, Team
from services.search.filters import filtering, reading
from services.search.filters.catalog import ChunkRange
from services.search.filters.filtering import FilterService
from services.search.question import Answer, Question
from snapshot import read_snapshot
from tests.support.examples import examples
from tests.support.filter_oracle import expressions, in_mongo, in_objects, is_match, metadata
from tests.support.prose import never
from tests.support.service import PLACE, Service, Store, every_store
from text.filter_spellings import parse

DOCS = 24
CHUNKS = 50_000
PER_DOC = 100
DIMENSION = 16
NODES = 20_000
ALL = 1000
MODES: tuple[Mode, ...] = ("dense", "keyword", "hybrid")


def docs_with(said: list[dict[str, Any]], *, first: int = 0) -> list[dict[str, Any]]:
    return [
        {**PLACE, "doc_id": f"doc-{n:02d}", "text": f"Cats number {n} sleep.", "metadata": each}
        for n, each in enumerate(said, first)
    ]


@every_store
def test_a_search_finds_exactly_what_the_oracle_finds_and_fills_top_k(service: Service) -> None:
    """Documents come, are described anew, replaced and deleted between the questions.

    What is there comes of all examples before, so a smaller one of those that fail would be another.
    """
    there: dict[str, dict[str, Any]] = {}

    @settings(examples(12), phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(metadata, min_size=1, max_size=6), st.lists(expressions, min_size=3, max_size=6), st.integers())
    def ask(said: list[dict[str, Any]], drawn: list[Any], seed: int) -> None:
        chance = random.Random(seed)
        docs = docs_with(said, first=chance.randrange(DOCS))
        if chance.random() < 0.3:
            docs = [{**doc, "text": f"{doc['text']} {chance.random()}"} for doc in docs]
        service.post("/v1/docs/upsert/batch", {"docs": docs})
        there.update({doc["doc_id"]: doc["metadata"] for doc in docs})
        if chance.random() < 0.3:
            gone = chance.choice(sorted(there))
            service.delete(gone)
            del there[gone]
        for expression in drawn:
            expected = {doc_id for doc_id, each in there.items() if is_match(expression, each)}
            require_hits(service, expression, expected)
        for sent in (in_mongo(expression), in_objects(expression)):
            assert set(service.hit_ids("cats", filters=sent, top_k=ALL)) == expected

    ask()
    service.rebuild()
    with pytest.MonkeyPatch.context() as patch:  # nothing is kept for long
        patch.setattr(filtering, "MIN_CHANGES", -3)
        patch.setattr(service.runtime.search.searching.filtering, "memory_bytes", 1)
        ask()
    assert service.problems() == []


def require_hits(service: Service, expression: Any, expected: set[str]) -> None:
    """In every mode and both spellings, as many as are asked for."""
    questions = [
        Question(PLACE["tenant_id"], PLACE["namespace"], "cats", top_k, mode=mode, filters=parse(sent))
        for sent in (in_mongo(expression), in_objects(expression))
        for mode in MODES
        for top_k in (ALL, 3)
    ]
    for question, answer in zip(questions, service.runtime.search.searching.search_many(questions), strict=True):
        assert isinstance(answer, Answer), answer
        doc_ids = {passage.doc_id for passage in answer.passages}
        assert doc_ids <= expected
        assert len(answer.passages) == min(question.top_k, len(expected))


def own_chunks(said: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    return [{"text": f"Cats number {n} sleep.", "metadata": each} for n, each in enumerate(said)]


def test_a_chunk_says_what_it_says_itself_and_else_what_its_document_says(service: Service) -> None:
    """Documents are described anew, their chunks with them, between the questions."""
    own: dict[str, list[dict[str, Any] | None]] = {}
    there: dict[str, dict[str, dict[str, Any]]] = {}

    @settings(examples(15), suppress_health_check=list(HealthCheck))
    @given(
        metadata, st.lists(st.none() | metadata, min_size=1, max_size=4), st.lists(expressions, max_size=5), st.data()
    )
    def ask(said: dict[str, Any], parts: list[dict[str, Any] | None], drawn: list[Any], data: st.DataObject) -> None:
        doc_id = data.draw(st.sampled_from(["a", "b", "c"]))
        own[doc_id] = own.get(doc_id, parts) if data.draw(st.booleans()) else parts
        there[doc_id] = {f"{doc_id}#c{n:04d}": {**said, **(each or {})} for n, each in enumerate(own[doc_id])}
        sent = {**PLACE, "doc_id": doc_id, "metadata": said, "chunks": own_chunks(own[doc_id])}
        service.post("/v1/docs/upsert", sent)
        for expression in drawn:
            chunks = {name: each for of_doc in there.values() for name, each in of_doc.items()}
            expected = {name for name, each in chunks.items() if is_match(expression, each)}
            hits = service.search("cats", filters=in_mongo(expression), top_k=ALL)["chunks"]
            assert {chunk["chunk_id"] for chunk in hits} == expected

    ask()


def test_what_an_older_version_of_the_service_publishes_is_found_too(service: Service) -> None:
    """As in an upgrade: it knows nothing of a revision's first number, and of when it was published."""
    service.upsert("a", "Cats sleep.", metadata={"n": 1})
    assert service.hit_ids("cats", filters={"n": 1}) == ["a"]
    service.post(
        "/v1/docs/upsert", {**PLACE, "doc_id": "b", "metadata": {"n": 1}, "chunks": own_chunks([None, {"n": 2}])}
    )
    with service.runtime.database.write() as session:
        unknown = {"first_id": None, "published_seq": None, "published_at": None}
        session.execute(update(Revision).where(Revision.doc_id == "b").values(**unknown))
    created = service.doc("b")["created_at"]
    with service.restarted() as other:
        for each in (service, other):
            assert sorted(each.hit_ids("cats", filters={"n": 1})) == ["a", "b"]
            assert each.hit_ids("cats", filters={"n": 2}) == ["b"]
            assert set(each.hit_ids("cats", filters={"updated_at": {"$gte": created}})) == {"b"}


@every_store
def test_built_in_fields_are_filtered_and_pages_chunk_by_chunk(service: Service) -> None:
    service.upsert("a", "Cats one.", source_type="url", mime_type="text/html", metadata={"page": "first"})
    service.upsert("b", "Cats\fDogs\fBirds", chunk_strategy="pages")
    created, updated = service.doc("a")["created_at"], service.doc("b")["updated_at"]
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"doc_id": "a"}, {"a#c0000"}),
        ({"doc_id": {"$in": ["a", "c"]}, "mime_type": "text/html"}, {"a#c0000"}),
        ({"source_type": {"$ne": "url"}}, {"b#c0000", "b#c0001", "b#c0002"}),
        ({"page": 2}, {"b#c0001"}),
        ({"page": {"$gte": 2}}, {"b#c0001", "b#c0002"}),
        ({"page": {"$exists": False}}, {"a#c0000"}),
        ({"page": {"$ne": 1}}, {"a#c0000", "b#c0001", "b#c0002"}),
        ({"metadata.page": "first", "page": {"$nin": [1]}}, {"a#c0000"}),
        ({"created_at": created}, {"a#c0000"}),
        ({"created_at": {"$lte": created}}, {"a#c0000"}),
        ({"updated_at": {"$gte": updated}, "page": {"$lt": 3}}, {"b#c0000", "b#c0001"}),
        ({"updated_at": {"$lt": "2001-09-09T01:46:40+01:00"}}, set()),
    ]
    for filters, expected in cases:
        hits = service.search("cats", filters=filters, top_k=ALL)["chunks"]
        assert {chunk["chunk_id"] for chunk in hits} == expected, filters


def test_what_waits_changes_nothing_that_a_filter_sees(service: Service) -> None:
    service.upsert("doc", "Cats sleep.", metadata={"draft": False})
    before = service.doc("doc")["updated_at"]
    assert service.hit_ids("cats", filters={"updated_at": {"$lte": before}}) == ["doc"]
    sent = {**PLACE, "doc_id": "doc", "text": "Cats run.", "metadata": {"draft": True}}
    service.post("/v1/docs/upsert/batch", {"docs": [sent], "async_mode": True})
    with service.restarted() as other:
        for each in (service, other):
            assert each.hit_ids("cats", filters={"updated_at": {"$lte": before}, "draft": False}) == ["doc"]
        service.work()
        for each in (service, other):
            assert each.hit_ids("cats", filters={"updated_at": {"$lte": before}}) == []
            assert each.hit_ids("cats", filters={"updated_at": {"$gt": before}, "draft": True}) == ["doc"]


def test_a_reader_of_an_older_snapshot_is_told_what_was_there_then(service: Service) -> None:
    def allowed(session: Session, sent: dict[str, Any]) -> list[int]:
        filters = parse(sent)
        assert filters is not None
        return list(keeping.allowed(session, session.scalars(select(Project)).one(), filters))

    keeping = FilterService(1 << 20)
    service.upsert("doc", "Cats sleep.", metadata={"n": 1})
    with service.runtime.database.read() as before, service.runtime.database.read() as after:
        assert allowed(before, {"n": 1}) == [0]
        service.upsert("doc", "Cats sleep.", metadata={"n": 2})
        assert (allowed(after, {"n": 1}), allowed(after, {"n": 2})) == ([], [0])
        assert (allowed(before, {"n": 1}), allowed(before, {"n": 2})) == ([0], [])


def test_others_are_answered_while_a_namespace_is_read_for_its_first_filter(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.upsert("cats", "Cats sleep.", metadata={"n": 1})
    has_begun, may_end = Event(), Event()

    def slow(*args: Any) -> Iterator[ChunkRange]:
        has_begun.set()
        assert may_end.wait(60)
        yield from reading.read_ranges(*args)

    monkeypatch.setattr(filtering, "read_ranges", slow)
    with ThreadPoolExecutor() as pool:
        filtered = [pool.submit(service.hit_ids, "cats", filters={"n": n}) for n in (1, 1, 2)]
        assert has_begun.wait(60)
        try:
            assert service.hit_ids("cats") == ["cats"]
            service.upsert("more", "More cats sleep.", metadata={"n": 1})
            assert not any(each.done() for each in filtered)
        finally:
            may_end.set()
    assert [sorted(each.result()) for each in filtered] == [["cats", "more"], ["cats", "more"], []]


def test_a_namespace_that_cannot_be_read_is_told_to_who_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Iterator[ChunkRange]:
        raise DatabaseUnavailable("The database is away.")

    service.upsert("cats", "Cats sleep.", metadata={"n": 1})
    monkeypatch.setattr(filtering, "read_ranges", away)
    assert "away" in service.search("cats", filters={"n": 1}, expect=503)["detail"]
    monkeypatch.undo()
    assert service.hit_ids("cats", filters={"n": 1}) == ["cats"]


def test_questions_with_different_filters_are_answered_together_each_with_its_own(service: Service) -> None:
    service.post("/v1/docs/upsert/batch", {"docs": docs_with([{"n": n} for n in range(6)])})
    filters = [None, {"n": {"$lt": 2}}, {"n": 5}, {"n": {"$lt": 2.0}}, {"n": "5"}]
    place = PLACE["tenant_id"], PLACE["namespace"]
    questions = [Question(*place, "cats", top_k, filters=parse(each)) for each in filters for top_k in (1, 9)]
    answers = service.runtime.search.searching.search_many(questions)
    counts = [len(answer.passages) if isinstance(answer, Answer) else answer for answer in answers]
    assert counts == [1, 6, 1, 2, 1, 1, 1, 2, 0, 0]
    assert service.search("cats", filters={"n": 1}, explain=True)["timings"].keys() >= {"filter_ms", "index_ms"}


def test_a_wrong_filter_is_a_422_that_names_the_operator_and_the_place(service: Service) -> None:
    for sent in ({"a": {"$near": 1}}, {"type": "near", "key": "a", "value": 1}):
        error = service.search("cats", filters=sent, expect=422)["error"]
        assert "near" in error["message"]
        assert error["param"] in ("filters.a.$near", "filters.type")
    service.search("cats", filters=[1], expect=422)
    deep: Any = {"a": 1}
    for _ in range(200):
        deep = {"$not": deep}
    assert "deeper" in service.search("cats", filters=deep, expect=422)["detail"]
    assert service.search("cats", filters={})["index"] is None


class Filled:
    """A namespace of CHUNKS one-sentence chunks as they stand in the database, PER_DOC a document; one says needle."""

    def __init__(self, database: Database, store: str, folder: Path) -> None:
        bring_up_to_date(database)
        self.database = database
        self.vectors = np.random.default_rng(1).standard_normal((CHUNKS, DIMENSION), np.float32)
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.filtering = FilterService(1 << 28)
        config = VectorsConfig(store, folder, 1_000_000, 4000, 0.99, 1 << 30, 1, 1.0, prefers_half=False)
        self.store = open_store(database, config)
        self._write()
        if database.file is None:
            with database.write() as session:
                session.execute(text("ANALYZE"))
        built = self.store.build(Partition(1, 1, "v"), DIMENSION, check=never)
        assert built is not None
        with database.write() as session:
            self.store.take_over(session, session.get_one(Project, (1, 1)), "v", built)

    def search(self, filters: dict[str, Any] | None, queries: NDArray[np.float32], *, k: int) -> Hits:
        with self.database.read() as session:
            snapshot = read_snapshot(session, "t", "n")
            assert snapshot is not None
            [group] = self.filtering.groups(session, snapshot.project, [parse(filters)])
            with self.store.open_partition(snapshot.key, DIMENSION) as opened:
                assert opened.catch_up(session, snapshot) is None
                return opened.search(queries, k=k, allowed=group.allowed)

    def _write(self) -> None:
        place, docs = {"team_id": 1, "project_id": 1}, range(CHUNKS // PER_DOC)
        with self.database.write() as session:
            session.add(EmbeddingVersion(name="v", model="none", is_remote=False, dimension=DIMENSION))
            session.add(Team(id=1, name="t"))
            session.flush()
            counts = {"seq": 1, "live_chunks": CHUNKS, "live_docs": len(docs), "next_faiss_id": CHUNKS}
            session.add(Project(team_id=1, id=1, name="n", embedding_version="v", **counts))
            session.flush()
            session.add(IndexRow(**place, embedding_version="v", dimension=DIMENSION, changes=CHUNKS))
            live = {**place, "revision": 1, "live_revision": 1}
            session.execute(insert(Doc), [{**live, "doc_id": str(n)} for n in docs])
            empty = {"doc_hash": "", "recipe": "", "text": "", "status": "live", "chunk_count": PER_DOC}
            revision = {**place, **empty, "revision": 1}
            said = [{"doc_id": str(n), "first_id": n * PER_DOC, "doc_metadata": {"hundredth": n % 100}} for n in docs]
            session.execute(insert(Revision), [{**revision, **each} for each in said])
            nothing = {"text": "", "chunk_hash": "", "char_start": 0, "char_end": 0, "token_count": 0}
            chunks = [
                {
                    **place,
                    **nothing,
                    "faiss_id": n,
                    "doc_id": str(n // PER_DOC),
                    "revision": 1,
                    "chunk_index": n % PER_DOC,
                    "embed_hash": n.to_bytes(4, "big"),
                    "live_seq": 1,
                    "chunk_metadata": {"needle": True} if n == CHUNKS - 7 else None,
                }
                for n in range(CHUNKS)
            ]
            session.execute(insert(Chunk), chunks)
            keys = ((chunk["embed_hash"], row.tobytes()) for chunk, row in zip(chunks, self.vectors, strict=True))
            rows = [{"team_id": 1, "embedding_version": "v", "embed_hash": key, "vector": row} for key, row in keys]
            session.execute(insert(Embedding), rows)


@pytest.fixture(scope="module", params=list(Store))
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("filled")
    store = "pgvector" if request.param == Store.POSTGRES else "faiss"
    if request.param == Store.SQLITE:
        with Database.open(f"sqlite:///{folder}/rag.db") as database:
            yield Filled(database, store, folder)
        return
    with request.getfixturevalue("postgres").database() as url, Database.open(url) as database:
        yield Filled(database, store, folder)


def exact(vectors: NDArray[np.float32], queries: NDArray[np.float32], allowed: NDArray[Any], k: int) -> list[list[int]]:
    best = np.argsort(-(queries @ vectors[allowed].T), axis=1)[:, :k]
    nearest: list[list[int]] = allowed[best].tolist()
    return nearest


def ids(hits: list[list[Hit]]) -> list[list[int]]:
    return [[hit[0] for hit in row] for row in hits]


def test_one_matching_chunk_in_fifty_thousand_is_found(filled: Filled) -> None:
    queries = -filled.vectors[[CHUNKS - 7]]  # nothing is farther from this question
    result = filled.search({"needle": True}, queries, k=10)
    assert (ids(result.per_query), result.is_exact) == ([[CHUNKS - 7]], True)
    both = filled.search({"needle": True, "hundredth": {"$ne": 99}}, queries, k=10)
    assert (ids(both.per_query), both.is_exact) == ([[]], True)


@pytest.mark.parametrize(
    ("filters", "count"),
    [({"hundredth": 7}, 500), ({"hundredth": {"$lt": 10}}, 5000), ({"needle": {"$ne": True}}, CHUNKS - 1)],
)
def test_a_filtered_search_finds_what_an_exact_one_finds(filled: Filled, filters: dict[str, Any], count: int) -> None:
    queries = filled.vectors[::5000]
    numbers = np.arange(CHUNKS)
    hundredth = numbers // PER_DOC % 100
    allowed = numbers[{500: hundredth == 7, 5000: hundredth < 10, CHUNKS - 1: numbers != CHUNKS - 7}[count]]
    assert len(allowed) == count
    result = filled.search(filters, queries, k=10)
    assert result.is_exact
    assert ids(result.per_query) == exact(filled.vectors, queries, allowed, 10)


@pytest.fixture(scope="module")
def graph() -> tuple[LoadedIndex, NDArray[np.float32]]:
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((50, DIMENSION), np.float32)
    vectors = centres[rng.integers(50, size=NODES)] + 0.5 * rng.standard_normal((NODES, DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, kinds = Rows.of(np.arange(NODES), vectors), Kinds(full_up_to=0, exact_up_to=0, recall=0.99)
    loaded = built_from(LoadedIndex.empty(DIMENSION), rows, np.empty(0, np.int64), kinds, check=never).index
    loaded.mark_dead(np.arange(0, NODES, 20))
    return loaded, vectors


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.1, 0.01, 0.0005])
def test_a_filtered_graph_loses_nothing_worth_having(
    graph: tuple[LoadedIndex, NDArray[np.float32]], share: float
) -> None:
    loaded, vectors = graph
    rng = np.random.default_rng(3)
    live = np.flatnonzero(np.arange(NODES) % 20)
    allowed = np.sort(rng.choice(live, int(share * len(live)), replace=False))
    queries = vectors[rng.integers(NODES, size=50)]
    _, nearest, is_exact = loaded.search(queries, 10, allowed)
    assert is_exact is (share <= 0.5)
    expected = exact(vectors, queries, allowed, 10)
    same = [len(set(got) & set(best)) for got, best in zip(nearest.tolist(), expected, strict=True)]
    assert sum(same) >= (1 if is_exact else 0.99) * sum(map(len, expected))
