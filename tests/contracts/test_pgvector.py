"""The table of vectors: what is committed is found, through a graph that loses nothing worth having."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import create_engine, func, insert, make_url, select, text
from sqlalchemy.orm import Session

from database.engine import Database
from domain import Partition
from engines.vectors.base import Hits, VectorStore
from engines.vectors.graphs import graph_of
from engines.vectors.opening import VectorsConfig, open_store
from engines.vectors.searching import ALONG_GRAPH, graph_query
from errors import DatabaseUnavailable
from migrations.upgrade import bring_up_to_date
from models import Chunk, Doc, Embedding, EmbeddingVersion, IndexRow, Project, Revision, Team, VectorRow
from snapshot import read_snapshot
from tests.support.postgres import PostgresServer
from tests.support.processes import until
from tests.support.prose import fill, never, prose
from tests.support.service import PLACE, Service, every_store, pgvector_alone, settings_in

ROWS = 20_000
DIMENSION = 64
CENTRES = 300
SPREAD = 0.8
VERSION = "it's a: 100% odd\\name"


def unit(count: int, *, seed: int) -> NDArray[np.float32]:
    """Around centres, as the vectors of texts are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((CENTRES, DIMENSION), np.float32)
    vectors = centres[rng.integers(CENTRES, size=count)]
    vectors = vectors + SPREAD * rng.standard_normal((count, DIMENSION), np.float32)
    unit_vectors: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit_vectors


@pgvector_alone
def test_a_document_of_many_chunks_costs_what_it_has_before_postgres_knows_how_many_rows_there_are(
    service: Service,
) -> None:
    count = 10_000
    with service.restarted() as busy:
        chunks = [{"text": f"w{n}", "vector": [1, n]} for n in range(count)]
        busy.post("/v1/docs/upsert", {**PLACE, "doc_id": "doc", "chunks": chunks})
        assert busy.delete("doc")["chunks_deleted"] == count
        busy.work()
        assert busy.problems() == []
    until(lambda: rows_counted(service, "n_tup_ins") >= 4 * count and rows_counted(service, "n_tup_del") >= 2 * count)
    assert rows_counted(service, "seq_tup_read + coalesce(idx_tup_fetch, 0)") < 100 * count


def rows_counted(service: Service, columns: str) -> int:
    """What Postgres counted in all tables. A connection that is closed has told all that it did."""
    with service.runtime.database.read() as session:
        return int(session.scalar(text(f"SELECT sum({columns}) FROM pg_stat_user_tables")) or 0)


def store(database: Database, *, exact_up_to: int) -> VectorStore:
    return open_store(
        database, VectorsConfig("auto", Path("unused"), exact_up_to, 1, 0.99, 1, 1, 1.0, prefers_half=False)
    )


