"""Whether POST /v1/ask knows when to be silent: ``python -m bench.silence``.

The collections of bench/quality.py are sent to the real API process. Answerable questions are a collection's own. Those
that it cannot answer are, for the English collections, questions of another one, and for XQuAD's, whose questions are
about everything, those of the articles that were left out: every second one. Each is asked in every mode, with the
floor and without (``min_score`` 0). An answer from a wrong passage quotes a document that is not judged relevant.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.corpus import MODEL, settings_in
from bench.quality import FOLDER, TARGETS, TENANT, Collection
from bench.server import KeepAliveClient, client, percentile, served, stop_on_sigterm

MODES = ("hybrid", "dense", "keyword")
OTHERS = {
    "scifact": ("xquad_en", "cranfield"),
    "cranfield": ("xquad_en", "covidqa", "scifact"),
    "covidqa": ("xquad_en", "cranfield"),
}
"""Whose questions are asked of a collection that cannot answer them. The papers of scifact and covidqa share topics."""

PARAGRAPHS_PER_ARTICLE = 5
DOCS_PER_BATCH = 10
HEADINGS = f"{'answered / refused / wrong passage':>40}{'all wrong':>12}{'without floor':>24}{'all wrong':>12}"


@dataclass
class Verdicts:
    """Counts of one mode: questions that cannot be answered and those that can, and what went wrong."""

    unanswerable: int = 0
    answerable: int = 0
    answered: int = 0
    refused: int = 0
    wrong_passage: int = 0

    def add(self, answer: dict[str, Any], relevant: set[str]) -> None:
        if not relevant:
            self.unanswerable += 1
            self.answered += answer["used_rag"]
            return
        self.answerable += 1
        self.refused += not answer["used_rag"]
        is_right = all(each["doc_id"] in relevant for each in answer["citations"])
        self.wrong_passage += answer["used_rag"] and not is_right

    @property
    def wrong(self) -> float:
        """The mean of both kinds of questions, so that it does not depend on how many there are of each."""
        return (self.answered / self.unanswerable + (self.refused + self.wrong_passage) / self.answerable) / 2

    def cells(self) -> str:
        shares = (
            self.answered / self.unanswerable,
            self.refused / self.answerable,
            self.wrong_passage / self.answerable,
        )
        return " / ".join(f"{share:.2f}" for share in shares)


@dataclass
class Times:
    """Milliseconds over HTTP, of the default mode."""

    asks: list[float] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Questionnaire:
    """A collection with its questions. *relevant* is empty for those that it cannot answer."""

    collection: Collection
    documents: list[dict[str, Any]]
    questions: list[tuple[str, set[str]]]


def main() -> None:
    options = _options()
    if not FOLDER.is_dir():
        print(f"There is nothing to measure: {FOLDER} is not there.")
        sys.exit(0)
    stop_on_sigterm()
    with TemporaryDirectory(prefix="bench-") as name:
        settings = settings_in(Path(name)).model_copy(update={"embed_model_name": options.model})
        with served(settings, Path(name)) as port, client(port) as session:
            _report(session, options.collections, options.questions)


def _report(session: KeepAliveClient, names: Sequence[str], count: int) -> None:
    print(f"{'':20}{HEADINGS}", flush=True)
    wrong: dict[tuple[str, bool], list[float]] = defaultdict(list)
    times = Times()
    for name in names:
        given = _questionnaire(name, count)
        _fill(session, given)
        for mode in MODES:
            cells = ""
            for has_floor in (True, False):
                verdicts = _verdicts(session, given, mode, times, has_floor=has_floor)
                wrong[mode, has_floor].append(verdicts.wrong)
                cells += f"{verdicts.cells():>{40 if has_floor else 24}}{verdicts.wrong:12.3f}"
            print(f"{name:12}{mode:8}{cells}", flush=True)
    for mode in MODES:
        means = [sum(wrong[mode, has_floor]) / len(names) for has_floor in (True, False)]
        print(f"{'mean':12}{mode:8}{means[0]:52.3f}{means[1]:36.3f}")
    for kind, took in (("extractive answer", times.asks), ("search", times.searches)):
        print(f"{kind}: p50 {percentile(took, 50):.1f} ms, p95 {percentile(took, 95):.1f} ms")


def _questionnaire(name: str, count: int) -> Questionnaire:
    collection = Collection.of(name)
    documents = list(collection.documents())
    if name not in OTHERS:
        documents = [each for number, each in enumerate(documents) if number // PARAGRAPHS_PER_ARTICLE % 2 == 0]
    kept = {each["doc_id"] for each in documents}
    own = [(text, _relevant(collection, query_id)) for query_id, text in collection.queries.items()]
    answerable = [(text, relevant) for text, relevant in own if relevant and relevant <= kept]
    foreign = [text for text, relevant in own if not relevant & kept] if name not in OTHERS else list(_foreign(name))
    pick = random.Random(7)
    chosen = pick.sample(answerable, min(count, len(answerable)))
    nothing: set[str] = set()
    return Questionnaire(
        collection, documents, chosen + [(text, nothing) for text in pick.sample(foreign, min(count, len(foreign)))]
    )


def _relevant(collection: Collection, query_id: str) -> set[str]:
    return {doc_id for doc_id, grade in collection.qrels[query_id].items() if grade > 0}


def _foreign(name: str) -> Iterator[str]:
    for other in OTHERS[name]:
        yield from Collection.of(other).queries.values()


def _fill(session: KeepAliveClient, given: Questionnaire) -> None:
    for start in range(0, len(given.documents), DOCS_PER_BATCH):
        session.post("/v1/docs/upsert/batch", {"docs": given.documents[start : start + DOCS_PER_BATCH]})


def _verdicts(session: KeepAliveClient, given: Questionnaire, mode: str, times: Times, *, has_floor: bool) -> Verdicts:
    verdicts = Verdicts()
    place = {"tenant_id": TENANT, "namespace": given.collection.name, "mode": mode, "top_k": 5}
    floor = {} if has_floor else {"min_score": 0}
    for text, relevant in given.questions:
        started = time.perf_counter()
        answer = session.post("/v1/ask", {**place, **floor, "question": text})
        if mode == MODES[0] and has_floor and relevant:
            times.asks.append(1000 * (time.perf_counter() - started))
            started = time.perf_counter()
            session.post("/v1/search", {**place, "query": text})
            times.searches.append(1000 * (time.perf_counter() - started))
        verdicts.add(answer, relevant)
    return verdicts


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--collections", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--questions", type=int, default=100, help="of each kind, per collection")
    parser.add_argument("--model", default=MODEL, help="EMBED_MODEL_NAME of the service")
    return parser.parse_args()


if __name__ == "__main__":
    main()
