"""One-document upserts into a small and a large namespace: ``python -m bench.upsert [--chunks 500 50000]``.

In turns, over HTTP, into namespaces of one database. What an upsert costs must depend on the document, not on how
much there is: the ratio of the medians has to stay below MAX_RATIO. Two kinds of document: a new one, whose chunks
are embedded, and a copy of it under another doc_id, whose vectors are there already: the service without the model.
The floor is the embedding of the same chunks and one commit of the same bytes in SQLite, set up the same way, on the
same disk. No request may write a file of the index folder: it is listed before and after. Stored vectors of the
namespaces are synthetic (bench/corpus.py), those of the upserts are real.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.corpus import TENANT, Writer, fill, scratch
from bench.server import KeepAliveClient, client, p50_and_p95, percentile, request, served
from engines.embedders.base import Embedder
from runtime.parts import Runtime

PARAGRAPHS = 3
MAX_RATIO = 1.5
WARM_UP = 5

Listing = dict[str, tuple[int, int, int]]


def main() -> None:
    options = _options()
    print("Stored vectors are synthetic, those of the upserts are real. Times in ms, p50 / p95.")
    with scratch() as (folder, runtime):
        for chunks in options.chunks:
            print(f"filling a namespace with {chunks:,} chunks", flush=True)
            fill(runtime, _name(chunks), chunks=chunks)
        with served(runtime.settings, folder) as port, client(port) as session, _disk(folder) as commit:
            embedder = runtime.index.embedding.embedder(runtime.index.embedding.version)
            _UpsertBench(session, embedder, commit, Writer.seeded(10)).report(runtime, options)


@dataclass
class UpsertTimes:
    """Milliseconds, of one namespace."""

    new: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)
    first_search: list[float] = field(default_factory=list)
    next_search: list[float] = field(default_factory=list)


@dataclass
class _UpsertBench:
    session: KeepAliveClient
    embedder: Embedder
    commit: Callable[[str], None]
    writer: Writer
    count: int = 0

    def report(self, runtime: Runtime, options: argparse.Namespace) -> None:
        before = _listing(runtime.settings.index_dir)
        measured, embedding, committing = self._measure(options.chunks, options.rounds)
        after = _listing(runtime.settings.index_dir)
        print(f"{self.count:,} upserts of {PARAGRAPHS} chunks each, in turns\n")
        _print_table(measured)
        print(f"\n{'floor: the embedding':40} {p50_and_p95(embedding):>17}")
        print(f"{'floor: a commit of the same bytes':40} {p50_and_p95(committing):>17}")
        _print_ratios(measured, percentile(embedding, 50), percentile(committing, 50))
        same = "none was written or touched" if before == after else f"CHANGED: {before} -> {after}"
        print(f"index folder before and after (inode, mtime, size of {len(before)} files): {same}")

    def _measure(self, sizes: list[int], rounds: int) -> tuple[dict[int, UpsertTimes], list[float], list[float]]:
        for chunks in WARM_UP * sizes:
            self._turn(_name(chunks), UpsertTimes())
        measured: dict[int, UpsertTimes] = {chunks: UpsertTimes() for chunks in sizes}
        embedding: list[float] = []
        committing: list[float] = []
        for _ in range(rounds):
            for chunks in sizes:
                self._turn(_name(chunks), measured[chunks])
            text = self.writer.document(PARAGRAPHS)
            embedding.append(_ms(lambda text=text: self.embedder.embed_documents(text.split("\n\n"))))  # type: ignore[misc]
            committing.append(_ms(lambda text=text: self.commit(text)))  # type: ignore[misc]
        return measured, embedding, committing

    def _turn(self, namespace: str, measured: UpsertTimes) -> None:
        text = self.writer.document(PARAGRAPHS)
        took, answer = self._upsert(namespace, text)
        assert answer["chunks_embedded"] == PARAGRAPHS, answer
        measured.new.append(took)
        measured.first_search.append(self._search(namespace))
        measured.next_search.append(self._search(namespace))
        took, answer = self._upsert(namespace, text)
        assert answer["chunks_reused"] == PARAGRAPHS, answer
        measured.copy.append(took)
        self._search(namespace)  # so that the next first search catches up with one upsert, too

    def _upsert(self, namespace: str, text: str) -> tuple[float, Any]:
        self.count += 1
        doc = {"tenant_id": TENANT, "namespace": namespace, "doc_id": f"upserted-{self.count}", "text": text}
        return _timed(lambda: self.session.post("/v1/docs/upsert", doc))

    def _search(self, namespace: str) -> float:
        body = {"tenant_id": TENANT, "namespace": namespace, "query": self.writer.question(), "mode": "dense"}
        content = request("POST", "/v1/search", body)
        return _ms(lambda: self.session.exchange(content))


def _print_table(measured: dict[int, UpsertTimes]) -> None:
    columns = ("new", "copy", "first search after", "next search")
    print(f"{'namespace':20} " + " ".join(f"{column:>20}" for column in columns))
    for chunks, of in measured.items():
        columns_of_times = (of.new, of.copy, of.first_search, of.next_search)
        print(f"{f'{chunks:,} chunks':20} " + " ".join(f"{p50_and_p95(each):>20}" for each in columns_of_times))


def _print_ratios(measured: dict[int, UpsertTimes], embedding: float, committing: float) -> None:
    small, large = measured[min(measured)], measured[max(measured)]
    for kind, floor in (("new", embedding + committing), ("copy", committing)):
        less, more = (percentile(getattr(each, kind), 50) for each in (small, large))
        verdict = "ok" if more / less < MAX_RATIO else "TOO MUCH"
        print(f"{kind}: large to small {more / less:.2f} ({verdict}: below {MAX_RATIO}); to floor {more / floor:.2f}")


def _listing(folder: Path) -> Listing:
    stats = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


@contextmanager
def _disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """A database of its own on the same disk, as durable as the service's."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("CREATE TABLE documents (text TEXT, chunks TEXT, vectors BLOB)")

    def commit(text: str) -> None:
        connection.execute("INSERT INTO documents VALUES (?, ?, ?)", (text, text, bytes(PARAGRAPHS * 4 * 384)))

    try:
        yield commit
    finally:
        connection.close()


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - start), result


def _ms(work: Callable[[], object]) -> float:
    return _timed(work)[0]


def _name(chunks: int) -> str:
    return f"of-{chunks}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[500, 50_000], help="sizes of the namespaces")
    parser.add_argument("--rounds", type=int, default=60, help="upserts of each kind, per namespace")
    return parser.parse_args()


if __name__ == "__main__":
    main()
