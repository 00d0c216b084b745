"""Filtered searches against unfiltered ones, in turns, and their recall.

Part of ``python -m bench.search`` and ``python -m bench.graph``. The exact neighbours are computed here, from the
database's vectors and the documents' numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from bench.corpus import TENANT, add, number_of
from bench.server import KeepAliveClient, client, p50_and_p95, percentile, request
from domain import chunk_id
from models import Chunk
from runtime.parts import Runtime
from snapshot import live_vectors, read_snapshot

TOP_K = 10
WARM_UP = 20
QUESTIONS_COMPARED = 50
ALIKE = 1e-6
LONE = 77  # seed of a document that is one chunk
HEADINGS = f"{'HTTP':>15} {'ratio':>7}    filter    index     first    recall"

Percents = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BenchFilter:
    """A filter, and which chunks it allows by the percents of their documents; None: only the lone chunk."""

    filters: dict[str, Any]
    allows: Callable[[Percents], NDArray[np.bool_]] | None


def below(percent: int) -> BenchFilter:
    return BenchFilter({"percent": {"$lt": percent}}, lambda percents: percents < percent)


UNFILTERED = "unfiltered"
EVERYTHING = BenchFilter({}, lambda percents: percents >= 0)
ONE_PERCENT = BenchFilter({"type": "eq", "key": "percent", "value": 7}, lambda percents: percents == 7)
ONE_ROW = BenchFilter({"doc_id": f"{LONE}-0"}, None)
FILTERS = {UNFILTERED: EVERYTHING, "10 %": below(10), "1 %": ONE_PERCENT, "one row": ONE_ROW}


@dataclass
class FilterTimes:
    """Times in milliseconds: requests, and the server's steps that evaluate the filter and search the index."""

    http: list[float] = field(default_factory=list)
    filter: list[float] = field(default_factory=list)
    index: list[float] = field(default_factory=list)

    def add(self, took: float, answer: Any) -> None:
        self.http.append(took)
        self.filter.append(answer["timings"].get("filter_ms", 0.0))
        self.index.append(answer["timings"]["index_ms"])


@dataclass(frozen=True)
class BenchQuestions:
    """Queries for a namespace: *next* returns one after the other."""

    namespace: str
    next: Callable[[], str]

    def ask(self, session: KeepAliveClient, question: str, allowing: BenchFilter) -> tuple[float, Any]:
        """Searches; returns the milliseconds until the response was received, and the response."""
        place = {"tenant_id": TENANT, "namespace": self.namespace, "explain": True}
        body = {**place, "query": question, "top_k": TOP_K, "mode": "dense", "filters": allowing.filters}
        content = request("POST", "/v1/search", body)
        start = time.perf_counter()
        answer = session.exchange(content)
        return 1000 * (time.perf_counter() - start), json.loads(answer)


def report(
    runtime: Runtime,
    port: int,
    questions: BenchQuestions,
    requests: int,
    *,
    filters: Mapping[str, BenchFilter] = FILTERS,
) -> None:
    """Prints a line for each of *filters*, the unfiltered one first. Adds the lone chunk."""
    add(runtime, questions.namespace, chunks=1, seed=LONE)
    truth = ExactNeighbours.of(runtime, questions.namespace)
    with client(port) as session:
        firsts = {name: questions.ask(session, questions.next(), item)[0] for name, item in filters.items()}
        timed = _in_turns(session, questions, filters, requests)
        recalls = {name: truth.recall(session, questions, item) for name, item in filters.items()}
    unfiltered = percentile(timed[UNFILTERED].http, 50)
    for name, item in timed.items():
        times = f"{p50_and_p95(item.http):>15} {percentile(item.http, 50) / unfiltered:7.2f}"
        steps = f"{percentile(item.filter, 50):9.2f} {percentile(item.index, 50):8.2f} {firsts[name]:9.1f}"
        print(f"{f'{truth.count:,} chunks, {name}':40} {times} {steps} {recalls[name]:9.4f}", flush=True)


def _in_turns(
    session: KeepAliveClient, questions: BenchQuestions, filters: Mapping[str, BenchFilter], requests: int
) -> dict[str, FilterTimes]:
    timed = {name: FilterTimes() for name in filters}
    for number in range(WARM_UP + requests):
        question = questions.next()
        for name, allowing in filters.items():
            took, answer = questions.ask(session, question, allowing)
            if number >= WARM_UP:
                timed[name].add(took, answer)
    return timed


@dataclass
class ExactNeighbours:
    """The live chunks of a namespace: their positions by chunk id, their documents' percents, and their vectors."""

    runtime: Runtime
    places: dict[str, int]
    percents: Percents
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, runtime: Runtime, namespace: str) -> ExactNeighbours:
        with runtime.database.read() as session:
            snapshot = read_snapshot(session, TENANT, namespace)
            assert snapshot is not None
            ids, vectors = live_vectors(session, snapshot)
            place = (Chunk.team_id == snapshot.key.team_id, Chunk.project_id == snapshot.key.project_id)
            query = select(Chunk.faiss_id, Chunk.doc_id, Chunk.chunk_index).where(*place)
            names = {row.faiss_id: (row.doc_id, row.chunk_index) for row in session.execute(query)}
        chunks = [names[number] for number in ids.tolist()]
        percents = np.array([number_of(doc_id) % 100 for doc_id, _ in chunks])
        places = {chunk_id(*name): number for number, name in enumerate(chunks)}
        return cls(runtime, places, percents, vectors)

    @property
    def count(self) -> int:
        return len(self.places)

    def recall(self, session: KeepAliveClient, questions: BenchQuestions, allowing: BenchFilter) -> float:
        """Returns the share of the exact neighbours among the hits; chunks with equal scores are interchangeable."""
        embedder = self.runtime.index.embedding.embedder(self.runtime.index.embedding.version)
        is_allowed, matching, expected = self._allowed(allowing), 0, 0
        for question in (questions.next() for _ in range(QUESTIONS_COMPARED)):
            scores = np.where(is_allowed, self.vectors @ embedder.embed_queries([question])[0], -np.inf)
            count = min(TOP_K, int(is_allowed.sum()))
            last = np.partition(scores, -count)[-count]
            _, answer = questions.ask(session, question, allowing)
            matching += sum(scores[self.places[chunk["chunk_id"]]] >= last - ALIKE for chunk in answer["chunks"])
            expected += count
        return matching / expected

    def _allowed(self, allowing: BenchFilter) -> NDArray[np.bool_]:
        if allowing.allows is not None:
            return allowing.allows(self.percents)
        return np.array([name.startswith(f"{LONE}-") for name in self.places])
