"""What a comparison of two versions reports: how their answers agree, how long each took, and what changed most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from domain import Json
from services.evaluation.agreement import PERSISTENCE, Agreement, percentile
from services.index.version_info import VersionInfo
from services.search.question import Answer, Passage, Question
from text.judgements import Queries

FEW_QUERIES = 50
MOST_CHANGED = 20
NDCG = "nDCG@10"
NOT_QUALITY = (
    "Overlap is not quality: it says how much the answers change, not whether they are better. Only judgements (qrels) "
    "say that."
)


@dataclass
class VersionAnswers:
    """What one version answered to each query, in order, and the milliseconds that each took."""

    passages: list[list[Passage]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    seqs: set[int | None] = field(default_factory=set)

    def add(self, search: Callable[[Question], Answer], question: Question) -> None:
        started = time.perf_counter()
        answer = search(question)
        self.milliseconds.append(1000 * (time.perf_counter() - started))
        self.passages.append(answer.passages)
        self.seqs.add(answer.seq)

    def ids(self, *, by_document: bool) -> list[list[str]]:
        """What was returned to each query: its chunks, or the documents that they are of, each once."""
        return [ids_of(passages, by_document=by_document) for passages in self.passages]

    @property
    def figures(self) -> Json:
        empty = sum(not each for each in self.passages) / len(self.passages)
        p50, p95 = (round(percentile(self.milliseconds, share), 2) for share in (0.5, 0.95))
        return {"empty": empty, "p50_ms": p50, "p95_ms": p95}


Modes = Mapping[str, Sequence[VersionAnswers]]
"""The answers of the version, and of the one that it is compared with, by mode."""


def report_of(queries: Queries, modes: Modes, *, infos: Sequence[VersionInfo], k: int, judged: Json) -> Json:
    """*infos* are the version and the one that it is compared with. *judged* is empty without judgements."""
    by_document = infos[0].chunking != infos[1].chunking
    agreements = {mode: _agreements(both, k, by_document=by_document) for mode, both in modes.items()}
    by_mode = {mode: _of_mode(both, agreements[mode]) for mode, both in modes.items()}
    first = next(iter(modes))
    return {
        "version": _described(infos[0]),
        "against": _described(infos[1]),
        "queries": len(queries),
        "k": k,
        "by": "document" if by_document else "chunk",
        "p": PERSISTENCE,
        "modes": by_mode,
        "judged": judged or None,
        "changed_mode": first,
        "changed": list(_changed(queries, modes[first], agreements[first])),
        "notes": list(_notes(len(queries), modes, judged)),
        "figures": _figures(by_mode, infos[1].name, judged),
    }


def ids_of(passages: Sequence[Passage], *, by_document: bool) -> list[str]:
    """Chunks that were cut in different ways have nothing in common but their documents."""
    if by_document:
        return list(dict.fromkeys(each.doc_id for each in passages))
    return [each.chunk_id for each in passages]


def _agreements(both: Sequence[VersionAnswers], k: int, *, by_document: bool) -> list[Agreement]:
    pairs = zip(*(each.ids(by_document=by_document) for each in both), strict=True)
    return [Agreement.of(one, other, k=k) for one, other in pairs]


def _of_mode(both: Sequence[VersionAnswers], agreements: Sequence[Agreement]) -> Json:
    shifts = [each.rank_shift for each in agreements if each.rank_shift is not None]
    return {
        "overlap": _mean([each.overlap for each in agreements]),
        "jaccard": _mean([each.jaccard for each in agreements]),
        "rbo": _mean([each.rbo for each in agreements]),
        "top1_agreement": _mean([each.same_top for each in agreements]),
        "rank_shift": _mean(shifts) if shifts else None,
        "version": both[0].figures,
        "against": both[1].figures,
    }


def _figures(by_mode: Mapping[str, Json], against: str, judged: Json) -> Json:
    """What gates look at: the worst of all modes."""
    drops = [-measures[NDCG]["difference"] for measures in judged.get("modes", {}).values()]
    ratios = [each["version"]["p95_ms"] / max(each["against"]["p95_ms"], 0.01) for each in by_mode.values()]
    return {
        "against": against,
        "overlap": min(each["overlap"] for each in by_mode.values()),
        "ndcg_drop": max(drops, default=None),
        "p95_ratio": max(ratios),
    }


def _changed(queries: Queries, both: Sequence[VersionAnswers], agreements: Sequence[Agreement]) -> Iterator[Json]:
    """The queries whose answers changed most, by RBO, each with both lists."""
    in_order = sorted(range(len(agreements)), key=lambda number: (agreements[number].rbo, number))
    ids = list(queries)
    for number in in_order[:MOST_CHANGED]:
        if agreements[number].rbo > 1 - 1e-9:
            return
        yield {
            "query_id": ids[number],
            "query": queries[ids[number]],
            "rbo": agreements[number].rbo,
            "version": [_listed(each) for each in both[0].passages[number]],
            "against": [_listed(each) for each in both[1].passages[number]],
        }


def _listed(passage: Passage) -> Json:
    return {"chunk_id": passage.chunk_id, "title": passage.title, "score": round(passage.score, 4)}


def _notes(count: int, modes: Modes, judged: Json) -> Iterator[str]:
    yield NOT_QUALITY
    if count < FEW_QUERIES:
        yield f"{count} queries are few: below {FEW_QUERIES} these figures may be chance."
    if len({seq for both in modes.values() for each in both for seq in each.seqs}) > 1:
        yield "Documents were published meanwhile: not all queries searched the same snapshot of the namespace."
    yield (
        "Times are those of a worker, one query at a time, and a query is embedded once for all modes: compare them "
        "with each other, not with the API's."
    )
    yield from judged.get("notes", ())


def _described(info: VersionInfo) -> Json:
    described: Json = {"name": info.name, "embedding_version": info.embedding_version, "model": info.model}
    described["chunking"] = info.chunking
    return {**described, "vectors": info.vectors, "bytes": info.bytes}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
