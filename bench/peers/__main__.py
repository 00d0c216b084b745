"""Ours beside other stores, with the same texts and vectors: ``python -m bench.peers [--chunks 10000]``.

Chroma, txtai and the floor (a plain FastAPI service with a FAISS graph and SQLite, which promises nothing) are
installed from the package registry into environments of their own; Postgres with pgvector is the tests'. Who cannot be
installed is named and left out. All get their vectors from the client. Ingests run one after the other, everything else
in turns, all servers up. What is found is compared with an exact search. Only ratios within a run count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.own import OwnSource
from bench.peers.base import Peer, Unavailable
from bench.peers.chroma import Chroma
from bench.peers.contest import Contest, Contestant, ContestSize
from bench.peers.environments import FOLDER
from bench.peers.floor import FloorPeer
from bench.peers.ours import Ours, as_base64, as_json
from bench.peers.pgvector import Pgvector
from bench.peers.report import circumstances, table
from bench.peers.txtai import Txtai
from bench.server import stop_on_sigterm

NAMES = ("ours", "postgres", "chroma", "txtai", "pgvector", "floor")
EMBEDDED = 512


def main() -> None:
    options = _options()
    stop_on_sigterm()
    start = time.monotonic()
    source = OwnSource.embedded(EMBEDDED)
    with ExitStack() as stack:
        contestants = _opened(stack, [_peer(name, options) for name in options.only])
        size = ContestSize(options.chunks, options.singles, options.changes, options.queries, options.seconds)
        Contest(contestants, source, size).run()
        for each in contestants:
            each.connection.close()
    print(
        f"\n{options.chunks:,} chunks x {source.real.shape[1]}; {circumstances()}; {time.monotonic() - start:.0f} s\n"
    )
    print(table(contestants, ours="ours", floor="floor", over_http=("Chroma", "txtai")))


def _peer(name: str, options: argparse.Namespace) -> Peer:
    written = as_base64 if options.base64 else as_json
    peers: dict[str, Peer] = {
        "ours": Ours(written=written),
        "postgres": Ours(is_on_postgres=True, written=written),
        "chroma": Chroma(options.environments),
        "txtai": Txtai(options.environments),
        "pgvector": Pgvector(),
        "floor": FloorPeer(options.environments),
    }
    return peers[name]


def _opened(stack: ExitStack, peers: Sequence[Peer]) -> list[Contestant]:
    """Those that can be started, each on a temporary folder."""
    contestants = []
    for peer in peers:
        try:
            print(f"{peer.name}: {peer.version()}", flush=True)
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
            server = stack.enter_context(peer.opened(folder))
            contestants.append(Contestant(peer.name, server, server.connect()))
        except Unavailable as reason:
            print(f"{peer.name} is left out: {reason}", flush=True)
    return contestants


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=1152, help="of them in documents of one chunk")
    parser.add_argument("--changes", type=int, default=30, help="upserts at each size, and deletions")
    parser.add_argument("--queries", type=int, default=400, help="of one client")
    parser.add_argument("--seconds", type=float, default=9, help="that 4 and 16 clients ask each peer")
    parser.add_argument("--base64", action="store_true", help="send ours vectors in base64")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[name for name in NAMES if name != "postgres"])
    parser.add_argument("--environments", type=Path, default=FOLDER, help="folder of the peers' environments")
    return parser.parse_args()


if __name__ == "__main__":
    main()
