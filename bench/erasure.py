"""Erasing thousands of documents while others write: ``python -m bench.erasure [--docs 5000] [--chunks 100000]``.

Prints the longest wait of another tenant's writer, before and during the erasure; then kills the worker at random
moments of further erasures, and looks for what each erased in every byte of the data folder. Vectors are synthetic and
come with the chunks, so nothing is embedded.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import numpy as np

from bench.corpus import Writer, settings_in
from bench.server import stop_on_sigterm
from domain import Json
from runtime.opening import open_runtime
from runtime.parts import Runtime
from services.erasure.requests import ErasureRequest
from services.ingest.drafts import NewDoc, OwnChunk
from settings import Settings

CHUNKS_PER_DOC, DOCS_PER_BATCH, DIMENSION = 10, 100, 384
QUIET_SECONDS, WRITER_PAUSE_SECONDS = 10.0, 0.02
DOCS_PER_KILL = 40
OWN, OTHERS = "erased", "others"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--docs", type=int, default=5000)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="bench-") as name:
        stop_on_sigterm()
        settings = _settings(Path(name))
        with open_runtime(settings) as runtime:
            _fill(runtime, options.chunks // CHUNKS_PER_DOC, "word", options.seed)
            print(f"{options.chunks} chunks, {_size_mb(Path(name)):.0f} MB", flush=True)
            _erase_under_load(runtime, options.docs)
            _kill(runtime, Path(name), options.kills, random.Random(options.seed))


def _settings(folder: Path) -> Settings:
    paths = {"blob_store_url": f"file://{folder}/raw_files", "receipt_key_file": folder / "receipt_key"}
    changed = {"job_lease_seconds": 2.0, "worker_nice": 0, "index_exact_up_to": 1_000_000}
    return settings_in(folder).model_copy(update={**paths, **changed})


def _fill(runtime: Runtime, docs: int, word: str, seed: int) -> None:
    writer, generator = Writer.seeded(seed), np.random.default_rng(seed)
    for start in range(0, docs, DOCS_PER_BATCH):
        numbers = range(start, min(docs, start + DOCS_PER_BATCH))
        runtime.ingest.documents.upsert([_doc(f"{word}-{n}", f"{word}{n}", writer, generator) for n in numbers])
    runtime.ingest.jobs.rebuild(OWN, OWN, reembed=False, new_version=None)
    with _worker(runtime.settings):
        while runtime.queue.stats()["pending"] + runtime.queue.stats()["running"]:
            time.sleep(0.2)


def _doc(doc_id: str, word: str, writer: Writer, generator: np.random.Generator) -> NewDoc:
    chunks = []
    for _ in range(CHUNKS_PER_DOC):
        vector = generator.standard_normal(DIMENSION, np.float32)
        chunks.append(OwnChunk(f"{word} {writer.sentence()}", None, (vector / np.linalg.norm(vector)).tobytes()))
    return NewDoc(OWN, OWN, doc_id, "", {"word": word}, chunks=tuple(chunks))


def _erase_under_load(runtime: Runtime, docs: int) -> None:
    with _writing(runtime) as quiet:
        time.sleep(QUIET_SECONDS)
    print(f"nobody erases:  {_waits(quiet)}", flush=True)
    started = time.monotonic()
    with _writing(runtime) as busy, _worker(runtime.settings):
        ids = [f"word-{number}" for number in range(docs)]
        receipt = _completed(runtime, ids)
    print(f"{docs} documents are erased in {time.monotonic() - started:.1f} s: {_waits(busy)}", flush=True)
    erased = {each["store"]: each["erased"] for each in receipt["stores"] if each["erased"]}
    print(f"receipt {receipt['number']}: {erased}, left {sum(each['left'] for each in receipt['stores'])}", flush=True)


def _kill(runtime: Runtime, folder: Path, kills: int, chance: random.Random) -> None:
    """Each erasure is killed once, somewhere in the time that the one before it took."""
    took, complete = 2.0, 0
    for number in range(kills):
        word = f"kill{number:02d}x"
        _fill(runtime, DOCS_PER_KILL, word, seed=1000 + number)
        ids = [f"{word}-{each}" for each in range(DOCS_PER_KILL)]
        erasure = runtime.erasure.requests.accept(ErasureRequest(tenant_id=OWN, namespace=OWN, doc_ids=ids))
        with _worker(runtime.settings) as process:
            time.sleep(chance.uniform(0.5, 0.5 + took))
            process.kill()
        started = time.monotonic()
        with _worker(runtime.settings):
            _await(runtime, erasure.erasure_id)
        took = min(max(time.monotonic() - started, 0.5), 5.0)
        copies = _copies(folder, word)
        complete += not copies
        if copies:
            print(f"after kill {number}: {copies}", flush=True)
    print(f"{complete} of {kills} killed erasures left no byte", flush=True)


def _completed(runtime: Runtime, doc_ids: list[str]) -> Json:
    accepted = runtime.erasure.requests.accept(ErasureRequest(tenant_id=OWN, namespace=OWN, doc_ids=doc_ids))
    return _await(runtime, accepted.erasure_id)


def _await(runtime: Runtime, erasure_id: str) -> Json:
    while True:
        info = runtime.erasure.ledger.get(erasure_id)
        if info.receipt is not None:
            return info.receipt
        if info.status == "failed":
            sys.exit(f"the erasure failed: job {info.job_id}")
        time.sleep(0.1)


@contextmanager
def _writing(runtime: Runtime) -> Iterator[list[float]]:
    """Another tenant's writer, which upserts a document again and again. Yields how long each took."""
    waits: list[float] = []
    ended = Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            vector = np.eye(8, dtype="<f4")[number % 8].tobytes()
            doc = NewDoc(
                OTHERS, OTHERS, f"doc-{number % 100}", "", {}, chunks=(OwnChunk(f"Text {number}.", None, vector),)
            )
            started = time.monotonic()
            runtime.ingest.documents.upsert([doc])
            waits.append(time.monotonic() - started)
            time.sleep(WRITER_PAUSE_SECONDS)

    thread = Thread(target=write, name="writer")
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


@contextmanager
def _worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    changed = settings.model_dump(exclude_defaults=True, exclude={"embed_api_key"})
    environment = {**os.environ, **{name.upper(): str(value) for name, value in changed.items()}}
    command = [sys.executable, str(Path(__file__).parents[1] / "worker.py"), "--poll-interval", "0.05"]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _waits(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(0.99 * (len(ordered) - 1))]
    return (
        f"{len(ordered)} writes, p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms, longest {1000 * ordered[-1]:.0f} ms"
    )


def _copies(folder: Path, word: str) -> list[str]:
    """In another process: closing a file that SQLite has open here would drop this process's locks on it."""
    search = subprocess.run(["grep", "-rlaiF", "--", word, str(folder)], capture_output=True, text=True, check=False)
    return search.stdout.splitlines()


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


if __name__ == "__main__":
    main()
