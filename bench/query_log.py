"""Search with its log on against off: ``python -m bench.query_log [--chunks 10000] [--turns 20]``.

One server is measured in turns, its log switched on and off between them: two equal processes differ by up to
a tenth, which would hide the difference. After a turn with the log on, no request is sent until it is written, so that
each turn pays for its own. Stored vectors are synthetic (bench/corpus.py), queries are embedded for real.
"""

from __future__ import annotations

import argparse
import time

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app_v1 import create_app
from bench.corpus import TENANT, Writer, fill, scratch
from bench.server import KeepAliveClient, client, p50_and_p95, percentile, request, served
from runtime.parts import Runtime
from services.answers.query_log import FLUSH_SECONDS, QueryLog
from services.search.question import Question

NAMESPACE = "logged"
SWITCH = "/bench/log/"
TOP_K = 5
WARM_UP = 200
COSTED = 5000
WAYS = ("on", "off")


def main() -> None:
    options = _options()
    print(f"top_k {TOP_K}, {options.chunks:,} chunks, one client, {options.requests} requests a turn; p50 / p95 in ms")
    with scratch() as (folder, runtime):
        fill(runtime, NAMESPACE, chunks=options.chunks)
        with served(runtime.settings, folder, app="bench.query_log:app") as port, client(port) as session:
            times = _measure(session, turns=options.turns, requests=options.requests)
            dropped = session.get("/v1/health")["logs_dropped"]
        noting, writing = _costs(runtime)
    for way in WAYS:
        print(f"log {way:4} {p50_and_p95(times[way]):>15}")
    ratio = percentile(times["on"], 50) / percentile(times["off"], 50)
    print(f"ratio of the medians {ratio:.3f}; {len(times['on'])} searches logged, {dropped} dropped")
    print(f"processor time per search: {noting:.0f} µs to note it, {writing:.0f} µs to write it later")


class Switchable:
    """The service, with a switch for its log."""

    def __init__(self, service: ASGIApp) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(SWITCH):
            await self.service(scope, receive, send)
            return
        scope["state"]["runtime"].query_log.is_on = scope["path"] == f"{SWITCH}on"
        await Response("{}")(scope, receive, send)


app = Switchable(create_app())


def _measure(session: KeepAliveClient, *, turns: int, requests: int) -> dict[str, list[float]]:
    """Milliseconds of each search."""
    writer = Writer.seeded(1)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(WARM_UP):
        _search(session, writer)
    for turn in range(turns):
        for way in WAYS if turn % 2 == 0 else reversed(WAYS):
            time.sleep(FLUSH_SECONDS + 0.5)
            session.get(f"{SWITCH}{way}")
            times[way] += [_search(session, writer) for _ in range(requests)]
    return times


def _search(session: KeepAliveClient, writer: Writer) -> float:
    body = {"tenant_id": TENANT, "namespace": NAMESPACE, "query": writer.question(), "top_k": TOP_K, "mode": "dense"}
    content = request("POST", "/v1/search", body)
    start = time.perf_counter()
    session.exchange(content)
    return 1000 * (time.perf_counter() - start)


def _costs(runtime: Runtime) -> tuple[float, float]:
    """Microseconds, by search: of what a search does, and of what the log's thread does later."""
    question = Question(TENANT, NAMESPACE, "Which meter?", TOP_K)
    answer = runtime.search.searching.search(question)
    query_log = QueryLog(runtime.database, is_on=True, keeps_text=False)
    start = time.process_time()
    for _ in range(COSTED):
        query_log.add_search(question, answer, latency_ms=1)
    noted = time.process_time()
    query_log.flush()
    return (noted - start) * 1e6 / COSTED, (time.process_time() - noted) * 1e6 / COSTED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=10_000, help="size of the namespace")
    parser.add_argument("--turns", type=int, default=20, help="with the log on, and as many with it off")
    parser.add_argument("--requests", type=int, default=200, help="per turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
