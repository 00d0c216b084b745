"""The same load for each peer. Reads and single writes go in turns, so that a busy minute is everybody's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bench.own import TOP_K, ExactAnswers, OwnDocument, OwnSource
from bench.peers.base import PeerConnection, PeerServer, PreparedCall
from bench.processes import cpu_seconds, memory_mb
from domain import Vectors

CLIENTS = (1, 4, 16)
CHUNKS_PER_DOC = 100
PER_BATCH = 1000
SINGLES_PER_BATCH = 128
PER_TURN = 20
WARM_UP = 3
VISIBLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ContestSize:
    chunks: int
    singles: int
    changes: int
    queries: int
    seconds: float

    @property
    def small(self) -> int:
        """Chunks at the first upserts; at the second there are all."""
        return self.chunks // 10


@dataclass
class Measured:
    """What one peer took: seconds of ingests, milliseconds of the rest."""

    idle_mb: float = 0
    memory_mb: float = 0
    disk_per_chunk: float = 0
    single_docs_a_second: float = 0
    chunks_a_second: float = 0
    settle_seconds: float = 0
    restart_seconds: float = 0
    upsert_small: list[float] = field(default_factory=list)
    upsert_large: list[float] = field(default_factory=list)
    delete: list[float] = field(default_factory=list)
    searches: dict[int, list[float]] = field(default_factory=lambda: {clients: [] for clients in CLIENTS})
    rates: dict[int, list[float]] = field(default_factory=lambda: {clients: [] for clients in CLIENTS})
    cpu: dict[int, list[float]] = field(default_factory=lambda: {clients: [] for clients in CLIENTS})
    hits: list[list[str]] = field(default_factory=list)
    recall: float = 0


@dataclass
class Contestant:
    name: str
    server: PeerServer
    connection: PeerConnection
    measured: Measured = field(default_factory=Measured)

    def ingest(self, documents: Sequence[OwnDocument], per_batch: int) -> float:
        """Seconds until all are acknowledged; writing the requests is not counted."""
        return sum(_ms(self.connection.upsert(batch))[0] for batch in _batches(documents, per_batch)) / 1000

    def nearest(self, vector: Vectors) -> list[str]:
        return self.connection.hits(self.connection.search(vector)())


@dataclass
class Contest:
    """The stages, in order."""

    contestants: Sequence[Contestant]
    source: OwnSource
    size: ContestSize
    truth: ExactAnswers = field(default_factory=ExactAnswers)

    def run(self) -> None:
        singles = self._documents("single", self.size.singles, 1)
        self._fill("small", self.size.small, singles[:SINGLES_PER_BATCH])
        self._upsert("few", lambda measured: measured.upsert_small)
        self._fill("large", self.size.chunks - self.size.small - len(singles), singles[SINGLES_PER_BATCH:])
        queries = self.source.vectors(self.size.queries)
        self._search(queries)
        for clients in CLIENTS[1:]:
            self._crowd(clients, queries)
        self._upsert("many", lambda measured: measured.upsert_large)
        self._delete(singles[: self.size.changes])
        for each in self.contestants:
            self._weigh(each, queries[0])

    def _documents(self, prefix: str, count: int, chunks: int) -> list[OwnDocument]:
        documents = list(self.source.documents(prefix, count, chunks=chunks))
        self.truth.add(documents)
        return documents

    def _fill(self, prefix: str, chunks: int, singles: Sequence[OwnDocument]) -> None:
        """Long documents, then short ones; one peer after the other, until nothing is left behind."""
        documents = self._documents(prefix, chunks // CHUNKS_PER_DOC, CHUNKS_PER_DOC)
        for each in self.contestants:
            print(f"{each.name}: ingesting {chunks + len(singles):,} chunks", flush=True)
            each.measured.idle_mb = each.measured.idle_mb or memory_mb(each.server.pids())
            took = each.ingest(documents, PER_BATCH // CHUNKS_PER_DOC)
            each.measured.chunks_a_second = len(documents) * CHUNKS_PER_DOC / took
            each.measured.single_docs_a_second = len(singles) / each.ingest(singles, SINGLES_PER_BATCH)
            each.measured.settle_seconds = _ms(each.server.settle)[0] / 1000

    def _upsert(self, prefix: str, times: Callable[[Measured], list[float]]) -> None:
        """New documents of one chunk, each of which must be what the next search finds first."""
        for number, document in enumerate(self._documents(prefix, WARM_UP + self.size.changes, 1)):
            for each in self.contestants:
                took, _ = _ms(each.connection.upsert([document]))
                assert each.nearest(document.vectors[0])[0] == document.chunk_ids[0], f"{each.name}: not found"
                if number >= WARM_UP:
                    times(each.measured).append(took)

    def _search(self, queries: Vectors) -> None:
        for each in self.contestants:
            for query in queries[:PER_TURN]:
                each.nearest(query)
        for first in range(0, len(queries), PER_TURN):
            for each in self.contestants:
                for query in queries[first : first + PER_TURN]:
                    took, answer = _ms(each.connection.search(query))
                    each.measured.searches[1].append(took)
                    each.measured.hits.append(each.connection.hits(answer))
        for each in self.contestants:
            times = each.measured.searches[1]
            each.measured.rates[1].append(1000 * len(times) / sum(times))
            each.measured.recall = self.truth.recall(queries, each.measured.hits)

    def _crowd(self, clients: int, queries: Vectors, *, turns: int = 3) -> None:
        for _ in range(turns):
            for each in self.contestants:
                before = cpu_seconds(each.server.pids())
                times = crowd(each.server.connect, queries, clients=clients, seconds=self.size.seconds / turns)
                each.measured.cpu[clients].append(1000 * (cpu_seconds(each.server.pids()) - before) / len(times))
                each.measured.searches[clients] += times
                each.measured.rates[clients].append(len(times) * turns / self.size.seconds)

    def _delete(self, documents: Sequence[OwnDocument]) -> None:
        """Until a search for the very vector no longer finds it."""
        for document in documents:
            for each in self.contestants:
                assert each.nearest(document.vectors[0])[0] == document.chunk_ids[0], f"{each.name}: not found"
                took, _ = _ms(lambda each=each, document=document: _make_invisible(each, document))  # type: ignore[misc]
                each.measured.delete.append(took)

    def _weigh(self, each: Contestant, query: Vectors) -> None:
        each.server.settle()
        each.measured.memory_mb = memory_mb(each.server.pids())
        each.connection.close()
        each.server.stop()
        each.measured.disk_per_chunk = each.server.disk() / len(self.truth.ids)
        each.measured.restart_seconds = _ms(lambda: self._wake(each, query))[0] / 1000

    def _wake(self, each: Contestant, query: Vectors) -> None:
        each.server.start()
        each.connection = each.server.connect()
        assert len(each.nearest(query)) == TOP_K


def crowd(connect: Callable[[], PeerConnection], queries: Vectors, *, clients: int, seconds: float) -> list[float]:
    """The times of all searches that so many clients get through."""
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(_ask_until, connect, queries[number::clients], seconds) for number in range(clients)]
        return [took for each in running for took in each.result()]


def _ask_until(connect: Callable[[], PeerConnection], queries: Vectors, seconds: float) -> list[float]:
    connection, times = connect(), list[float]()
    calls = [connection.search(query) for query in queries]
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        took, answer = _ms(calls[len(times) % len(calls)])
        times.append(took)
    assert len(connection.hits(answer)) == TOP_K
    connection.close()
    return times


def _batches(documents: Sequence[OwnDocument], count: int) -> Iterator[Sequence[OwnDocument]]:
    return (documents[first : first + count] for first in range(0, len(documents), count))


def _make_invisible(each: Contestant, document: OwnDocument) -> None:
    give_up = time.monotonic() + VISIBLE_SECONDS
    each.connection.delete(document)()
    while document.chunk_ids[0] in each.nearest(document.vectors[0]):
        assert time.monotonic() < give_up, f"{each.name}: {document.doc_id} is still found"


def _ms(call: PreparedCall) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = call()
    return 1000 * (time.perf_counter() - start), answer
