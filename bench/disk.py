"""Bytes on disk a chunk, part by part: ``python -m bench.disk [--chunks 10000] [--per-document 1 20]``.

Texts are passages of real prose (bench/prose.py), as chunks with synthetic vectors. SQLite's own statistics say which
table or index has how many pages, with what is free in them; *text* is the chunks' text itself, which no store is
without. What is counted is a database in use, without VACUUM; --detail lists every table and index.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sqlalchemy import text

from bench import prose
from bench.corpus import TENANT, settings_in
from bench.processes import disk_bytes
from bench.server import stop_on_sigterm
from handlers import HANDLERS
from runtime.opening import open_runtime
from runtime.parts import Runtime
from services.ingest.drafts import NewDoc, OwnChunk
from services.ingest.own_chunks import unit_vector
from worker import Worker

NAMESPACE = "prose"
DIMENSION = 384
CHUNKS_PER_BATCH = 500
FORMS = ("off", "zstd")
"""Of TEXT_COMPRESSION."""
PARTS = {
    "revisions": ("revisions",),
    "chunks": ("chunks",),
    "words": ("keywords", "keyword_lexemes"),
    "vectors": ("embeddings",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--per-document", type=int, nargs="+", default=[1, 20], help="chunks per document")
    parser.add_argument("--detail", action="store_true", help="every table and index")
    options = parser.parse_args()
    stop_on_sigterm()
    texts = prose.passages(options.chunks)
    text_bytes = sum(len(each.encode()) for each in texts)
    for per_document in options.per_document:
        measured = [_measure(texts, per_document, form) for form in FORMS]
        _show([each if options.detail else _by_part(each) for each in measured], text_bytes, len(texts), per_document)


def _measure(texts: Sequence[str], per_document: int, form: str) -> Counter[str]:
    with TemporaryDirectory(prefix="bench-") as name:
        settings = settings_in(Path(name)).model_copy(update={"text_compression": form})
        with open_runtime(settings) as runtime:
            _fill(runtime, texts, per_document)
            return _sizes(runtime)


def _fill(runtime: Runtime, texts: Sequence[str], per_document: int) -> None:
    rng = np.random.default_rng(0)
    for start in range(0, len(texts), CHUNKS_PER_BATCH):
        batch = texts[start : start + CHUNKS_PER_BATCH]
        runtime.ingest.documents.upsert(list(_documents(batch, per_document, rng, start)))
    runtime.ingest.jobs.rebuild(TENANT, NAMESPACE, reembed=False, new_version=None)
    worker = Worker(runtime, HANDLERS, name="bench")
    while worker.run_one():
        pass


def _documents(texts: Sequence[str], per_document: int, rng: np.random.Generator, first: int) -> Iterator[NewDoc]:
    for start in range(0, len(texts), per_document):
        chunks = tuple(
            OwnChunk(each, vector=unit_vector(rng.standard_normal(DIMENSION).tolist(), param=""))
            for each in texts[start : start + per_document]
        )
        yield NewDoc(TENANT, NAMESPACE, f"doc-{first + start}", "", {"source": "bench"}, chunks=chunks)


def _sizes(runtime: Runtime) -> Counter[str]:
    """Bytes of each table and index, under "table" or "table index", and of the index files."""
    query = "SELECT tbl_name, name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) GROUP BY name"
    with runtime.database.read() as session:
        rows = session.execute(text(query)).all()
    sizes = Counter({table if table == name else f"{table} {name}": size for table, name, size in rows})
    sizes["index files"] = disk_bytes(runtime.settings.index_dir)
    return sizes


def _show(measured: Sequence[Counter[str]], text_bytes: int, chunks: int, per_document: int) -> None:
    print(f"\n{chunks:,} chunks, {per_document} per document{'':12}" + "".join(f"{form:>10}" for form in FORMS))
    totals = [sum(sizes.values()) for sizes in measured]
    _print("bytes a chunk", totals, chunks)
    _print("of them the chunks' text", [text_bytes] * len(FORMS), chunks)
    _print("beyond the text", [total - text_bytes for total in totals], chunks)
    for part, _ in measured[0].most_common():
        _print(f"  {part}", [sizes[part] for sizes in measured], chunks)


def _print(name: str, sizes: Sequence[int], chunks: int) -> None:
    print(f"{name:40}" + "".join(f"{size / chunks:10,.0f}" for size in sizes), flush=True)


def _by_part(sizes: Counter[str]) -> Counter[str]:
    parts: Counter[str] = Counter()
    for name, size in sizes.items():
        table = name.partition(" ")[0]
        part = next((part for part, prefixes in PARTS.items() if table.startswith(prefixes)), None)
        parts[part or (name if name == "index files" else "others")] += size
    return parts


if __name__ == "__main__":
    main()
