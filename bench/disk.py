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
    for per_document in options.per_document:
        with TemporaryDirectory(prefix="bench-") as name, open_runtime(settings_in(Path(name))) as runtime:
            _fill(runtime, texts, per_document)
            _show(
                _sizes(runtime),
                sum(len(each.encode()) for each in texts),
                len(texts),
                per_document,
                is_detailed=options.detail,
            )


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


def _show(sizes: Counter[str], text_bytes: int, chunks: int, per_document: int, *, is_detailed: bool) -> None:
    total = sum(sizes.values())
    print(f"\n{chunks:,} chunks, {per_document} per document: {total / chunks:,.0f} bytes a chunk", flush=True)
    print(f"{'text':40} {text_bytes / chunks:8.0f}")
    print(f"{'beyond the text':40} {(total - text_bytes) / chunks:8.0f}")
    for part, size in (sizes if is_detailed else _by_part(sizes)).most_common():
        print(f"{'  ' + part:40} {size / chunks:8.0f}")


def _by_part(sizes: Counter[str]) -> Counter[str]:
    parts: Counter[str] = Counter()
    for name, size in sizes.items():
        table = name.partition(" ")[0]
        part = next((part for part, prefixes in PARTS.items() if table.startswith(prefixes)), None)
        parts[part or (name if name == "index files" else "others")] += size
    return parts


if __name__ == "__main__":
    main()
