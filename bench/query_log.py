"""Search with its log on against off: ``python -m bench.query_log [--chunks 10000] [--turns 8]``.

Two servers of the same namespace, each on a database of its own, are asked in turns: on, off, off, on, … Between two
turns nobody is asked until what waits to be logged is written, so that the log of one is no load on the other. The
stored vectors are synthetic (bench/corpus.py), queries are embedded for real.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack

from bench.corpus import TENANT, Writer, fill, scratch
from bench.server import Client, client, p50_and_p95, percentile, request, served
from services.query_log import FLUSH_SECONDS

NAMESPACE = "logged"
TOP_K = 5
PAUSE_SECONDS = FLUSH_SECONDS + 0.5
WARM_UP = 20
WAYS = ("on", "off")


def main() -> None:
    options = _options()
    print(f"top_k {TOP_K}, {options.chunks:,} chunks, {options.turns} turns of {options.seconds:g} s. p50 / p95 in ms.")
    with ExitStack() as opened:
        ports = {way: _served(opened, way, options.chunks) for way in WAYS}
        times = _measure(ports, turns=options.turns, seconds=options.seconds)
        with client(ports["on"]) as asking:
            dropped = asking.get("/v1/health")["logs_dropped"]
            logged = sum(each["requests"] for each in asking.get("/v1/usage")["data"] if each["kind"] == "search")
    for way in WAYS:
        every = [took for turn in times[way] for took in turn]
        print(f"log {way:4} {p50_and_p95(every):>15}   {len(every)} searches")
    ratios = [percentile(on, 50) / percentile(off, 50) for on, off in zip(times["on"], times["off"], strict=True)]
    told = f"of the medians of two turns side by side: {min(ratios):.3f} to {max(ratios):.3f}"
    print(f"ratio {statistics.median(ratios):.3f} ({told}); {logged} searches logged, {dropped} dropped")


def _served(opened: ExitStack, way: str, chunks: int) -> int:
    """The port of a server with its log on or off."""
    folder, runtime = opened.enter_context(scratch())
    fill(runtime, NAMESPACE, chunks=chunks)
    return opened.enter_context(served(runtime.settings.model_copy(update={"query_log": way}), folder))


def _measure(ports: dict[str, int], *, turns: int, seconds: float) -> dict[str, list[list[float]]]:
    """Milliseconds of each search, turn by turn."""
    writer = Writer.seeded(1)
    times: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for turn in range(turns):
        for way in WAYS if turn % 2 == 0 else reversed(WAYS):
            times[way].append(_turn(ports[way], writer, seconds))
    return times


def _turn(port: int, writer: Writer, seconds: float) -> list[float]:
    with client(port) as asking:
        for _ in range(WARM_UP):
            _search(asking, writer)
        until = time.perf_counter() + seconds
        times = []
        while time.perf_counter() < until:
            times.append(_search(asking, writer))
    time.sleep(PAUSE_SECONDS)
    return times


def _search(asking: Client, writer: Writer) -> float:
    body = {"tenant_id": TENANT, "namespace": NAMESPACE, "query": writer.question(), "top_k": TOP_K}
    sent = request("POST", "/v1/search", body)
    start = time.perf_counter()
    asking.exchange(sent)
    return 1000 * (time.perf_counter() - start)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=10_000, help="size of the namespace")
    parser.add_argument("--turns", type=int, default=8, help="of each server")
    parser.add_argument("--seconds", type=float, default=4.0, help="per turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
