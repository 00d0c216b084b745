"""The quality of POST /v1/search in each mode, on collections with judgements: ``python -m bench.quality``.

The collections lie beside the repository, in ../shared/quality (BEIR's formats); without them there is nothing to
measure. Each is sent to the real API process unchanged: text and title, with enrich_context, so that every chunk is
embedded with its document's title. Then every query is sent in every mode, for the best chunk of each document.
ir_measures computes nDCG@10. The targets are BASELINES.md's values for whole documents, less 0.015, of the
English default model, also with --model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.corpus import MODEL, settings_in
from bench.server import ROOT, KeepAliveClient, client, percentile, served, stop_on_sigterm
from services.evaluation.measuring import measure
from text.judgements import Qrels, Queries, Run, read_qrels, read_queries

FOLDER = ROOT.parent / "shared" / "quality"
TENANT = "quality"
DOCS_PER_BATCH = 50
TOP_K = 10
MEASURE = "nDCG@10"
SLACK = 0.015

SETTINGS: dict[str, dict[str, str]] = {
    "keyword": {"mode": "keyword"},
    "dense": {"mode": "dense"},
    "hybrid": {"mode": "hybrid"},
    "hybrid, ranks": {"mode": "hybrid", "fusion": "reciprocal_rank"},
}
SIDES = ("keyword", "dense")

# Of BASELINES.md, the shared queries: FTS5 without stop words; dense; the better fusion. covidqa: whole documents.
# Spanish and Chinese are release 1.0's, by chunks; hybrid has to be at most 0.01 below the better side.
TARGETS = {
    "scifact": {"keyword": 0.653, "dense": 0.620, "hybrid": 0.700},
    "cranfield": {"keyword": 0.377, "dense": 0.388, "hybrid": 0.423},
    "covidqa": {"keyword": 0.754, "dense": 0.482},
    "xquad_en": {"keyword": 0.968, "dense": 0.943, "hybrid": 0.978},
    "xquad_de": {"keyword": 0.928, "dense": 0.704, "hybrid": 0.931},
    "xquad_es": {"keyword": 0.955, "dense": 0.698, "hybrid": 0.945},
    "xquad_zh": {"keyword": 0.956, "dense": 0.284, "hybrid": 0.876},
}


@dataclass(frozen=True)
class Collection:
    name: str
    queries: Queries
    qrels: Qrels

    @classmethod
    def of(cls, name: str) -> Collection:
        qrels = read_qrels((FOLDER / name / "qrels.shared.tsv").read_text())
        queries = read_queries((FOLDER / name / "queries.shared.jsonl").read_text())
        return cls(name, {each: queries[each] for each in qrels if each in queries}, qrels)

    def documents(self) -> Iterator[dict[str, Any]]:
        for line in (FOLDER / self.name / "corpus.jsonl").read_text().splitlines():
            row = json.loads(line)
            title, text = row["title"].strip(), row["text"]
            doc = {"tenant_id": TENANT, "namespace": self.name, "doc_id": row["_id"], "enrich_context": True}
            yield {**doc, "title": title or None, "text": text if text.strip() else title or row["_id"]}


def main() -> None:
    options = _options()
    if not FOLDER.is_dir():
        print(f"There is nothing to measure: {FOLDER} is not there.")
        sys.exit(0)
    stop_on_sigterm()
    with TemporaryDirectory(prefix="bench-") as name:
        changes = {"chunk_tokens": options.chunk_tokens, "embed_model_name": options.model}
        settings = settings_in(Path(name)).model_copy(update=changes)
        with served(settings, Path(name)) as port, client(port) as session:
            print(
                f"{MEASURE} (target) and the median search; chunks of {settings.chunk_tokens} tokens",
                flush=True,
            )
            _report(session, [Collection.of(each) for each in options.collections])


def _report(session: KeepAliveClient, collections: Sequence[Collection]) -> None:
    print(f"{'':12}{'chunks':>8}" + "".join(f"{name:>22}" for name in SETTINGS) + f"{'best side':>12}", flush=True)
    every: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for collection in collections:
        chunks = _fill(session, collection)
        cells = []
        for name, options in SETTINGS.items():
            run, took_ms = _run(session, collection, options)
            value = sum(values := measure(collection.qrels, run)[MEASURE]) / len(values)
            every[name].append(value)
            cells.append(f"{value:.3f}{_target_cell(collection.name, name)} {took_ms:.0f} ms")
        best = max(every[side][-1] for side in SIDES)
        print(
            f"{collection.name:12}{chunks:8}" + "".join(f"{cell:>22}" for cell in cells) + f"{best:12.3f}", flush=True
        )
    means = {name: sum(values) / len(values) for name, values in every.items()}
    cells = [f"{mean:.4f}" for mean in means.values()]
    best = max(means[side] for side in SIDES)
    print(f"{'mean':12}{'':8}" + "".join(f"{cell:>22}" for cell in cells) + f"{best:12.4f}")


def _target_cell(collection: str, setting: str) -> str:
    row = TARGETS[collection].get(setting)
    return "" if row is None else f" ({row - SLACK:.3f})"


def _fill(session: KeepAliveClient, collection: Collection) -> int:
    """Stores the documents; returns the number of chunks."""
    docs = list(collection.documents())
    chunks = 0
    for start in range(0, len(docs), DOCS_PER_BATCH):
        answer = session.post("/v1/docs/upsert/batch", {"docs": docs[start : start + DOCS_PER_BATCH]})
        chunks += answer["chunks_created"]
    return chunks


def _run(session: KeepAliveClient, collection: Collection, options: dict[str, str]) -> tuple[Run, float]:
    """Searches for each query; returns the ranked documents and the median time."""
    run, times = {}, []
    for query_id, text in collection.queries.items():
        started = time.perf_counter()
        answer = session.post(
            "/v1/search",
            {
                **options,
                "tenant_id": TENANT,
                "namespace": collection.name,
                "query": text,
                "top_k": TOP_K,
                "group_by": "doc",
                "include": [],
            },
        )
        times.append(1000 * (time.perf_counter() - started))
        run[query_id] = [chunk["doc_id"] for chunk in answer["chunks"]]
    return run, percentile(times, 50)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--collections", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--chunk-tokens", type=int, default=200, help="CHUNK_TOKENS of the service")
    parser.add_argument("--model", default=MODEL, help="EMBED_MODEL_NAME of the service")
    return parser.parse_args()


if __name__ == "__main__":
    main()
