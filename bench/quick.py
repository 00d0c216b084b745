"""The ratios that must not get worse, in three minutes: ``script/bench quick [--keep]``.

Two namespaces with vectors of their own, a small and a large one, are filled over HTTP. Every figure is divided by
another of the same run: the large namespace by the small one, a search and a restart by the floor's (bench/peers), a
hybrid search by a dense one, an ingest by the bare embedder. The ratios are compared with the last ones kept in
bench/history.jsonl; the exit status is 1 if one is worse by more than noise. `--keep` adds them to the file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import ingest
from bench.history import KeptRun, compare, last_kept
from bench.own import TOP_K, OwnDocument, OwnSource
from bench.peers.base import PeerConnection, PeerServer, PreparedCall, Unavailable
from bench.peers.contest import CHUNKS_PER_DOC, PER_BATCH, PER_TURN, crowd
from bench.peers.environments import FOLDER
from bench.peers.floor import FloorPeer
from bench.peers.ours import Ours, OurServer
from bench.peers.report import machine
from bench.server import stop_on_sigterm
from domain import Vectors

SMALL, LARGE = "small", "large"
CHUNKS = {SMALL: 1_000, LARGE: 20_000}
EMBEDDED = 256
UPSERTS = 30
SEARCHES = 300
CROWD, CROWD_SECONDS, CROWD_TURNS = 16, 2.0, 3
INGESTED = 400
RESTARTS = 3

Connect = Callable[[], PeerConnection]


def main() -> None:
    options = _options()
    stop_on_sigterm()
    print(f"{machine()}", flush=True)
    ratios = _ratios(options.environments)
    rates = ingest.measure(INGESTED)
    run = KeptRun.now(ratios | {"ingest of text, to the bare embedder": rates.bare / rates.docs_a_second})
    is_worse = compare(run, last_kept())
    if options.keep:
        run.keep()
    raise SystemExit(int(is_worse))


def _ratios(environments: Path) -> dict[str, float]:
    source = OwnSource.embedded(EMBEDDED)
    with ExitStack() as stack:
        ours = stack.enter_context(Ours().opened(Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))))
        for namespace in CHUNKS:
            _fill(ours, source, namespace)
        ours.settle()
        quick = _QuickBench(ours, source)
        ratios = quick.upserts() | quick.hybrid()
        try:
            peer = FloorPeer(environments)
            print(f"floor: {peer.version()}", flush=True)
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
            return ratios | quick.beside(stack.enter_context(peer.opened(folder)))
        except Unavailable as reason:
            print(f"The floor is left out, and what is compared with it: {reason}")
            return ratios


@dataclass(frozen=True, slots=True)
class _QuickBench:
    ours: OurServer
    source: OwnSource

    def upserts(self) -> dict[str, float]:
        """Of new documents of one chunk, in turns."""
        times: dict[str, list[float]] = {name: [] for name in CHUNKS}
        connections = {name: self.ours.connect(name) for name in CHUNKS}
        for document in self.source.documents("upserted", UPSERTS, chunks=1):
            for name, connection in connections.items():
                times[name].append(_ms(connection.upsert([document])))
        return {"one-chunk upsert, large to small namespace": median(times[LARGE]) / median(times[SMALL])}

    def hybrid(self) -> dict[str, float]:
        connection = self.ours.connect(LARGE)
        queries = self.source.vectors(SEARCHES)
        words = [" ".join(text.split()[:6]) for text in self.source.passages[:SEARCHES]]
        dense = [connection.search(query) for query in queries]
        both = [connection.search(query, query=text) for query, text in zip(queries, words, strict=True)]
        return {"hybrid search to dense, 1 client": _in_turns(both, dense)}

    def beside(self, floor: PeerServer) -> dict[str, float]:
        """Searches of one client and of many, then restarts, each in turns with the floor."""
        connection = floor.connect()
        for batch in _batches(self.source, LARGE):
            connection.upsert(batch)()
        queries = self.source.vectors(SEARCHES)
        connects: tuple[Connect, Connect] = (lambda: self.ours.connect(LARGE), floor.connect)
        ours, bare = ([opened.search(query) for query in queries] for opened in (connect() for connect in connects))
        alone = _in_turns(ours, bare)
        counts: list[list[int]] = [[], []]
        for _ in range(CROWD_TURNS):
            for each, connect in zip(counts, connects, strict=True):
                each.append(len(crowd(connect, queries, clients=CROWD, seconds=CROWD_SECONDS)))
        again = ((server, connect) for server, connect in zip((self.ours, floor), connects, strict=True))
        restarts = [median(_restart(*each, queries[0]) for _ in range(RESTARTS)) for each in again]
        return {
            "search to floor, 1 client": alone,
            f"search to floor, {CROWD} clients": median(counts[1]) / median(counts[0]),
            "restart to first search, to floor": restarts[0] / restarts[1],
        }


def _batches(source: OwnSource, namespace: str) -> Iterator[list[OwnDocument]]:
    return source.batches(namespace, CHUNKS[namespace], per_doc=CHUNKS_PER_DOC, per_batch=PER_BATCH)


def _fill(ours: OurServer, source: OwnSource, namespace: str) -> None:
    print(f"filling the {namespace} namespace with {CHUNKS[namespace]:,} chunks", flush=True)
    for batch in _batches(source, namespace):
        ours.connect(namespace).upsert(batch)()


def _in_turns(calls: Sequence[PreparedCall], others: Sequence[PreparedCall]) -> float:
    """The ratio of the medians, after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for first in range(0, len(calls), PER_TURN):
        for each, sent in zip(times, (calls, others), strict=True):
            each += [_ms(call) for call in sent[first : first + PER_TURN]]
    return median(times[0][PER_TURN:]) / median(times[1][PER_TURN:])


def _restart(server: PeerServer, connect: Connect, query: Vectors) -> float:
    """Milliseconds from the start until a search is answered."""
    server.stop()

    def wake() -> None:
        server.start()
        connection = connect()
        assert len(connection.hits(connection.search(query)())) == TOP_K

    return _ms(wake)


def _ms(call: PreparedCall) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench quick", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="add the ratios to bench/history.jsonl")
    parser.add_argument("--environments", type=Path, default=FOLDER, help="folder of the floor's environment")
    return parser.parse_args()


if __name__ == "__main__":
    main()
