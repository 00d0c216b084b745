"""FAISS beside SQLite against pgvector in Postgres, on the same data: ``python -m bench.stores [--chunks 20000]``.

Documents of people's prose (bench/prose.py) are embedded once, for real, and then stored by both: accepted, published
and indexed by the service's own code, in turns, batch by batch. Vectors are there when a worker comes to publish, so
what ingesting takes is the database and the store without the model. Then the real API processes are asked in turns,
pgvector first as it is set (every row of the partition is compared), then along its graph (INDEX_EXACT_UP_TO=0).
Recall is counted against every vector compared in this process. Postgres is one of our own, as durable as SQLite:
fsync is on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from sqlalchemy import and_, select

from bench.corpus import settings_in
from bench.prose import passages
from bench.server import KeepAliveClient, client, p50_and_p95, request, served, stop_on_sigterm
from domain import Vectors, chunk_id
from handlers import HANDLERS
from models import Chunk, Embedding
from runtime.opening import open_runtime
from runtime.parts import Runtime
from services.index import namespaces
from services.ingest.drafts import NewDoc
from tests.support.postgres import running_server
from text.enrich import embedded_text
from worker import Worker

LARGE, SMALL, UPSERTED = "large", "small", "upserted"
NAMESPACE = "prose"
PASSAGES_PER_DOC = 10
DOCS_PER_BATCH = 50
SMALL_SHARE = 1000
TOP_K = 10
PER_TURN = 10
WARM_UP = 20
QUERY_WORDS = 12
UPSERT_PASSAGES = 3
ALIKE = 1e-6

_COLUMNS = (
    "search",
    "its index step",
    "new upsert",
    "copy upsert",
    f"recall {LARGE}",
    f"recall {SMALL}",
    "fewest hits",
)

Cache = dict[bytes, bytes]


@dataclass
class MeasuredStore:
    """A database with its vector store, in this process, and the seconds spent on each activity."""

    name: str
    runtime: Runtime
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def busy(self, activity: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[activity] = self.seconds.get(activity, 0.0) + time.perf_counter() - start

    def work(self) -> None:
        worker = Worker(self.runtime, HANDLERS, name="bench")
        while worker.run_one():
            pass

    def rebuild(self) -> None:
        with self.busy("rebuild"):
            self.runtime.ingest.jobs.rebuild(LARGE, NAMESPACE, reembed=False, new_version=None)
            self.work()


@dataclass
class ExactVectors:
    """All vectors of a tenant, and their positions by chunk id."""

    place: dict[str, int]
    vectors: Vectors

    @classmethod
    def of(cls, store: MeasuredStore, tenant: str) -> ExactVectors:
        same = and_(Embedding.team_id == Chunk.team_id, Embedding.embed_hash == Chunk.embed_hash)
        with store.runtime.database.read() as session:
            project = namespaces.require(session, tenant, NAMESPACE)
            query = select(Chunk.doc_id, Chunk.chunk_index, Embedding.vector).join(Embedding, same)
            ours = and_(Chunk.team_id == project.team_id, Chunk.project_id == project.id)
            rows = session.execute(query.where(ours)).all()
        place = {chunk_id(row.doc_id, row.chunk_index): number for number, row in enumerate(rows)}
        return cls(place, np.array([np.frombuffer(row.vector, "<f4") for row in rows]))

    def recall(self, queries: Vectors, hits: Sequence[Sequence[str]]) -> float:
        """Returns the share of hits that are among the nearest TOP_K; equal scores are interchangeable."""
        count = 0
        for scores, chunks in zip(queries @ self.vectors.T, hits, strict=True):
            last = np.sort(scores)[-TOP_K]
            count += sum(scores[self.place[chunk]] >= last - ALIKE for chunk in chunks)
        return count / (TOP_K * len(queries))


@dataclass
class StoreTimes:
    """A store's times over HTTP in milliseconds, those of the vector search, and the hits' chunk ids."""

    search: list[float] = field(default_factory=list)
    index: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)
    hits: dict[str, list[list[str]]] = field(default_factory=lambda: {LARGE: [], SMALL: []})


def main() -> None:
    options = _options()
    stop_on_sigterm()
    small = max(2 * TOP_K, options.chunks // SMALL_SHARE)
    texts = _Texts(passages(options.chunks + small + options.queries + 2 * UPSERT_PASSAGES * options.upserts))
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="bench-")))
        local = settings_in(folder)
        remote = local.model_copy(update={"database_url": opened.enter_context(_postgres())})
        by_graph = remote.model_copy(update={"index_exact_up_to": 0})
        faiss, rows, graph = (
            MeasuredStore(name, opened.enter_context(open_runtime(settings)))
            for name, settings in (("FAISS", local), ("pgvector, rows", remote), ("pgvector, graph", by_graph))
        )
        cache: Cache = {}
        _fill([faiss, rows], LARGE, texts.take(options.chunks), cache)
        _fill([faiss, rows], SMALL, texts.take(small), cache)
        _report_ingest(faiss, rows)
        run = _Comparison(folder, texts, texts.queries(options.queries), options.upserts)
        for pgvector in (rows, graph):
            run.compare(faiss, pgvector)


class _Texts:
    """Texts, each of which is used once."""

    def __init__(self, texts: list[str]) -> None:
        self._unused = texts
        Random(0).shuffle(self._unused)

    def take(self, count: int) -> list[str]:
        return [self._unused.pop() for _ in range(count)]

    def queries(self, count: int) -> list[str]:
        return [" ".join(text.split()[:QUERY_WORDS]) for text in self.take(count)]


def _fill(stores: Sequence[MeasuredStore], tenant: str, texts: Sequence[str], cache: Cache) -> None:
    """Stores the same documents in each store, in turns. Embedding is not timed, and happens once for all stores."""
    print(f"storing {len(texts):,} passages for the tenant {tenant!r}", flush=True)
    docs = [
        NewDoc(tenant, NAMESPACE, f"doc-{start}", "\n\n".join(texts[start : start + PASSAGES_PER_DOC]), {})
        for start in range(0, len(texts), PASSAGES_PER_DOC)
    ]
    for start in range(0, len(docs), DOCS_PER_BATCH):
        for store in stores:
            with store.busy("ingest"):
                store.runtime.ingest.documents.accept(docs[start : start + DOCS_PER_BATCH])
            _store_vectors(store, tenant, cache)
            with store.busy("ingest"):
                store.work()


def _store_vectors(store: MeasuredStore, tenant: str, cache: Cache) -> None:
    embedding = store.runtime.index.embedding
    with store.runtime.database.read() as session:
        project = namespaces.require(session, tenant, NAMESPACE)
        query = select(Chunk.embed_hash, Chunk.text, Chunk.header).where(Chunk.team_id == project.team_id)
        rows = session.execute(query.where(Chunk.live_seq.is_(None))).all()
    waiting = {row.embed_hash: embedded_text(row.text, row.header) for row in rows}
    cache |= embedding.embed(embedding.version, {key: text for key, text in waiting.items() if key not in cache})
    with store.runtime.database.write() as session:
        embedding.store(session, project.team_id, embedding.version, {key: cache[key] for key in waiting})


def _report_ingest(faiss: MeasuredStore, rows: MeasuredStore) -> None:
    chunks = len(ExactVectors.of(faiss, LARGE).place) + len(ExactVectors.of(faiss, SMALL).place)
    for store in (faiss, rows):
        print(f"{store.name:16} ingests {chunks / store.seconds['ingest']:.0f} chunks a second without the model")


@dataclass
class _Comparison:
    folder: Path
    texts: _Texts
    queries: list[str]
    upserts: int
    count: int = 0

    def compare(self, faiss: MeasuredStore, pgvector: MeasuredStore) -> None:
        """Compares two stores in turns, each served by its own process."""
        stores = (faiss, pgvector)
        for store in stores:
            if "rebuild" not in store.seconds:
                store.rebuild()
                print(f"{store.name:16} rebuilds in {store.seconds['rebuild']:.1f} s")
        with ExitStack() as opened:
            ports = [opened.enter_context(served(store.runtime.settings, self.folder)) for store in stores]
            session = [opened.enter_context(client(port)) for port in ports]
            measured = [StoreTimes() for _ in stores]
            for tenant in (SMALL, LARGE):
                self._search(tenant, list(zip(session, measured, strict=True)))
            self._upsert(list(zip(session, measured, strict=True)))
        self._print(stores, measured)

    def _search(self, tenant: str, sides: Sequence[tuple[KeepAliveClient, StoreTimes]]) -> None:
        for session, _ in sides:
            for query in self.queries[:WARM_UP]:
                _search(session, tenant, query)
        for start in range(0, len(self.queries), PER_TURN):
            for session, measured in sides:
                for query in self.queries[start : start + PER_TURN]:
                    took, answer = _search(session, tenant, query)
                    measured.hits[tenant].append([chunk["chunk_id"] for chunk in answer["chunks"]])
                    if tenant == LARGE:
                        measured.search.append(took)
                        measured.index.append(answer["timings"]["index_ms"])

    def _upsert(self, sides: Sequence[tuple[KeepAliveClient, StoreTimes]]) -> None:
        """Upserts new documents, whose chunks are embedded, and copies, which cost only the store's work."""
        for number in range(self.upserts):
            text = "\n\n".join(self.texts.take(UPSERT_PASSAGES))
            for session, measured in sides:
                measured.new.append(_upsert(session, f"new-{self.count}-{number}", text))
                measured.copy.append(_upsert(session, f"copy-{self.count}-{number}", text))
        self.count += 1

    def _print(self, stores: Sequence[MeasuredStore], measured: Sequence[StoreTimes]) -> None:
        embedder = stores[0].runtime.index.embedding.embedder(stores[0].runtime.index.embedding.version)
        queries = np.array([embedder.embed_queries([query])[0] for query in self.queries])
        truths = {tenant: ExactVectors.of(stores[0], tenant) for tenant in (LARGE, SMALL)}
        sizes = ", ".join(f"{len(truth.place):,} chunks of {tenant!r}" for tenant, truth in truths.items())
        print(f"\n{sizes}; top_k {TOP_K}; ms, p50 / p95")
        print(f"{'':16}" + "".join(f"{column:>17}" for column in _COLUMNS))
        for store, of in zip(stores, measured, strict=True):
            columns = [p50_and_p95(times) for times in (of.search, of.index, of.new, of.copy)]
            columns += [f"{truths[tenant].recall(queries, of.hits[tenant]):.4f}" for tenant in (LARGE, SMALL)]
            columns.append(str(min(len(chunks) for hits in of.hits.values() for chunks in hits)))
            print(f"{store.name:16}" + "".join(f"{each:>17}" for each in columns), flush=True)


def _upsert(session: KeepAliveClient, doc_id: str, text: str) -> float:
    doc = {"tenant_id": LARGE, "namespace": UPSERTED, "doc_id": doc_id, "text": text}
    return _ms(lambda: session.post("/v1/docs/upsert", doc))[0]


def _search(session: KeepAliveClient, tenant: str, query: str) -> tuple[float, Any]:
    options = {"top_k": TOP_K, "explain": True}
    body = {"tenant_id": tenant, "namespace": NAMESPACE, "query": query, "mode": "dense", **options}
    content = request("POST", "/v1/search", body)
    took, answer = _ms(lambda: session.exchange(content))
    return took, json.loads(answer)


def _ms(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    hits = work()
    return 1000 * (time.perf_counter() - start), hits


@contextmanager
def _postgres() -> Iterator[str]:
    """Yields the URL of an empty database."""
    try:
        with running_server(is_durable=True) as server, server.database() as url:
            yield url
    except pytest.skip.Exception as missing:
        raise SystemExit(f"This {missing}.") from missing


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=20_000, help="at least; documents are cut as they fall")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--upserts", type=int, default=40, help="of each kind, store and phase")
    return parser.parse_args()


if __name__ == "__main__":
    main()
