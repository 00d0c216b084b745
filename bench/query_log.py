"""Search with its log on against off: ``python -m bench.query_log [--chunks 10000] [--requests 1500]``.

Servers with their log on and as many with it off, on a database of their own each kind, are asked by one client in
short turns. What else the machine does meets all of them. Two processes of the same kind differ by some percent, so
there are several of each. The log is written by a thread of the processes that have one: what it takes from their
searches is in the ratio; what it takes of the processor meets all, and is told beside it. The stored vectors are
synthetic (bench/corpus.py), queries are embedded for real.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.corpus import TENANT, Writer, fill, scratch
from bench.server import Client, client, p50_and_p95, percentile, request, served
from runtime import Runtime
from services.query_log import QueryLog
from services.search import Question

NAMESPACE = "logged"
TOP_K = 5
PROCESSES = 3
PER_TURN = 10
WARM_UP = 50
FLUSHED = 5000
WAYS = ("on", "off")


def main() -> None:
    options = _options()
    print(f"top_k {TOP_K}, {options.chunks:,} chunks, p50 / p95 in ms of one client")
    with ExitStack() as opened:
        on, off = (_asking(opened, way, options.chunks) for way in WAYS)
        asking = [*on, *off]
        times = _measure(asking, requests=options.requests)
        dropped = sum(each.get("/v1/health")["logs_dropped"] for each in asking)
    medians = {}
    for way, found in zip(WAYS, (times[:PROCESSES], times[PROCESSES:]), strict=True):
        alone = ", ".join(f"{percentile(each, 50):.2f}" for each in found)
        every = [took for each in found for took in each]
        medians[way] = percentile(every, 50)
        print(f"log {way:4} {p50_and_p95(every):>15}   (medians of each process: {alone})")
    logged = sum(map(len, times[:PROCESSES]))
    print(f"ratio {medians['on'] / medians['off']:.3f}; {logged} searches logged, {dropped} dropped")
    with scratch() as (_, runtime):
        fill(runtime, NAMESPACE, chunks=100)
        print("processor time per search, µs: {:.0f} to note it, {:.0f} to write it".format(*_costs(runtime)))


def _asking(opened: ExitStack, way: str, chunks: int) -> list[Client]:
    """Clients of servers with their log on or off."""
    folder, runtime = opened.enter_context(scratch())
    fill(runtime, NAMESPACE, chunks=chunks)
    settings = runtime.settings.model_copy(update={"query_log": way})
    clients = []
    for number in range(PROCESSES):
        (folder / str(number)).mkdir()
        port = opened.enter_context(served(settings, folder / str(number)))
        clients.append(opened.enter_context(client(port)))
    return clients


def _measure(asking: Sequence[Client], *, requests: int) -> list[list[float]]:
    """Milliseconds of each search, by whom was asked."""
    writer = Writer.seeded(1)
    times: list[list[float]] = [[] for _ in asking]
    order = list(range(len(asking)))
    for _ in range((WARM_UP + requests) // PER_TURN):
        writer.random.shuffle(order)
        for number in order:
            times[number] += [_search(asking[number], writer) for _ in range(PER_TURN)]
    return [measured[WARM_UP:] for measured in times]


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
    parser.add_argument("--requests", type=int, default=1500, help="to each process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
