"""An asynchronous batch through one worker against the bare embedder: ``python -m bench.ingest [--docs 2000]``.

Documents of one chunk are sent over HTTP with async_mode; a real worker process, started as the README starts it,
embeds and publishes them. The clock runs from the first request until the last job is completed. The floor is the
same embedder on a share of the same texts, in this process, before and after, while the worker waits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.corpus import TENANT, Writer, scratch
from bench.server import KeepAliveClient, client, running, served
from runtime.parts import Runtime
from services.index.pacing import MOST_TEXTS

NAMESPACE = "ingested"
DOCS_PER_REQUEST = 1000
FLOOR_TEXTS = 512
GIVE_UP_SECONDS = 600.0
WORKER = ("worker.py", "--poll-interval", "0.2")


@dataclass(frozen=True, slots=True)
class IngestRates:
    """Seconds until the documents were accepted and searchable, and the embedder's chunks a second before and after."""

    docs: int
    accepted: float
    searchable: float
    before: float
    after: float

    @property
    def docs_a_second(self) -> float:
        return self.docs / self.searchable

    @property
    def bare(self) -> float:
        return (self.before + self.after) / 2


def main() -> None:
    rates = measure(_options().docs)
    times = f"accepted after {rates.accepted:.2f} s, found after {rates.searchable:.1f} s"
    print(f"{rates.docs:,} documents of one chunk: {times}")
    print(f"one worker: {rates.docs_a_second:.1f} documents a second")
    around = f"({rates.before:.1f} before, {rates.after:.1f} after)"
    print(f"floor, the bare embedder: {rates.bare:.1f} chunks a second {around}")
    print(f"the worker reaches {rates.docs_a_second / rates.bare:.2f} of the floor")


def measure(docs: int) -> IngestRates:
    writer = Writer.seeded(20)
    texts = [writer.paragraph() for _ in range(docs)]
    with (
        scratch() as (folder, runtime),
        served(runtime.settings, folder) as port,
        running(WORKER, runtime.settings, folder / "worker.log"),
    ):
        _ingest(port, [writer.paragraph()], "warm-up")
        before = _bare_rate(runtime, texts)
        accepted, searchable = _ingest(port, texts, "doc")
        after = _bare_rate(runtime, texts)
    return IngestRates(docs, accepted, searchable, before, after)


def _ingest(port: int, texts: Sequence[str], name: str) -> tuple[float, float]:
    """Seconds until the last request was answered, and until the last job was completed."""
    with client(port) as session:
        start = time.perf_counter()
        jobs = [_send(session, texts, first, name) for first in range(0, len(texts), DOCS_PER_REQUEST)]
        accepted = time.perf_counter() - start
        for job_id in jobs:
            _wait(session, job_id)
        return accepted, time.perf_counter() - start


def _send(session: KeepAliveClient, texts: Sequence[str], first: int, name: str) -> str:
    place = {"tenant_id": TENANT, "namespace": NAMESPACE}
    sample = texts[first : first + DOCS_PER_REQUEST]
    docs = [{**place, "doc_id": f"{name}-{first + number}", "text": text} for number, text in enumerate(sample)]
    job_id: str = session.post("/v1/docs/upsert/batch", {"docs": docs, "async_mode": True})["job_id"]
    return job_id


def _wait(session: KeepAliveClient, job_id: str) -> None:
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while (job := session.get(f"/v1/jobs/{job_id}"))["status"] != "completed":
        assert job["status"] in ("pending", "running"), job
        assert time.monotonic() < give_up, job
        time.sleep(0.2)


def _bare_rate(runtime: Runtime, texts: Sequence[str]) -> float:
    embedder = runtime.index.embedding.embedder(runtime.index.embedding.version)
    sample = texts[:FLOOR_TEXTS]
    embedder.embed_documents(sample[:16])
    start = time.perf_counter()
    for first in range(0, len(sample), MOST_TEXTS):
        embedder.embed_documents(sample[first : first + MOST_TEXTS])
    return len(sample) / (time.perf_counter() - start)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--docs", type=int, default=2000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
