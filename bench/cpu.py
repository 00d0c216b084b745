"""What a request costs the API's process in processor time: ``python -m bench.cpu [--before COMMIT] [--traced]``.

Searches and one-chunk upserts with the client's own vectors, sent by one client and by many, in turns to this service,
to the floor (bench/peers) and, on demand, to the service as it was at a commit, and to one that traces every request.
Only the processor time of the API's process and of all its threads is counted, which a busy machine falsifies far less
than it does clocks.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread

from bench.own import OwnSource
from bench.peers.base import PeerConnection, PeerServer, PreparedCall
from bench.peers.contest import CHUNKS_PER_DOC, PER_BATCH
from bench.peers.environments import FOLDER
from bench.peers.floor import FloorPeer
from bench.peers.http import HttpProcess
from bench.peers.ours import OurConnection, Ours, as_base64
from bench.peers.report import circumstances
from bench.processes import cpu_seconds
from bench.server import ROOT, stop_on_sigterm
from domain import Vectors

EMBEDDED = 256
CROWD = 16
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
WARM_UP = 200

Calls = Sequence[Sequence[PreparedCall]]
"""The calls of each client."""


@dataclass(frozen=True, slots=True)
class MeasuredServer:
    """A server, the process of its API, and the milliseconds of each round by load."""

    name: str
    server: PeerServer
    process: HttpProcess
    costs: dict[str, list[float]] = field(default_factory=dict)

    def run(self, load: str, calls: Calls) -> None:
        count = sum(map(len, calls))
        before = cpu_seconds(self.process.pids())
        with ThreadPoolExecutor(len(calls)) as pool:
            list(pool.map(_send, calls))
        self.costs.setdefault(load, []).append(1000 * (cpu_seconds(self.process.pids()) - before) / count)

    def median(self, load: str) -> float | None:
        return median(self.costs[load]) if load in self.costs else None


def main() -> None:
    options = _options()
    stop_on_sigterm()
    source = OwnSource.embedded(EMBEDDED)
    with ExitStack() as stack:
        servers = [stack.enter_context(each) for each in _servers(options)]
        print(circumstances(), flush=True)
        for each in servers:
            _fill(each.server, source, options.chunks)
        for number in range(options.rounds + 1):
            for each in servers:
                for load, calls in _loads(
                    each.server, source, f"{number}", WARM_UP if not number else options.requests
                ):
                    each.run(load, calls)
        for each in servers:
            each.costs.update({load: costs[1:] for load, costs in each.costs.items()})
        _print(servers)


def _servers(options: argparse.Namespace) -> Iterator[AbstractContextManager[MeasuredServer]]:
    yield _ours("now", ROOT)
    if options.before is not None:
        yield _ours_before(options.before)
    if options.traced:
        yield _ours_traced()
    yield _floor(options.environments)


@contextmanager
def _ours(name: str, checkout: Path) -> Iterator[MeasuredServer]:
    with _scratch() as folder, Ours(checkout=checkout).opened(folder) as server:
        yield MeasuredServer(name, server, server.api)


@contextmanager
def _ours_before(commit: str) -> Iterator[MeasuredServer]:
    """The service of another commit, from a worktree of its own."""
    with _scratch() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder / "before"), commit], check=True)
        try:
            with _ours(commit, folder / "before") as measured:
                yield measured
        finally:
            subprocess.run([*git, "remove", "--force", str(folder / "before")], check=True)


@contextmanager
def _ours_traced() -> Iterator[MeasuredServer]:
    """Its spans go to a collector that keeps nothing."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as collector:
        Thread(target=collector.serve_forever, daemon=True).start()
        os.environ[ENDPOINT] = f"http://127.0.0.1:{collector.server_address[1]}"
        try:
            with _ours("traced", ROOT) as measured:
                del os.environ[ENDPOINT]
                yield measured
        finally:
            collector.shutdown()


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _floor(environments: Path) -> Iterator[MeasuredServer]:
    peer = FloorPeer(environments)
    peer.version()
    with _scratch() as folder, peer.opened(folder) as server:
        yield MeasuredServer("floor", server, server)


@contextmanager
def _scratch() -> Iterator[Path]:
    with TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def _fill(server: PeerServer, source: OwnSource, chunks: int) -> None:
    connection = server.connect()
    for batch in source.batches("filled", chunks, per_doc=CHUNKS_PER_DOC, per_batch=PER_BATCH):
        connection.upsert(batch)()
    connection.close()
    server.settle()


def _loads(server: PeerServer, source: OwnSource, prefix: str, requests: int) -> Iterator[tuple[str, Calls]]:
    """Ours also takes vectors as base64."""
    queries = source.vectors(requests)
    connections = [server.connect() for _ in range(CROWD)]
    yield from _searches("search", connections, queries)
    documents = source.documents(f"one-{prefix}", requests // 4, chunks=1)
    yield "upsert, 1 client", [[connections[0].upsert([each]) for each in documents]]
    ours = [each for each in connections if isinstance(each, OurConnection)]
    for each in ours:
        each.written = as_base64
    if ours:
        yield from _searches("search, base64", ours, queries)
    for connection in connections:
        connection.close()


def _searches(name: str, connections: Sequence[PeerConnection], queries: Vectors) -> Iterator[tuple[str, Calls]]:
    for clients in (1, CROWD):
        calls = [[each.search(query) for query in queries[n::clients]] for n, each in enumerate(connections[:clients])]
        yield f"{name}, {clients} client{'s' * (clients > 1)}", calls


def _send(calls: Sequence[PreparedCall]) -> None:
    for call in calls:
        call()


def _print(servers: Sequence[MeasuredServer]) -> None:
    """In Markdown; the ratio is this service's to the floor's."""
    print(f"| processor ms a request | {' | '.join(each.name for each in servers)} | to floor |")
    print("|---" * (len(servers) + 2) + "|")
    for load in servers[0].costs:
        values = [each.median(load) for each in servers]
        written = ["" if value is None else f"{value:.3f}" for value in values]
        ratio = f"{values[0] / values[-1]:.2f}" if values[0] and values[-1] else ""
        print(f"| {' | '.join([load, *written, ratio])} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", metavar="COMMIT", help="also measure the service as it was then")
    parser.add_argument("--traced", action="store_true", help="also measure the service with every request traced")
    parser.add_argument("--chunks", type=int, default=3_000)
    parser.add_argument("--requests", type=int, default=1_000, help="searches a round; a quarter as many upserts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--environments", type=Path, default=FOLDER, help="folder of the floor's environment")
    return parser.parse_args()


if __name__ == "__main__":
    main()
