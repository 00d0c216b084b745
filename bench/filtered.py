"""Searches under filters against unfiltered ones, in turns, and how many of the true neighbours they find.

Part of ``python -m bench.search``. The truth is computed here, from the database's vectors and the documents' numbers.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from bench.corpus import TENANT, Writer, add, number_of
from bench.server import Client, client, p50_and_p95, percentile, request
from engines.vectors.truth import live_vectors, snapshot
from models import Chunk
from runtime import Runtime
from services.search import chunk_id

TOP_K = 10
QUESTIONS_COMPARED = 50
LONE = 77  # seed of a document that is one chunk
FILTERS: dict[str, dict[str, Any]] = {
    "unfiltered": {},
    "10 %": {"percent": {"$lt": 10}},
    "1 %": {"type": "eq", "key": "percent", "value": 42},
    "one row": {"doc_id": f"{LONE}-0"},
}


@dataclass
class Timed:
    """Milliseconds: of requests, and of the server's steps that find what is allowed and search it."""

    http: list[float] = field(default_factory=list)
    filter: list[float] = field(default_factory=list)
    index: list[float] = field(default_factory=list)


def report(runtime: Runtime, port: int, namespace: str, *, requests: int) -> None:
    add(runtime, namespace, chunks=1, seed=LONE)
    truth = Truth.of(runtime, namespace)
    with client(port) as asking:
        firsts = {name: _ask(asking, namespace, "Which pump?", filters)[0] for name, filters in FILTERS.items()}
        timed = {name: Timed() for name in FILTERS}
        writer = Writer.seeded(5)
        for _ in range(requests):
            question = writer.question()
            for name, filters in FILTERS.items():
                _add(timed[name], *_ask(asking, namespace, question, filters))
        recalls = {name: truth.recall(asking, namespace, filters) for name, filters in FILTERS.items()}
    unfiltered = percentile(timed["unfiltered"].http, 50)
    for name, each in timed.items():
        times = f"{p50_and_p95(each.http):>15} {percentile(each.http, 50) / unfiltered:7.2f}"
        steps = f"{percentile(each.filter, 50):9.2f} {percentile(each.index, 50):8.2f} {firsts[name]:9.1f}"
        print(f"{f'{truth.count:,} chunks, {name}':40} {times} {steps} {recalls[name]:9.3f}", flush=True)


@dataclass
class Truth:
    """Every live chunk of a namespace: its name, the percent that its document says, and its vector."""

    runtime: Runtime
    names: list[str]
    percents: NDArray[np.int64]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, runtime: Runtime, namespace: str) -> Truth:
        with runtime.database.read() as session:
            seen = snapshot(session, TENANT, namespace)
            assert seen is not None
            ids, vectors = live_vectors(session, seen)
            place = (Chunk.team_id == seen.key.team_id, Chunk.project_id == seen.key.project_id)
            query = select(Chunk.faiss_id, Chunk.doc_id, Chunk.chunk_index).where(*place)
            told = {row.faiss_id: (row.doc_id, row.chunk_index) for row in session.execute(query)}
        chunks = [told[number] for number in ids.tolist()]
        percents = np.array([number_of(doc_id) % 100 for doc_id, _ in chunks])
        return cls(runtime, [chunk_id(*each) for each in chunks], percents, vectors)

    @property
    def count(self) -> int:
        return len(self.names)

    def recall(self, asking: Client, namespace: str, filters: dict[str, Any]) -> float:
        writer, found = Writer.seeded(6), 0.0
        allowed = self._allowed(filters)
        for question in (writer.question() for _ in range(QUESTIONS_COMPARED)):
            embedder = self.runtime.embedding.embedder(self.runtime.embedding.version)
            scores = self.vectors[allowed] @ embedder.embed_queries([question])[0]
            best = allowed[np.argsort(-scores)[:TOP_K]]
            _, answer = _ask(asking, namespace, question, filters)
            hits = {chunk["chunk_id"] for chunk in answer["chunks"]}
            found += len(hits & {self.names[place] for place in best}) / len(best)
        return found / QUESTIONS_COMPARED

    def _allowed(self, filters: dict[str, Any]) -> NDArray[np.int64]:
        if "percent" in filters:
            return np.flatnonzero(self.percents < 10)
        if "type" in filters:
            return np.flatnonzero(self.percents == 42)
        is_lone = np.array([name.startswith(f"{LONE}-") for name in self.names])
        return np.flatnonzero(is_lone) if filters else np.arange(self.count)


def _add(timed: Timed, took: float, answer: Any) -> None:
    timed.http.append(took)
    timed.filter.append(answer["timings"].get("filter_ms", 0.0))
    timed.index.append(answer["timings"]["index_ms"])


def _ask(asking: Client, namespace: str, question: str, filters: dict[str, Any]) -> tuple[float, Any]:
    body = {"tenant_id": TENANT, "namespace": namespace, "query": question, "top_k": TOP_K, "filters": filters}
    sent = request("POST", "/v1/search", {**body, "explain": True})
    start = time.perf_counter()
    answer = asking.exchange(sent)
    return 1000 * (time.perf_counter() - start), json.loads(answer)
