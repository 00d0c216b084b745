"""Measuring: the figures are those of anybody's own computation, and whatever they are not of is said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

import manage
from errors import Invalid
from models import Chunk, Embedding
from services.evaluation.evaluating import EvaluationRequest
from services.evaluation.measuring import measure, p_value
from tests.support.prose import prose
from tests.support.service import PLACE, Service, Store, environment
from text.judgements import read_qrels, read_queries, read_runs, write_runs

ROOT = Path(__file__).parents[2]
CRANFIELD = ROOT.parent / "shared" / "quality" / "cranfield"
QUERY_COUNT = 20

DOCS = {"cats": "Cats sleep all day.", "ships": "Ships sail the sea.", "bread": "Bread is baked in an oven."}
QUERIES = {"q1": "Which animal sleeps?", "q2": "What goes to sea?", "q3": "How is bread made?"}
QRELS = {"q1": {"cats": 1}, "q2": {"ships": 2, "bread": 0}, "q3": {"cats": 1}}

on_sqlite = pytest.mark.parametrize("service", [Store.SQLITE], indirect=True)


def evaluated(service: Service, *, expect: int = 200, **changed: Any) -> Any:
    return service.post("/v1/eval", {**PLACE, "queries": QUERIES, "qrels": QRELS, **changed}, expect=expect)


# Against an independent computation


@pytest.mark.skipif(not CRANFIELD.exists(), reason="needs the collections in ../shared/quality")
@on_sqlite
def test_the_figures_of_a_collection_are_those_of_an_independent_computation(service: Service) -> None:
    queries, qrels, docs = part_of_cranfield()
    service.batch(docs)
    report = evaluated(service, queries=queries, qrels=qrels)
    expected = independent_figures(service, queries, qrels)
    [setting] = report["settings"]
    print(report["queries"], "queries", setting["figures"])  # noqa: T201
    assert setting["figures"] == pytest.approx(expected, abs=5e-4)
    assert (report["queries"], report["unknown_docs"], report["notes"]) == (QUERY_COUNT, 0, [])


def part_of_cranfield() -> tuple[dict[str, str], dict[str, dict[str, int]], dict[str, str]]:
    """Some queries, and every document that is judged for any of them."""
    lines = (CRANFIELD / "queries.shared.jsonl").read_text().splitlines()[:QUERY_COUNT]
    queries = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    qrels: dict[str, dict[str, int]] = {query_id: {} for query_id in queries}
    for line in (CRANFIELD / "qrels.shared.tsv").read_text().splitlines()[1:]:
        query_id, doc_id, relevance = line.split("\t")
        if query_id in queries:
            qrels[query_id][doc_id] = int(relevance)
    judged_ids = {doc_id for judged in qrels.values() for doc_id in judged}
    rows = map(json.loads, (CRANFIELD / "corpus.jsonl").read_text().splitlines())
    docs = {row["_id"]: row["text"] for row in rows if row["_id"] in judged_ids and row["text"]}
    return (
        queries,
        {query_id: {d: r for d, r in judged.items() if d in docs} for query_id, judged in qrels.items()},
        docs,
    )


def independent_figures(
    service: Service, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """Every query against every chunk's vector, the best of each document, and the formulas as the books have them."""
    with service.runtime.database.read() as session:
        joined = select(Chunk.doc_id, Embedding.vector).join(Embedding, Embedding.embed_hash == Chunk.embed_hash)
        rows = session.execute(joined).all()
    vectors = np.array([np.frombuffer(row.vector, "<f4") for row in rows])
    query_vectors = service.runtime.index.embedding.embedder(service.runtime.index.embedding.version).embed_queries(
        list(queries.values())
    )
    figures: dict[str, list[float]] = {"nDCG@10": [], "Recall@10": [], "Recall@100": [], "MRR@10": []}
    for query_id, scores in zip(queries, query_vectors @ vectors.T, strict=True):
        best: dict[str, float] = {}
        for row, score in zip(rows, scores.tolist(), strict=True):
            best[row.doc_id] = max(score, best.get(row.doc_id, -1.0))
        gains = [qrels[query_id].get(doc_id, 0) for doc_id in sorted(best, key=best.__getitem__, reverse=True)]
        relevant = sum(gain > 0 for gain in gains)
        first = next((rank for rank, gain in enumerate(gains[:10], 1) if gain > 0), math.inf)
        figures["nDCG@10"].append(discounted(gains) / discounted(sorted(gains, reverse=True)))
        figures["Recall@10"].append(sum(gain > 0 for gain in gains[:10]) / relevant)
        figures["Recall@100"].append(sum(gain > 0 for gain in gains[:100]) / relevant)
        figures["MRR@10"].append(1 / first)
    return {name: sum(values) / len(values) for name, values in figures.items()}


def discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:10], 1))


def test_grades_places_and_missing_queries_count_as_in_a_worked_example() -> None:
    qrels = {"a": {"d1": 2, "d2": 1, "junk": -2}, "b\x00": {"deep": 1, "lost": 1}, "c": {"d1": 1}}
    run = {"a": ["junk", "d2", "d1"], "b\x00": [f"other{n}" for n in range(50)] + ["deep"], "unasked": ["d1"]}
    values = measure(qrels, run)
    ideal = 2 + 1 / math.log2(3)
    assert values["nDCG@10"] == pytest.approx([(1 / math.log2(3) + 2 / math.log2(4)) / ideal, 0, 0])
    assert values["Recall@10"] == [1, 0, 0]
    assert values["Recall@100"] == [1, 0.5, 0]
    assert values["MRR@10"] == [0.5, 0, 0]


def test_the_chance_of_a_difference_is_that_of_students_table() -> None:
    assert p_value([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]) == pytest.approx(0.013236, abs=1e-6)  # t = 4.2426, 4 degrees
    assert p_value([0.2, 0.4], [0.2, 0.4]) == 1.0
    assert p_value([0.5], [0.25]) is None
    assert p_value([0.5, 0.75], [0.25, 0.5]) is None


# Over HTTP


def test_an_evaluation_says_what_it_measured_and_what_it_left_out(service: Service) -> None:
    service.batch(DOCS)
    queries = {**QUERIES, "unjudged": "Where?", "hopeless": "Who?"}
    qrels = {**QRELS, "q1": {"cats": 1, "gone": 1}, "hopeless": {"cats": 0}, "unsent": {"cats": 1}}
    report = evaluated(service, queries=queries, qrels=qrels)
    [setting] = report["settings"]
    assert setting["mode"] == "dense"
    assert setting["figures"]["MRR@10"] == pytest.approx((1 + 1 + reciprocal_rank(service, "q3", "cats")) / 3)
    assert setting["figures"]["Recall@100"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert report["queries"] == 3
    left_out = {"queries_without_qrels": 1, "queries_without_relevant": 1, "qrels_without_query": 1}
    assert (report["left_out"], report["unknown_docs"], report["comparisons"]) == (left_out, 1, [])
    assert [note.partition(" ")[0] for note in report["notes"]] == ["1"] * 4
    assert "'gone'" in report["notes"][3]
    index = {"seq": 3, "embedding_version": service.settings.version, "exact": True}
    assert report["index"] == {**index, "seq": service.stats()["seq"]}


def reciprocal_rank(service: Service, query_id: str, doc_id: str) -> float:
    return 1 / (1 + service.hit_ids(QUERIES[query_id], mode="dense").index(doc_id))


@on_sqlite
def test_a_document_behind_hundreds_of_another_ones_chunks_is_seen(service: Service) -> None:
    with service.restarted(chunk_tokens=16) as small:
        night = " ".join(f"In the night of day {number} the cats sleep and sleep." for number in range(140))
        small.batch({"nights": night, "ships": "Ships sail the sea."})
        assert len(small.chunks("nights")) > 128
        report = evaluated(small, queries={"q": "Cats sleep in the night."}, qrels={"q": {"ships": 1}})
        assert report["settings"][0]["figures"]["MRR@10"] == 0.5


@on_sqlite
def test_a_hybrid_ranking_begins_as_a_search_does_however_deep_it_has_to_go(service: Service) -> None:
    with service.restarted(chunk_tokens=16) as small:
        small.batch(
            {f"doc-{number}": "\n\n".join(prose(number + 50 * part) for part in range(8)) for number in range(50)}
        )
        query = "copper window harbour 7-0"
        hits = small.hit_ids(query, mode="hybrid", top_k=10)
        request = EvaluationRequest("acme", "project_001", {"q": query}, {"q": {"doc-1": 1}}, ["hybrid"])
        [setting] = small.runtime.evaluation.evaluating.evaluate(request).settings
        assert setting.run["q"][: len(set(hits))] == list(dict.fromkeys(hits))
        assert len(setting.run["q"]) == 50


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"qrels": {}}, 422, "qrels"),
    ({"qrels": {"q1": {}}}, 422, "qrels"),
    ({"qrels": {"q1": {"cats": 0}}}, 422, "qrels"),
    ({"qrels": {"elsewhere": {"cats": 1}}}, 422, "qrels"),
    ({"qrels": {"q1": {"nowhere": 1, "a\x00b": 1}}}, 422, "qrels.q1.a\x00b"),
    ({"qrels": {"q1": {"cats": 10**30}}}, 422, "qrels"),
    ({"qrels": {"q1": {"cats": "very"}}}, 422, "qrels.q1.cats"),
    ({"qrels": {"q1": {str(n): 1 for n in range(100_001)}}}, 413, "qrels"),
    ({"queries": {}}, 422, "queries"),
    ({"queries": {"q1": " \x00"}}, 422, "queries"),
    ({"queries": {"q1": "x" * 10_001}}, 413, "queries"),
    ({"queries": {str(n): "x" for n in range(1001)}}, 413, "queries"),
    ({"queries": [{"_id": "q1", "text": "x"}]}, 422, "queries"),
    ({"modes": ["telepathy"]}, 422, "modes"),
    ({"modes": []}, 422, "modes"),
    ({"modes": ["dense", "dense"]}, 422, "modes"),
    ({"tenant_id": " "}, 422, "tenant_id"),
    ({"namespace": "nowhere"}, 404, "namespace"),
    ({"embedding_version": "v9"}, 409, "embedding_version"),
]


