"""What keyword and hybrid searches cost beside dense ones: ``python -m bench.modes [--chunks 25000]``.

Two namespaces of the same size: passages that people wrote (bench/prose.py), and composed ones (bench/corpus.py), in
which every word of a question is in half of all chunks, as nowhere in life: the worst case. Vectors are synthetic,
questions are embedded for real. The modes are asked in turns, with the same questions. The steps are the server's own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from bench.corpus import TENANT, Writer, fill, fill_with, scratch
from bench.prose import passages
from bench.server import Client, client, p50_and_p95, percentile, request, served

TOP_K = 5
WARM_UP = 20
QUESTION_WORDS = (3, 12)
ASKED = {
    "dense": {"mode": "dense"},
    "keyword": {"mode": "keyword"},
    "hybrid": {"mode": "hybrid"},
    "hybrid, by document": {"mode": "hybrid", "group_by": "doc"},
}
STEPS = ("embed_ms", "index_ms", "keywords_ms", "fetch_ms")


@dataclass
class Timed:
    """Milliseconds: of requests, and of the server's steps."""

    http: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})

    def told(self, dense: float) -> str:
        steps = "".join(f"{percentile(values, 50):12.2f}" for values in self.steps.values())
        return f"{p50_and_p95(self.http):>16}{percentile(self.http, 50) / dense:10.2f}{steps}"


def main() -> None:
    options = _options()
    written = passages(options.chunks)
    with scratch() as (folder, runtime):
        print(f"filling two namespaces with {options.chunks:,} chunks", flush=True)
        fill_with(runtime, "prose", written)
        fill(runtime, "composed", chunks=options.chunks)
        with served(runtime.settings, folder) as port, client(port) as asking:
            print(f"{'ms, p50 / p95':32}{'':>16}{'to dense':>10}" + "".join(f"{step[:-3]:>12}" for step in STEPS))
            _report(asking, "prose", _from(written), options.requests)
            _report(asking, "composed", Writer.seeded(1).question, options.requests)


def _from(written: list[str]) -> Callable[[], str]:
    """Some words of one of the passages, in their order."""
    rng = Random(1)

    def question() -> str:
        words = rng.choice(written).split()
        count = rng.randint(*QUESTION_WORDS)
        start = rng.randrange(len(words) - count)
        return " ".join(words[start : start + count])

    return question


def _report(asking: Client, namespace: str, question: Callable[[], str], requests: int) -> None:
    timed = {name: Timed() for name in ASKED}
    for number in range(WARM_UP + requests):
        told = question()
        for name, took, steps in _turn(asking, namespace, told):
            if number >= WARM_UP:
                timed[name].http.append(took)
                for step in STEPS:
                    timed[name].steps[step].append(steps.get(step, 0.0))
    dense = percentile(timed["dense"].http, 50)
    for name, each in timed.items():
        print(f"{f'{namespace}, {name}':32}{each.told(dense)}", flush=True)


def _turn(asking: Client, namespace: str, question: str) -> Iterator[tuple[str, float, dict[str, float]]]:
    place = {"tenant_id": TENANT, "namespace": namespace, "query": question, "top_k": TOP_K, "explain": True}
    for name, asked in ASKED.items():
        sent = request("POST", "/v1/search", {**place, **asked})
        start = time.perf_counter()
        body = asking.exchange(sent)
        took = 1000 * (time.perf_counter() - start)
        yield name, took, json.loads(body)["timings"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=25_000, help="of each namespace")
    parser.add_argument("--requests", type=int, default=200, help="of each mode and namespace")
    return parser.parse_args()


if __name__ == "__main__":
    main()
