"""What the API and the worker hold, at growing sizes: ``python -m bench.memory [--chunks 1000 20000 60000]``.

Proportional set sizes, so pages that both share count once; the worker's peak is the largest resident set it ever had,
and is compared with the index files that it built.
"""

from __future__ import annotations

import argparse

from bench.growing import GrowingServer, growing
from bench.peers.report import circumstances
from bench.processes import disk_bytes, memory_mb, peak_mb

SEARCHES = 100
MEGABYTE = 1 << 20


def main() -> None:
    options = _options()
    with growing() as grown:
        print(circumstances())
        print(
            f"{'chunks':>10} {'API MB':>8} {'worker MB':>10} {'its peak':>9} {'indexes MB':>11} {'bytes a chunk':>14}"
        )
        for size in grown.sizes(options.chunks):
            connection = grown.server.connect()
            for query in grown.source.vectors(SEARCHES):
                connection.search(query)()
            connection.close()
            _print(grown, size)


def _print(grown: GrowingServer, size: int) -> None:
    server = grown.server
    api, worker = memory_mb(server.api.pids()), memory_mb([server.worker.pid])
    indexes = disk_bytes(server.settings.index_dir) / MEGABYTE
    a_chunk = server.disk() / size
    print(
        f"{size:10,} {api:8.0f} {worker:10.0f} {peak_mb(server.worker.pid):9.0f} {indexes:11.1f} {a_chunk:14.0f}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1_000, 20_000, 60_000], help="growing sizes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