def test_what_cannot_be_measured_is_refused_by_the_name_of_its_field(service: Service) -> None:
    service.batch(DOCS)
    for changed, status, param in BAD:
        problem = evaluated(service, expect=status, **changed)
        assert problem["error"]["param"] == param, changed
        assert len(problem["detail"]) < 500


# On the command line


def run(service: Service, *arguments: object, exit_code: int = 0) -> Result:
    place = ["--tenant", PLACE["tenant_id"], "--namespace", PLACE["namespace"]]
    words = ["eval", *place, *map(str, arguments)]
    result = CliRunner().invoke(manage.app, words, env=environment(service.settings), catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


@on_sqlite
def test_files_of_both_formats_are_measured_drawn_and_compared_with_an_earlier_time(
    service: Service, tmp_path: Path
) -> None:
    service.batch(DOCS)
    beir, trec = write_collection(tmp_path)
    first = run(service, *beir, "--save", tmp_path / "before.run", "--plot", tmp_path / "figures.svg").stdout
    assert run(service, *trec).stdout == first
    assert "3 queries; searched sentence-transformers/all-MiniLM-L6-v2, seq 1, exact" in first
    service.upsert("cats", "Cats sleep all day, and who wants to know how bread is made asks a cat.")
    then = run(service, *beir, "--against", tmp_path / "before.run", "--plot", tmp_path / "$figures$.PNG").stdout
    headings, before, now, _, difference, *_ = [line.split() for line in then.splitlines()]
    assert headings == ["nDCG@10", "Recall@10", "Recall@100", "MRR@10"]
    assert first.splitlines()[1].split()[1:] == before[-4:]
    assert now[0] == "dense"
    assert float(now[-1]) > float(before[-1])
    assert difference[:4] == ["dense", "-", "before.run:", "dense"]
    assert float(difference[-2]) == pytest.approx(float(now[-1]) - float(before[-1]), abs=2e-4)
    assert "p: Student's paired t-test" in then
    assert (tmp_path / "figures.svg").read_text().startswith("<?xml")
    assert (tmp_path / "$figures$.PNG").read_bytes().startswith(b"\x89PNG")


def write_collection(folder: Path) -> tuple[list[object], list[object]]:
    """The options that name the same queries and judgements, as BEIR and as TREC write them."""
    texts = {
        "queries.jsonl": "".join(json.dumps({"_id": each, "text": text}) + "\n" for each, text in QUERIES.items()),
        "qrels.tsv": "query-id\tcorpus-id\tscore\n"
        + "".join(f"{query}\t{doc}\t{value}\n" for query, judged in QRELS.items() for doc, value in judged.items()),
        "topics.tsv": "\ufeff" + "".join(f"{each}\t{text}\r\n" for each, text in QUERIES.items()),
        "qrels.trec": "".join(
            f"{query} 0 {doc} {value}\n" for query, each in QRELS.items() for doc, value in each.items()
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    beir = ["--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv"]
    return beir, ["--queries", folder / "topics.tsv", "--qrels", folder / "qrels.trec"]


@on_sqlite
def test_a_file_that_cannot_be_read_is_named_with_its_line(service: Service, tmp_path: Path) -> None:
    [_, queries, _, qrels], _ = write_collection(tmp_path)
    bad = tmp_path / "bad"
    for content, option, why in (
        (b'{"_id": "q1", "text": "x"}\nnonsense', "--queries", "bad: Line 2 is neither JSON nor an id, a tab"),
        (b'{"_id": "q1"}', "--queries", 'Line 1 has no "_id" or no "text".'),
        (b"[1]\t", "--queries", "Query '[1]' is empty"),
        (b"q1\tone\nq1\ttwo", "--queries", "Line 2: query 'q1' has come before."),
        (b"\xff\xfe", "--queries", "bad is not UTF-8."),
        (b"q1 cats", "--qrels", "Line 1 has 2 columns"),
        (b"q1 0 cats much", "--qrels", "Line 1: the relevance is 'much'"),
        (b"q1 0 cats 1_0", "--qrels", "Line 1: the relevance is '1_0'"),
        (b"q1 0 cats " + b"9" * 5000, "--qrels", f"the relevance is '{'9' * 40}'; it must be a whole number"),
        (b"q1 0 cats 1\n\nq1 0 cats 0", "--qrels", "Line 3: document 'cats' has come before"),
        (b"", "--qrels", "qrels are empty"),
        (b"q1 Q0 cats first 1.0 dense", "--against", "Line 1 is not one of a TREC run"),
    ):
        bad.write_bytes(content)
        options = {"--queries": queries, "--qrels": qrels, option: bad}
        result = run(service, *(each for pair in options.items() for each in pair), exit_code=1)
        assert why in result.stderr
    assert "cannot be read" in run(service, "--queries", tmp_path, "--qrels", qrels, exit_code=1).stderr
    files = ("--queries", queries, "--qrels", qrels)
    assert "must end in .png or .svg" in run(service, *files, "--plot", "a.pdf", exit_code=1).stderr
    for option, path in (("--plot", "a.svg"), ("--save", "a.run")):
        result = run(service, *files, option, tmp_path / "nowhere" / path, exit_code=1)
        assert "there is no folder" in result.stderr
        assert result.stdout == ""  # nothing was searched in vain
    assert "it is a folder" in run(service, *files, "--save", tmp_path, exit_code=1).stderr
    assert "There is no mode 'best'" in run(service, *files, "--mode", "best", exit_code=1).stderr


def test_what_is_written_as_a_run_is_read_again() -> None:
    runs = {"dense": {"q 1": ["a b", "c"], "q2": []}, "before: dense": {"q 1": ["c"]}}
    again = read_runs("".join(write_runs(runs)))
    assert again == {"dense": {"q 1": ["a b", "c"]}, "before: dense": {"q 1": ["c"]}}


def test_lines_may_have_a_head_and_end_as_they_like() -> None:
    assert read_queries("query_id\ttext\r\n7\tA\u2028B\r\n") == {"7": "A\u2028B"}
    assert read_queries('{"_id": 7, "text": "seven"}\n\n') == {"7": "seven"}
    with pytest.raises(Invalid, match="Line 1"):
        read_queries('{"_id": true, "text": "yes"}')
    assert read_queries('{"_id": "query", "text": "A query is an id too."}') == {"query": "A query is an id too."}
    assert read_queries("\n_id\ttext\n7\tseven") == {"7": "seven"}
    assert read_qrels("\r\nquery-id\tcorpus-id\tscore\r\n7\td1\t1") == {"7": {"d1": 1}}
    assert read_qrels("7 0 d1 1\n7 0 d2 -1\n") == {"7": {"d1": 1, "d2": -1}}
    with pytest.raises(Invalid, match="Line 1 is not valid JSON"):
        read_queries('{"_id": ')