class Filled:
    """Two tenants in one table: *large* holds all rows but one in a thousand, which *small* holds."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = store(database, exact_up_to=0)
        self.default_store = store(database, exact_up_to=settings_in(Path("unused")).index_exact_up_to)

    def add(self, team_id: int, name: str, vectors: NDArray[np.float32]) -> Partition:
        """A live document of one chunk per vector, as it stands in the database, and its rebuild."""
        key = Partition(team_id, 1, VERSION)
        place = {"team_id": team_id, "project_id": 1}
        with self.database.write() as session:
            if session.get(EmbeddingVersion, VERSION) is None:
                session.add(EmbeddingVersion(name=VERSION, model="none", is_remote=False, dimension=DIMENSION))
            session.add(Team(id=team_id, name=name))
            session.flush()
            counts = {"seq": 1, "live_chunks": len(vectors), "next_faiss_id": len(vectors)}
            session.add(Project(team_id=team_id, id=1, name="namespace", embedding_version=VERSION, **counts))
            session.flush()
            session.add(IndexRow(**place, embedding_version=VERSION, dimension=DIMENSION, changes=len(vectors)))
            session.add(Doc(**place, doc_id="doc", revision=1, live_revision=1))
            session.flush()
            required = {"doc_hash": "", "recipe": "", "doc_metadata": {}, "text": "", "status": "live"}
            session.add(Revision(**place, doc_id="doc", revision=1, chunk_count=len(vectors), **required))
            session.flush()
            self._write_chunks(session, place, vectors)
        self.rebuild(key)
        return key

    def rebuild(self, key: Partition) -> None:
        built = self.store.build(key, DIMENSION, check=never)
        assert built is not None
        with self.database.write() as session:
            project = session.get_one(Project, (key.team_id, key.project_id))
            self.store.take_over(session, project, key.embedding_version, built)

    def search(
        self,
        name: str,
        queries: NDArray[np.float32],
        *,
        k: int,
        by: VectorStore | None = None,
        allowed: NDArray[np.int64] | None = None,
    ) -> Hits:
        with self.database.read() as session:
            snapshot = read_snapshot(session, name, "namespace")
            assert snapshot is not None
            with (by or self.store).open_partition(snapshot.key, DIMENSION) as opened:
                assert opened.catch_up(session, snapshot) is None
                return opened.search(queries, k=k, allowed=allowed)

    def _write_chunks(self, session: Session, place: dict[str, int], vectors: NDArray[np.float32]) -> None:
        numbers = range(len(vectors))
        nothing = {"text": "", "chunk_hash": "", "char_start": 0, "char_end": 0, "token_count": 0}
        of_doc = {**place, "doc_id": "doc", "revision": 1, "live_seq": 1, **nothing}
        keys = [number.to_bytes(4, "big") for number in numbers]
        chunks = [{**of_doc, "faiss_id": n, "chunk_index": n, "embed_hash": keys[n]} for n in numbers]
        session.execute(insert(Chunk), chunks)
        of_team = {"team_id": place["team_id"], "embedding_version": VERSION}
        rows = [{**of_team, "embed_hash": keys[n], "vector": vectors[n].tobytes()} for n in numbers]
        session.execute(insert(Embedding), rows)


@contextmanager
def empty(postgres: PostgresServer) -> Iterator[Filled]:
    with postgres.database() as url, Database.open(url) as database:
        bring_up_to_date(database)
        yield Filled(database)


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> Iterator[Filled]:
    with empty(postgres) as filled:
        filled.add(1, "large", unit(ROWS, seed=1))
        filled.add(2, "small", unit(ROWS // 1000, seed=2))
        yield filled


def exact_ids(queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int) -> list[list[int]]:
    best: list[list[int]] = np.argsort(-(queries @ vectors.T), axis=1)[:, :k].tolist()
    return best


def test_the_graph_finds_what_an_exact_search_finds(filled: Filled) -> None:
    queries = unit(200, seed=3)
    best = filled.search("large", queries, k=10)
    assert best.is_exact is False
    expected = exact_ids(queries, unit(ROWS, seed=1), 10)
    same = [len({hit[0] for hit in hits} & set(ids)) for hits, ids in zip(best.per_query, expected, strict=True)]
    recall = sum(same) / (10 * len(queries))
    print(f"recall@10 {recall:.4f} of {ROWS} rows")  # noqa: T201
    assert recall >= 0.99
    vectors = unit(ROWS, seed=1)
    for query, hits in zip(queries, best.per_query, strict=True):
        scores = [float(query @ vectors[hit[0]]) for hit in hits]
        assert [hit[1] for hit in hits] == pytest.approx(scores, abs=1e-5)
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.0001])
def test_a_filtered_graph_loses_nothing_worth_having(filled: Filled, share: float) -> None:
    vectors, queries = unit(ROWS, seed=1), unit(50, seed=6)
    allowed = np.sort(np.random.default_rng(7).choice(ROWS, int(share * ROWS), replace=False))
    best = filled.search("large", queries, k=10, allowed=allowed)
    assert best.is_exact is (share < 0.1)
    expected = [allowed[places].tolist() for places in exact_ids(queries, vectors[allowed], 10)]
    assert [len(hits) for hits in best.per_query] == [min(10, len(allowed))] * len(queries)
    same = [len({hit[0] for hit in hits} & set(ids)) for hits, ids in zip(best.per_query, expected, strict=True)]
    assert sum(same) >= (1 if best.is_exact else 0.99) * sum(map(len, expected))


def test_what_a_filter_allows_is_found_however_far_it_is(filled: Filled) -> None:
    """The graph proposes what is near, and none of it is allowed."""
    vectors, query = unit(ROWS, seed=1), unit(1, seed=8)
    allowed = np.sort(np.argsort(query[0] @ vectors.T)[: ROWS // 4])
    for by in (filled.store, filled.default_store):
        hits = filled.search("large", query, k=10, by=by, allowed=allowed)
        nearest = allowed[exact_ids(query, vectors[allowed], 10)[0]]
        assert [hit[0] for hit in hits.per_query[0]] == nearest.tolist()
        assert hits.is_exact


def test_the_plan_walks_the_graph_of_the_version(filled: Filled) -> None:
    graph = graph_of(VERSION, DIMENSION)
    assert graph is not None
    query = str(unit(1, seed=3)[0].tolist())
    parameters = {"team_id": 1, "project_id": 1, "version": VERSION, "query": query, "k": 10}
    with filled.database.read() as session:
        session.execute(ALONG_GRAPH, {"depth": 200})
        plan = "\n".join(session.scalars(text(f"EXPLAIN {graph_query(graph)}"), parameters))
    assert f"Index Scan using {graph.name}" in plan


def test_a_small_tenant_in_a_large_table_always_gets_top_k(filled: Filled) -> None:
    vectors, queries = unit(ROWS // 1000, seed=2), unit(20, seed=4)
    expected = exact_ids(queries, vectors, 10)
    for by in (filled.store, filled.default_store):
        results = filled.search("small", queries, k=10, by=by)
        assert [[hit[0] for hit in hits] for hits in results.per_query] == expected
        everything = filled.search("small", queries, k=1000, by=by)
        assert all(len(hits) == len(vectors) for hits in everything.per_query)
    assert filled.search("small", queries, k=10, by=filled.default_store).is_exact is True


def test_a_creation_that_was_cut_off_is_made_again(postgres: PostgresServer) -> None:
    graph = graph_of(VERSION, DIMENSION)
    assert graph is not None
    cut_off = text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:name)")
    with empty(postgres) as few:
        key = few.add(1, "few", unit(50, seed=1))
        assert few.search("few", unit(1, seed=5), k=10).is_exact is False
        with few.database.write() as session:
            session.execute(cut_off, {"name": graph.name})
        assert few.search("few", unit(1, seed=5), k=10).is_exact is True
        assert few.store.current_build(key) is None
        few.rebuild(key)
        assert few.search("few", unit(1, seed=5), k=10).is_exact is False
        assert few.store.current_build(key) is not None


def test_a_graph_has_a_limit_of_dimensions() -> None:
    kinds = [graph and graph.type for graph in (graph_of("v", size) for size in (384, 2000, 2001, 4000, 4001))]
    assert kinds == ["vector(384)", "vector(2000)", "halfvec(2001)", "halfvec(4000)", None]


def numbers(session: Session) -> list[int]:
    return list(session.scalars(select(VectorRow.faiss_id).order_by(VectorRow.faiss_id)))


@pgvector_alone
def test_rows_come_and_go_in_the_transaction_that_publishes(service: Service) -> None:
    service.upsert("cats", "Cats sleep.")
    service.upsert("ships", "Ships sail.")
    service.upsert("cats", "Cats sleep all day.")
    service.delete("ships")
    with service.runtime.database.read() as session:
        live = select(Chunk.faiss_id).where(Chunk.live_seq.is_not(None), Chunk.dead_seq.is_(None))
        assert numbers(session) == list(session.scalars(live)) == [2]
    with pytest.raises(ZeroDivisionError), service.runtime.database.write() as session:
        project = session.scalars(select(Project)).one()
        project, _ = service.runtime.index.indexing.publisher.next_numbers(session, project)
        doc = session.get_one(Doc, (project.team_id, project.id, "cats"))
        service.runtime.index.indexing.publisher.withdraw(session, project, [doc])
        assert numbers(session) == []
        raise ZeroDivisionError
    assert service.hit_ids("cats") == ["cats"]
    assert service.problems() == []


@pgvector_alone
def test_a_namespace_that_grows_beyond_exact_search_asks_for_its_graph_once(service: Service) -> None:
    with service.restarted(index_exact_up_to=10) as small:
        fill(small, 10)
        assert small.get("/v1/queue/stats")["total"] == 0
        small.upsert("one-more", "One more.")
        assert small.search("winter")["index"]["exact"] is True
        assert small.work() == 1
        answer = small.search("winter", top_k=11)
        assert (answer["index"]["exact"], len(answer["chunks"])) == (False, 11)
        small.upsert("another", "Another one.")
        assert small.work() == 0
        assert small.problems() == []


@pgvector_alone
def test_a_table_that_lost_its_way_is_reported_and_made_right_while_searches_stay_right(service: Service) -> None:
    fill(service, 12)
    with service.restarted(vector_store="faiss") as files:
        files.upsert("later", prose(77))
        files.delete("doc-03")
        files.work()
        expected = files.hit_ids("winter garden", top_k=20)
    assert service.hit_ids("winter garden", top_k=20) == expected
    assert service.hit_ids("winter garden", top_k=1, filters={"doc_id": {"$ne": expected[0]}}) == expected[1:2]
    assert "behind" in service.stats()["problem"]
    assert service.stats()["dirty"] is True
    assert service.problems() != []
    service.work()
    assert (service.stats()["problem"], service.stats()["dirty"], service.problems()) == (None, False, [])
    assert service.hit_ids("winter garden", top_k=20) == expected
    with service.runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(VectorRow)) == 12
    with service.restarted(vector_store="faiss") as files:
        assert files.hit_ids("winter garden", top_k=20) == expected
        assert files.problems() == []


@pgvector_alone
def test_verify_tells_rows_that_are_not_the_databases(service: Service) -> None:
    fill(service, 4)
    with service.runtime.database.write() as session:
        session.execute(text("DELETE FROM vectors WHERE faiss_id = 0"))
        session.execute(text("UPDATE vectors SET faiss_id = 99 WHERE faiss_id = 1"))
    [problem] = service.problems()
    assert "misses 2 live chunks and holds 1" in problem
    assert service.rebuild()["status"] == "completed"
    assert service.problems() == []


@every_store
def test_asking_twice_for_a_rebuild_leaves_the_second_nothing_to_do(service: Service) -> None:
    fill(service, 3)
    assert "unchanged" not in service.rebuild()["result"]
    assert service.rebuild()["result"]["unchanged"] is True


def test_a_user_who_may_not_make_the_extension_is_told_what_an_administrator_runs(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        postgres.run("CREATE ROLE plain LOGIN")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("GRANT CREATE ON SCHEMA public TO plain"))
            plain = make_url(url).set(username="plain").render_as_string(hide_password=False)
            with Database.open(plain) as database:
                with pytest.raises(DatabaseUnavailable, match=r"runs in this database: CREATE EXTENSION vector;"):
                    bring_up_to_date(database)
                connection.execute(text("CREATE EXTENSION vector"))
                bring_up_to_date(database)
        engine.dispose()
    postgres.run("DROP ROLE plain")


def test_pgvector_on_sqlite_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, vector_store="pgvector")
    config = VectorsConfig(settings.vector_store, settings.index_dir, 1, 1, 0.99, 1, 1, 1.0, prefers_half=False)
    with (
        Database.open(settings.database_url) as database,
        pytest.raises(DatabaseUnavailable, match="VECTOR_STORE=faiss"),
    ):
        open_store(database, config)
