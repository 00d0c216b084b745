"""POST /v1/search against its unavoidable cost: ``python -m bench.search [--chunks 10000 50000]``.

The floor is embedding the same query with the same embedder and searching the same checkpoint with FAISS, in this
process, on one thread, in turns with the HTTP requests. The steps are the server's own timings (explain); the rest is
the time of the request beyond their sum. Filtered searches are compared with unfiltered ones, keyword and hybrid with
dense. For 16 clients the floor handles 16 queries at once. Machines are noisy: only the ratios are reliable. Stored
vectors are synthetic (bench/corpus.py), queries are really embedded.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import faiss

from bench import filtered, modes, prose
from bench.corpus import TENANT, Writer, add, bury, fill, fill_with, live_chunks, scratch
from bench.filtered import BenchQuestions
from bench.server import KeepAliveClient, client, p50_and_p95, percentile, request, served
from engines.embedders.base import Embedder
from engines.vectors.checkpoints import CheckpointStore, checkpoint_of
from runtime.parts import Runtime
from snapshot import read_snapshot

TOP_K = 5
CLIENTS = 16
CHANGED = 500
PER_TURN = 10
WARM_UP = 30
QUERIES_WORTH_A_PRODUCT = 3
PROSE = "prose"
STEPS = ("embed_ms", "catch_up_ms", "index_ms", "fetch_ms")

_HEADINGS = "  ".join(f"{step:>8}" for step in ("embed", "catch_up", "index", "fetch", "rest"))


def main() -> None:
    options = _options()
    written = prose.passages(max(options.chunks))
    print(f"Stored vectors are synthetic, queries are embedded for real; top_k {TOP_K}. Times in ms, p50 / p95.")
    with scratch() as (folder, runtime):
        for chunks in options.chunks:
            print(f"filling a namespace with {chunks:,} chunks", flush=True)
            fill(runtime, _name(chunks), chunks=chunks)
        print(f"filling another with {len(written):,} passages that people wrote", flush=True)
        fill_with(runtime, PROSE, written)
        with served(runtime.settings, folder) as port:
            _report(runtime, port, written, options)


@dataclass
class Floor:
    """The minimal cost of a search with this embedder and this index."""

    embedder: Embedder
    index: faiss.Index

    @classmethod
    def of(cls, runtime: Runtime, namespace: str) -> Floor:
        with runtime.database.read() as session:
            snapshot = read_snapshot(session, TENANT, namespace)
        assert snapshot is not None
        checkpoint = checkpoint_of(snapshot.index)
        assert checkpoint is not None
        store = runtime.index.vectors
        assert isinstance(store, CheckpointStore)
        index = store.indexes.load(snapshot.key, checkpoint).index
        return cls(runtime.index.embedding.embedder(snapshot.key.embedding_version), index)

    def search(self, questions: Sequence[str]) -> None:
        faiss.omp_set_num_threads(1)
        # The threshold is queries times dimension: several queries are a matrix product, a single one is a scan.
        faiss.cvar.distance_compute_blas_threshold = QUERIES_WORTH_A_PRODUCT * self.index.d
        self.index.search(self.embedder.embed_queries(questions), TOP_K)


@dataclass
class SearchTimes:
    """Times in milliseconds: requests, the floor in between, and the server's steps."""

    http: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})

    def __str__(self) -> str:
        p50 = percentile(self.http, 50)
        steps = [percentile(self.steps[step], 50) for step in STEPS]
        columns = "  ".join(f"{step:8.2f}" for step in [*steps, p50 - sum(steps)])
        ratio = p50 / percentile(self.floor, 50)
        return f"{p50_and_p95(self.http):>15} {p50_and_p95(self.floor):>15} {ratio:7.2f}  {columns}"


def _report(runtime: Runtime, port: int, written: Sequence[str], options: argparse.Namespace) -> None:
    floors = {chunks: Floor.of(runtime, _name(chunks)) for chunks in options.chunks}
    print(f"\n{'one client':40} {'HTTP':>15} {'floor':>15} {'ratio':>7}  {_HEADINGS}")
    for chunks, floor in floors.items():
        measured = _one_client(port, _name(chunks), floor, options.requests)
        print(f"{f'{chunks:,} chunks':40} {measured}", flush=True)
    print(f"\n{'under filters':40} {filtered.HEADINGS}")
    for chunks in options.chunks:
        questions = BenchQuestions(_name(chunks), Writer.seeded(5).question)
        filtered.report(runtime, port, questions, options.requests)
    _report_modes(port, written, options)
    print()
    largest = max(options.chunks)
    _change(runtime, _name(largest))
    first = _first_search(port, _name(largest))
    measured = _one_client(port, _name(largest), floors[largest], options.requests)
    print(f"{f'{largest:,}, {CHANGED} in the tail, {CHANGED} dead':40} {measured}")
    print(f"{'  the first search after that change':40} {first:15.2f}", flush=True)
    print(f"\n{f'{CLIENTS} clients':40} {'searches/s':>15} {'p50 / p95':>15} {'floor/s':>7}  ratio")
    for chunks, floor in floors.items():
        line = _many_clients(port, _name(chunks), floor, options.seconds)
        print(f"{f'{chunks:,} chunks':40} {line}", flush=True)


