"""A server with one namespace of vectors of its own, which grows from size to size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.own import ExactAnswers, OwnSource
from bench.peers.contest import CHUNKS_PER_DOC, PER_BATCH
from bench.peers.ours import Ours, OurServer, as_base64
from bench.server import stop_on_sigterm

EMBEDDED = 256


@dataclass
class GrowingServer:
    """*documents* counts those that were sent; each has its number in its metadata. *seconds* went by in requests."""

    server: OurServer
    source: OwnSource
    truth: ExactAnswers = field(default_factory=ExactAnswers)
    documents: int = 0
    seconds: float = 0
    settle_seconds: float = 0

    def sizes(self, sizes: Sequence[int]) -> Iterator[int]:
        """Yields each size once the namespace has it and the worker has come to an end."""
        for size in sizes:
            self._grow(size - self.documents * CHUNKS_PER_DOC)
            yield size

    def _grow(self, chunks: int) -> None:
        connection, self.seconds = self.server.connect(), 0
        for batch in self.source.batches(f"at-{self.documents}", chunks, per_doc=CHUNKS_PER_DOC, per_batch=PER_BATCH):
            numbered = [
                replace(each, metadata={"number": self.documents + place, "percent": (self.documents + place) % 100})
                for place, each in enumerate(batch)
            ]
            send = connection.upsert(numbered)
            start = time.perf_counter()
            send()
            self.seconds += time.perf_counter() - start
            self.documents += len(batch)
            self.truth.add(numbered)
        start = time.perf_counter()
        self.server.settle()
        self.settle_seconds = time.perf_counter() - start


@contextmanager
def growing() -> Iterator[GrowingServer]:
    stop_on_sigterm()
    source = OwnSource.embedded(EMBEDDED)
    with TemporaryDirectory(prefix="bench-") as folder, Ours(written=as_base64).opened(Path(folder)) as server:
        yield GrowingServer(server, source)
