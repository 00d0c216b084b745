"""Search with its log on against off: ``python -m bench.query_log [--chunks 10000] [--requests 4000]``.

Two servers of the same namespace, each a process on a database of its own, are asked by one client in short turns: on,
off, off, on, … What else the machine does meets both. The log is written by a thread of the one process alone, so what
it takes from searches there is in the ratio; what it takes of the processor meets both, and is told beside it. The
stored vectors are synthetic (bench/corpus.py), queries are embedded for real.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack

from bench.corpus import TENANT, Writer, fill, scratch
from bench.server import Client, client, p50_and_p95, percentile, request, served
from runtime import Runtime
from services.query_log import QueryLog
from services.search import Question

NAMESPACE = "logged"
TOP_K = 5
PER_TURN = 10
WARM_UP = 50
FLUSHED = 5000
WAYS = ("on", "off")


def main() -> None:
    options = _options()
    print(f"top_k {TOP_K}, {options.chunks:,} chunks, p50 / p95 in ms of one client")
    with ExitStack() as opened:
        asking = {way: _asking(opened, way, options.chunks) for way in WAYS}
        times = _measure(asking, requests=options.requests)
        dropped = asking["on"].get("/v1/health")["logs_dropped"]
    for way in WAYS:
        print(f"log {way:4} {p50_and_p95(times[way]):>15}")
    ratio = percentile(times["on"], 50) / percentile(times["off"], 50)
    print(f"ratio of the medians {ratio:.3f}; {len(times['on'])} searches logged, {dropped} dropped")
    with scratch() as (_, runtime):
        fill(runtime, NAMESPACE, chunks=100)
        print("processor time per search, µs: {:.0f} to note it, {:.0f} to write it".format(*_costs(runtime)))


def _asking(opened: ExitStack, way: str, chunks: int) -> Client:
    """A client of a server with its log on or off."""
    folder, runtime = opened.enter_context(scratch())
    fill(runtime, NAMESPACE, chunks=chunks)
    settings = runtime.settings.model_copy(update={"query_log": way})
    return opened.enter_context(client(opened.enter_context(served(settings, folder))))


def _measure(asking: dict[str, Client], *, requests: int) -> dict[str, list[float]]:
    """Milliseconds of each search."""
    writer = Writer.seeded(1)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range((WARM_UP + requests) // PER_TURN):
        for way in WAYS if turn % 2 == 0 else reversed(WAYS):
            times[way] += [_search(asking[way], writer) for _ in range(PER_TURN)]
    return {way: measured[WARM_UP:] for way, measured in times.items()}


def _search(asking: Client, writer: Writer) -> float:
    body = {"tenant_id": TENANT, "namespace": NAMESPACE, "query": writer.question(), "top_k": TOP_K}
    sent = request("POST", "/v1/search", body)
    start = time.perf_counter()
    asking.exchange(sent)
    return 1000 * (time.perf_counter() - start)


def _costs(runtime: Runtime) -> tuple[float, float]:
    """Microseconds, by search: of what a search does, and of what the log's thread does later."""
    question = Question(TENANT, NAMESPACE, "Which meter?", TOP_K)
    answer = runtime.searching.search(question)
    query_log = QueryLog(runtime.database, is_on=True, keeps_text=False)
    start = time.process_time()
    for _ in range(FLUSHED):
        query_log.searched(question, answer, latency_ms=1)
    noted = time.process_time()
    query_log.flush()
    return (noted - start) * 1e6 / FLUSHED, (time.process_time() - noted) * 1e6 / FLUSHED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=10_000, help="size of the namespaces")
    parser.add_argument("--requests", type=int, default=4000, help="to each server")
    return parser.parse_args()


if __name__ == "__main__":
    main()
