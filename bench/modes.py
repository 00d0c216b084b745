"""Measures keyword and hybrid searches against dense ones. Part of ``python -m bench.search``.

Two namespaces of the same size: passages of real prose (bench/prose.py), and generated ones (bench/corpus.py), where
every word of a query is in half of all chunks: the worst case. Stored vectors are synthetic, queries are really
embedded. The modes take turns with the same queries. The steps are the server's own timings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.corpus import TENANT
from bench.server import KeepAliveClient, client, p50_and_p95, percentile, request

TOP_K = 5
WARM_UP = 20
BODIES = {
    "dense": {"mode": "dense"},
    "keyword": {"mode": "keyword"},
    "hybrid": {"mode": "hybrid"},
    "hybrid, by document": {"mode": "hybrid", "group_by": "doc"},
}
STEPS = ("embed_ms", "index_ms", "keywords_ms", "fetch_ms")
HEADINGS = f"{'HTTP':>15} {'ratio':>7}  " + "  ".join(f"{step[:-3]:>8}" for step in STEPS)


@dataclass
class ModeTimes:
    """Milliseconds: of requests, and of the server's steps."""

    http: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})

    def line(self, dense: float) -> str:
        steps = "  ".join(f"{percentile(values, 50):8.2f}" for values in self.steps.values())
        return f"{p50_and_p95(self.http):>15} {percentile(self.http, 50) / dense:7.2f}  {steps}"


def report(port: int, namespace: str, question: Callable[[], str], *, requests: int, name: str) -> None:
    """A line for each mode; *name* is what the lines call the namespace."""
    timed = {mode: ModeTimes() for mode in BODIES}
    with client(port) as session:
        for number in range(WARM_UP + requests):
            for mode, took, steps in _turn(session, namespace, question()):
                if number >= WARM_UP:
                    timed[mode].http.append(took)
                    for step in STEPS:
                        timed[mode].steps[step].append(steps.get(step, 0.0))
    dense = percentile(timed["dense"].http, 50)
    for mode, mode_times in timed.items():
        print(f"{f'{name}, {mode}':40} {mode_times.line(dense)}", flush=True)


def _turn(session: KeepAliveClient, namespace: str, question: str) -> Iterator[tuple[str, float, dict[str, float]]]:
    place = {"tenant_id": TENANT, "namespace": namespace, "query": question, "top_k": TOP_K, "explain": True}
    for mode, options in BODIES.items():
        content = request("POST", "/v1/search", {**place, **options})
        start = time.perf_counter()
        body = session.exchange(content)
        took = 1000 * (time.perf_counter() - start)
        yield mode, took, json.loads(body)["timings"]
