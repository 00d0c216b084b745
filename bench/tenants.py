"""Many namespaces beside a few: ``python -m bench.tenants [--namespaces 1000] [--chunks 100]``.

Every namespace has the same chunks' number, with vectors of their own. Searches of random namespaces go in turns with
searches of a single one; the start and the memory are compared with those of a service that has a few namespaces.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass, replace
from statistics import median

from bench.growing import GrowingServer, growing
from bench.own import TOP_K
from bench.peers.contest import PER_TURN
from bench.peers.ours import OurConnection
from bench.peers.report import circumstances
from bench.processes import memory_mb
from domain import Vectors

FEW = 10
AGAIN = 3


def main() -> None:
    options = _options()
    with growing() as grown:
        print(circumstances())
        bench = _TenantsBench(grown, options.chunks)
        for first, last in ((0, FEW), (FEW, options.namespaces)):
            rate = bench.fill(first, last)
            seconds, megabytes = bench.restart()
            print(f"{last:,} namespaces: {rate:.0f} chunks/s; start {seconds:.2f} s, {megabytes:.0f} MB", flush=True)
        bench.search(options.namespaces, options.searches)
        print(f"with all open {memory_mb(grown.server.pids()):.0f} MB")


@dataclass(frozen=True, slots=True)
class _TenantsBench:
    grown: GrowingServer
    chunks: int

    def fill(self, first: int, last: int) -> float:
        """One document into each namespace; chunks a second."""
        connection, seconds = self.grown.server.connect(), 0.0
        for number, document in enumerate(self.grown.source.documents("doc", last - first, chunks=self.chunks), first):
            send = replace(connection, namespace=_name(number)).upsert([document])
            start = time.perf_counter()
            send()
            seconds += time.perf_counter() - start
        self.grown.server.settle()
        return (last - first) * self.chunks / seconds

    def restart(self) -> tuple[float, float]:
        """Seconds to the first search, and the memory then."""
        query, seconds = self.grown.source.vectors(1)[0], []
        for _ in range(AGAIN):
            self.grown.server.stop()
            start = time.perf_counter()
            self.grown.server.start()
            _search(self.grown.server.connect(), _name(0), query)
            seconds.append(time.perf_counter() - start)
        return median(seconds), memory_mb(self.grown.server.pids())

    def search(self, namespaces: int, searches: int) -> None:
        connection, chosen = self.grown.server.connect(), random.Random(0)
        queries = self.grown.source.vectors(searches)
        first = [_search(connection, _name(number), queries[0]) for number in range(namespaces)]
        times: tuple[list[float], list[float]] = ([], [])
        for start in range(0, searches, PER_TURN):
            turn = queries[start : start + PER_TURN]
            times[0].extend(_search(connection, _name(chosen.randrange(namespaces)), query) for query in turn)
            times[1].extend(_search(connection, _name(0), query) for query in turn)
        anywhere, single = (median(each) for each in times)
        print(f"first search of a namespace {median(first):.2f} ms")
        print(f"random namespaces {anywhere:.2f} ms, a single one {single:.2f} ms, ratio {anywhere / single:.2f}")


def _search(connection: OurConnection, namespace: str, query: Vectors) -> float:
    """Milliseconds."""
    send = replace(connection, namespace=namespace).search(query)
    start = time.perf_counter()
    answer = send()
    took = 1000 * (time.perf_counter() - start)
    assert len(connection.hits(answer)) == TOP_K
    return took


def _name(number: int) -> str:
    return f"namespace-{number}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--namespaces", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=100, help="in each")
    parser.add_argument("--searches", type=int, default=400)
    return parser.parse_args()


if __name__ == "__main__":
    main()
