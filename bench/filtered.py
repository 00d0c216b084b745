"""Searches under filters against unfiltered ones, in turns, and how many of the true neighbours they find.

Part of ``python -m bench.search`` and ``python -m bench.graph``. The truth is computed here, from the database's
vectors and the documents' numbers.
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
from bench.server import Client, client, p50_and_p95, percentile, request
from models import Chunk
from runtime.parts import Runtime
from services.search.passages import chunk_id
from snapshot import live_vectors, read_snapshot

TOP_K = 10
WARM_UP = 20
QUESTIONS_COMPARED = 50
ALIKE = 1e-6
LONE = 77  # seed of a document that is one chunk
HEADINGS = f"{'HTTP':>15} {'ratio':>7}    filter    index     first    recall"

Percents = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Allowing:
    """A filter, and of chunks whose documents say these percents which it allows. One that is None: the lone chunk."""

    filters: dict[str, Any]
    of: Callable[[Percents], NDArray[np.bool_]] | None


def below(percent: int) -> Allowing:
    return Allowing({"percent": {"$lt": percent}}, lambda percents: percents < percent)


UNFILTERED = "unfiltered"
EVERYTHING = Allowing({}, lambda percents: percents >= 0)
ONE_PERCENT = Allowing({"type": "eq", "key": "percent", "value": 7}, lambda percents: percents == 7)
ONE_ROW = Allowing({"doc_id": f"{LONE}-0"}, None)
FILTERS = {UNFILTERED: EVERYTHING, "10 %": below(10), "1 %": ONE_PERCENT, "one row": ONE_ROW}


@dataclass
class Timed:
    """Milliseconds: of requests, and of the server's steps that find what is allowed and search it."""

    http: list[float] = field(default_factory=list)
    filter: list[float] = field(default_factory=list)
    index: list[float] = field(default_factory=list)

    def add(self, took: float, answer: Any) -> None:
        self.http.append(took)
        self.filter.append(answer["timings"].get("filter_ms", 0.0))
        self.index.append(answer["timings"]["index_ms"])


@dataclass(frozen=True)
class Questions:
    """What asks a namespace: *next* gives one question after the other."""

    namespace: str
    next: Callable[[], str]

    def ask(self, asking: Client, question: str, allowing: Allowing) -> tuple[float, Any]:
        """Milliseconds until the answer was here, and the answer."""
        place = {"tenant_id": TENANT, "namespace": self.namespace, "explain": True}
        body = {**place, "query": question, "top_k": TOP_K, "filters": allowing.filters}
        sent = request("POST", "/v1/search", body)
        start = time.perf_counter()
        answer = asking.exchange(sent)
        return 1000 * (time.perf_counter() - start), json.loads(answer)


def report(
    runtime: Runtime, port: int, questions: Questions, requests: int, *, filters: Mapping[str, Allowing] = FILTERS
) -> None:
    """A line for each of *filters*, the unfiltered one first. It adds the lone chunk."""
    add(runtime, questions.namespace, chunks=1, seed=LONE)
    truth = Truth.of(runtime, questions.namespace)
    with client(port) as asking:
        firsts = {name: questions.ask(asking, questions.next(), each)[0] for name, each in filters.items()}
        timed = _in_turns(asking, questions, filters, requests)
        recalls = {name: truth.recall(asking, questions, each) for name, each in filters.items()}
    unfiltered = percentile(timed[UNFILTERED].http, 50)
    for name, each in timed.items():
        times = f"{p50_and_p95(each.http):>15} {percentile(each.http, 50) / unfiltered:7.2f}"
        steps = f"{percentile(each.filter, 50):9.2f} {percentile(each.index, 50):8.2f} {firsts[name]:9.1f}"
        print(f"{f'{truth.count:,} chunks, {name}':40} {times} {steps} {recalls[name]:9.4f}", flush=True)


def _in_turns(asking: Client, questions: Questions, filters: Mapping[str, Allowing], requests: int) -> dict[str, Timed]:
    timed = {name: Timed() for name in filters}
    for number in range(WARM_UP + requests):
        question = questions.next()
        for name, allowing in filters.items():
            took, answer = questions.ask(asking, question, allowing)
            if number >= WARM_UP:
                timed[name].add(took, answer)
    return timed


@dataclass
class Truth:
    """Every live chunk of a namespace: its place by its name, the percent that its document says, and its vector."""

    runtime: Runtime
    places: dict[str, int]
    percents: Percents
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, runtime: Runtime, namespace: str) -> Truth:
        with runtime.database.read() as session:
            seen = read_snapshot(session, TENANT, namespace)
            assert seen is not None
            ids, vectors = live_vectors(session, seen)
            place = (Chunk.team_id == seen.key.team_id, Chunk.project_id == seen.key.project_id)
            query = select(Chunk.faiss_id, Chunk.doc_id, Chunk.chunk_index).where(*place)
            told = {row.faiss_id: (row.doc_id, row.chunk_index) for row in session.execute(query)}
        chunks = [told[number] for number in ids.tolist()]
        percents = np.array([number_of(doc_id) % 100 for doc_id, _ in chunks])
        places = {chunk_id(*each): number for number, each in enumerate(chunks)}
        return cls(runtime, places, percents, vectors)

    @property
    def count(self) -> int:
        return len(self.places)

    def recall(self, asking: Client, questions: Questions, allowing: Allowing) -> float:
        """The share of the true best that was found; a chunk that is as near as the last of them is as good."""
        embedder = self.runtime.index.embedding.embedder(self.runtime.index.embedding.version)
        is_allowed, found, wanted = self._allowed(allowing), 0, 0
        for question in (questions.next() for _ in range(QUESTIONS_COMPARED)):
            scores = np.where(is_allowed, self.vectors @ embedder.embed_queries([question])[0], -np.inf)
            count = min(TOP_K, int(is_allowed.sum()))
            last = np.partition(scores, -count)[-count]
            _, answer = questions.ask(asking, question, allowing)
            found += sum(scores[self.places[chunk["chunk_id"]]] >= last - ALIKE for chunk in answer["chunks"])
            wanted += count
        return found / wanted

    def _allowed(self, allowing: Allowing) -> NDArray[np.bool_]:
        if allowing.of is not None:
            return allowing.of(self.percents)
        return np.array([name.startswith(f"{LONE}-") for name in self.places])
