"""From the start of a process to its first answer: ``python -m bench.restart [--chunks 1000 20000]``.

The API and the worker are stopped and started, over one namespace of growing size. Medians, in seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

from bench.growing import growing
from bench.own import TOP_K
from bench.peers.ours import OurServer
from bench.peers.report import circumstances
from domain import Vectors

AGAIN = 5
GIVE_UP_SECONDS = 60.0


def main() -> None:
    options = _options()
    with growing() as grown:
        print(circumstances())
        print(f"{'chunks':>10} {'port open':>10} {'first search':>13} {'model ready':>12}")
        for size in grown.sizes(options.chunks):
            query = grown.source.vectors(1)[0]
            times = [_restart(grown.server, query) for _ in range(AGAIN)]
            port, search, model = (median(each) for each in zip(*times, strict=True))
            print(f"{size:10,} {port:10.2f} {search:13.2f} {model:12.2f}", flush=True)


def _restart(server: OurServer, query: Vectors) -> tuple[float, float, float]:
    """Seconds until the port takes connections, a search with a vector is answered, and texts can be embedded."""
    server.stop()
    start = time.perf_counter()
    server.start()
    port = time.perf_counter() - start
    connection = server.connect()
    assert len(connection.hits(connection.search(query)())) == TOP_K
    search = time.perf_counter() - start
    _until(lambda: connection.session.get("/v1/health")["model"] == "ready")
    connection.close()
    return port, search, time.perf_counter() - start


def _until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "the model is not loaded"
        time.sleep(0.02)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1_000, 20_000], help="growing sizes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
