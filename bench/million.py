"""A million vectors in one namespace: ``python -m bench.million [--chunks 100000 1000000]``.

Documents of 100 chunks with vectors of their own are sent over HTTP, one client, as the worker builds its indexes. At
each size: what ingest took, how long the worker went on, searches and one-chunk upserts, recall against an exact search
here, and filters that allow one document in a hundred and a single one, whose hits must be exact.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import numpy as np

from bench.growing import GrowingServer, growing
from bench.own import ALIKE
from bench.peers.base import PreparedCall
from bench.peers.contest import CHUNKS_PER_DOC
from bench.peers.report import circumstances
from bench.processes import memory_mb, peak_mb
from domain import Vectors

TOP_K = 10
SEARCHES = 200
COMPARED = 100
UPSERTS = 30
FILTERED = 20

_COLUMNS = ("chunks", "chunks/s", "settled s", "upsert ms", "search ms", "recall@10", "1 % ms", "exact", "one doc ms")
_COLUMNS_AFTER = ("exact", "API MB", "worker MB", "its peak")


def main() -> None:
    options = _options()
    with growing() as grown:
        print(circumstances())
        print(" ".join(f"{each:>10}" for each in (*_COLUMNS, *_COLUMNS_AFTER)), flush=True)
        before = 0
        for size in grown.sizes(options.chunks):
            rate = (size - before) / grown.seconds
            figures = [size, rate, grown.settle_seconds, *_measure(grown)]
            print(" ".join(f"{each:10,.3f}" if each < 100 else f"{each:10,.0f}" for each in figures), flush=True)
            before = size


def _measure(grown: GrowingServer) -> list[float]:
    queries = grown.source.vectors(SEARCHES)
    search, recall = _search(grown, queries)
    percent, percent_exact = _filter(grown, queries, "percent", 100)
    lone, lone_exact = _filter(grown, queries, "number", grown.documents)
    worker = grown.server.worker.pid
    memory = [memory_mb(grown.server.api.pids()), memory_mb([worker]), peak_mb(worker)]
    return [_upsert(grown), search, recall, percent, percent_exact, lone, lone_exact, *memory]


def _search(grown: GrowingServer, queries: Vectors) -> tuple[float, float]:
    connection = grown.server.connect()
    taken = [_ms(connection.search(query, top_k=TOP_K)) for query in queries]
    hits = [connection.hits(answer) for _, answer in taken[:COMPARED]]
    return median(took for took, _ in taken), grown.truth.recall(queries[:COMPARED], hits, top_k=TOP_K)


def _filter(grown: GrowingServer, queries: Vectors, key: str, count: int) -> tuple[float, float]:
    """The median, and the share of the best hits that were found, of filters with which 1 in *count* documents fits."""
    connection, times, right = grown.server.connect(), [], 0
    vectors = grown.truth.vectors
    for number, query in enumerate(queries[:FILTERED]):
        remainder = number % count
        filters = {"type": "eq", "key": key, "value": remainder}
        took, answer = _ms(connection.search(query, top_k=TOP_K, filters=filters))
        rows = _rows(remainder, count, grown.documents)
        scores = dict(zip((grown.truth.ids[row] for row in rows), vectors[rows] @ query, strict=True))
        last = sorted(scores.values())[-TOP_K]
        right += sum(scores.get(name, -1) >= last - ALIKE for name in connection.hits(answer))
        times.append(took)
    return median(times), right / (TOP_K * FILTERED)


def _rows(remainder: int, count: int, documents: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    first = np.arange(remainder, documents, count) * CHUNKS_PER_DOC
    return (first[:, np.newaxis] + np.arange(CHUNKS_PER_DOC)).ravel()


def _upsert(grown: GrowingServer) -> float:
    """Into the same namespace; the documents are deleted again."""
    connection = grown.server.connect()
    documents = list(grown.source.documents("upserted", UPSERTS, chunks=1))
    times = [_ms(connection.upsert([document]))[0] for document in documents]
    for document in documents:
        connection.delete(document)()
    return median(times)


def _ms(call: PreparedCall) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = call()
    return 1000 * (time.perf_counter() - start), answer


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[100_000, 1_000_000], help="growing sizes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