def _report_modes(port: int, written: Sequence[str], options: argparse.Namespace) -> None:
    largest, requests = max(options.chunks), options.requests
    print(f"\n{f'{largest:,} chunks, by mode':40} {modes.HEADINGS}")
    modes.report(port, PROSE, prose.questions(written, seed=1), requests=requests, name="prose")
    modes.report(port, _name(largest), Writer.seeded(7).question, requests=requests, name="composed")


def _one_client(port: int, namespace: str, floor: Floor, requests: int) -> SearchTimes:
    writer, measured = Writer.seeded(1), SearchTimes()
    with client(port) as session:
        for _ in range(WARM_UP):
            _ask(session, namespace, writer.question())
            floor.search([writer.question()])
        for _ in range(requests // PER_TURN):
            _one_turn(session, namespace, floor, [writer.question() for _ in range(PER_TURN)], measured)
    return measured


def _one_turn(
    session: KeepAliveClient, namespace: str, floor: Floor, questions: Sequence[str], measured: SearchTimes
) -> None:
    for question in questions:
        took, answer = _ask(session, namespace, question)
        measured.http.append(took)
        for step in STEPS:
            measured.steps[step].append(answer["timings"][step])
    for question in questions:
        measured.floor.append(_ms(lambda question=question: floor.search([question])))  # type: ignore[misc]


def _ask(session: KeepAliveClient, namespace: str, question: str) -> tuple[float, dict[str, dict[str, float]]]:
    """Searches; returns the milliseconds until the response was received, without parsing it, and the response."""
    content = _request(namespace, question)
    start = time.perf_counter()
    body = session.exchange(content)
    took = 1000 * (time.perf_counter() - start)
    answer = json.loads(body)
    assert len(answer["chunks"]) == TOP_K
    return took, answer


def _request(namespace: str, question: str) -> bytes:
    options = {"top_k": TOP_K, "explain": True}
    body = {"tenant_id": TENANT, "namespace": namespace, "query": question, "mode": "dense", **options}
    return request("POST", "/v1/search", body)


def _change(runtime: Runtime, namespace: str) -> None:
    """Deletes some chunks and publishes as many others, without a new checkpoint."""
    before = live_chunks(runtime, namespace)
    add(runtime, namespace, chunks=CHANGED, seed=2)
    bury(runtime, namespace, chunks=CHANGED)  # last: it queues a rebuild, which no worker runs
    assert live_chunks(runtime, namespace) == before


def _first_search(port: int, namespace: str) -> float:
    with client(port) as session:
        return _ask(session, namespace, Writer.seeded(3).question())[0]


def _many_clients(port: int, namespace: str, floor: Floor, seconds: float) -> str:
    with ThreadPoolExecutor(CLIENTS) as pool:
        until = time.perf_counter() + seconds
        running = [pool.submit(_ask_until, port, namespace, seed, until) for seed in range(CLIENTS)]
        times = [took for each in running for took in each.result()]
    rate, bare = len(times) / seconds, _batches_a_second(floor, seconds / 2) * CLIENTS
    return f"{rate:15.0f} {p50_and_p95(times):>15} {bare:7.0f}  {rate / bare:.2f}"


def _ask_until(port: int, namespace: str, seed: int, until: float) -> list[float]:
    writer, times = Writer.seeded(seed), list[float]()
    with client(port) as session:
        while time.perf_counter() < until:
            content = _request(namespace, writer.question())
            times.append(_ms(lambda content=content: session.exchange(content)))  # type: ignore[misc]
    return times


def _batches_a_second(floor: Floor, seconds: float) -> float:
    writer, count, start = Writer.seeded(4), 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        floor.search([writer.question() for _ in range(CLIENTS)])
        count += 1
    return count / (time.perf_counter() - start)


def _ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def _name(chunks: int) -> str:
    return f"of-{chunks}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 50_000], help="sizes of the namespaces")
    parser.add_argument("--requests", type=int, default=400, help="of one client, per size")
    parser.add_argument("--seconds", type=float, default=6.0, help=f"that {CLIENTS} clients ask, per size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
