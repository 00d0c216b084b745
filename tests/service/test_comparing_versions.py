"""Two versions, the same queries: how the answers differ, and what that lets pass."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

import manage
from models import LoggedQuery, utc_now
from services.evaluation.shadowing import Shadowing
from services.search.question import Question
from tests.service.test_index_versions import PROMPTS, VERSIONS, activate, built, states, version
from tests.support.processes import until
from tests.support.prose import prose
from tests.support.service import PLACE, Service, environment, open_service, settings_in

DOCS = {f"doc-{number}": prose(number) for number in range(8)} | {"cats": "Cats sleep all day."}
QUERIES = {f"q{number}": f"{prose(number)[:40]} winter" for number in range(5)} | {"cats": "Which animal sleeps?"}
QRELS = {**{f"q{number}": {f"doc-{number}": 1} for number in range(5)}, "cats": {"cats": 1}}


def compare(service: Service, name: str = "two", *, expect: int = 202, **more: Any) -> Any:
    return service.post(f"{VERSIONS}/{name}/compare", {**PLACE, **more}, expect=expect)


def compared(service: Service, name: str = "two", **more: Any) -> Any:
    job_id = compare(service, name, **more)["job_id"]
    service.work()
    job = service.job(job_id)
    assert job["status"] == "completed", job["error"]
    return job["result"]


def test_a_comparison_says_what_changes_and_what_it_does_not_say(service: Service) -> None:
    service.batch(DOCS)
    built(service)
    report = compared(service, queries=QUERIES, qrels=QRELS, k=4, modes=["dense", "keyword"])
    assert (report["queries"], report["version"]["name"], report["against"]["name"]) == (6, "two", "initial")
    words, meaning = report["modes"]["keyword"], report["modes"]["dense"]
    assert [words[each] for each in ("overlap", "jaccard", "rbo", "top1_agreement")] == pytest.approx([1.0] * 4)
    assert 0 < meaning["rbo"] < 1 and meaning["version"]["empty"] == 0
    assert 0 < meaning["version"]["p50_ms"] <= meaning["version"]["p95_ms"]
    for each in report["changed"]:
        one, other = (
            [c["chunk_id"] for c in service.search(each["query"], top_k=4, mode="dense", index_version=name)["chunks"]]
            for name in ("two", "initial")
        )
        assert ([c["chunk_id"] for c in each["version"]], [c["chunk_id"] for c in each["against"]]) == (one, other)
        assert one != other
    assert len(report["changed"]) > 0
    evaluated = service.post("/v1/eval", {**PLACE, "queries": QUERIES, "qrels": QRELS, "modes": ["dense"]})
    measured = {name: of["against"] for name, of in report["judged"]["modes"]["dense"].items()}
    assert measured == pytest.approx(evaluated["settings"][0]["figures"])
    assert "Overlap is not quality" in report["notes"][0] and "6 queries are few: below 50" in report["notes"][1]
    assert report["version"]["bytes"] == report["version"]["vectors"] * 384 * 4
    assert version(service)["figures"] == report["figures"]
    assert report["figures"]["overlap"] == min(words["overlap"], meaning["overlap"])


def test_gates_keep_a_version_from_serving_and_let_it_serve(service: Service) -> None:
    service.batch(DOCS)
    built(service, gates={"min_overlap": 1.0, "max_p95_ratio": 1000})
    assert "never compared" in activate(service, expect=409)["detail"]
    compared(service, queries=QUERIES, k=3)
    assert "does not pass: min_overlap: 0." in activate(service, expect=409)["detail"]
    service.client.delete(f"{VERSIONS}/two", params=PLACE).raise_for_status()
    assert built(service, activate="if_passes", gates={"min_overlap": 0.01})["state"] == "ready"
    compared(service, queries=QUERIES, k=3)
    assert states(service) == {"initial": "retired", "two": "active"}


def test_a_comparison_without_queries_or_of_what_is_not_there_is_refused(service: Service) -> None:
    service.upsert("cats", "Cats sleep.")
    service.post(VERSIONS, {**PLACE, "name": "two", "prompts": PROMPTS}, expect=202)
    assert "is building: compare it once it is ready" in compare(service, queries=QUERIES, expect=409)["detail"]
    service.work()
    assert "nothing to compare by" in compare(service, expect=422)["detail"]
    assert "nothing to compare by" in compare(service, queries=QUERIES, log_sample=5, expect=422)["detail"]
    assert "There are no queries" in compare(service, queries={}, expect=422)["detail"]
    assert "Query 'blank' is empty" in compare(service, queries={**QUERIES, "blank": " "}, expect=422)["detail"]
    assert "LOG_QUERY_TEXT" in compare(service, log_sample=5, expect=422)["detail"]
    assert "compared with itself" in compare(service, "initial", queries=QUERIES, expect=422)["detail"]
    assert "no version 'three'" in compare(service, "three", queries=QUERIES, expect=404)["detail"]
    assert "no mode 'sparse'" in compare(service, queries=QUERIES, modes=["sparse"], expect=422)["detail"]
    assert (
        "ids of queries must be the same"
        in compare(service, queries=QUERIES, qrels={"x": {"d": 1}}, expect=422)["detail"]
    )


def test_logged_questions_are_asked_each_once(tmp_path: Path) -> None:
    with open_service(settings_in(tmp_path, log_query_text=True)) as service:
        service.batch(DOCS)
        built(service)
        for query in ("winter garden", "winter garden", "sleeping cats", "blue sea"):
            service.search(query)
        until(lambda: logged_questions(service) == 4)
        report = compared(service, log_sample=2)
        assert report["queries"] == 2
        assert {each["query"] for each in report["changed"]} <= {"winter garden", "sleeping cats", "blue sea"}


def test_versions_are_handled_from_the_command_line(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    place = ["--tenant", PLACE["tenant_id"], "--namespace", PLACE["namespace"]]

    def run(*arguments: str, exit_code: int = 0) -> Any:
        done = CliRunner(env=environment(settings)).invoke(manage.app, ["versions", *arguments, *place])
        assert done.exit_code == exit_code, (done.output, done.exception)
        return done

    queries, qrels, plot = (tmp_path / name for name in ("queries.jsonl", "qrels.tsv", "plot.png"))
    queries.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in QUERIES.items()))
    qrels.write_text("".join(f"{key}\t{doc_id}\t1\n" for key, docs in QRELS.items() for doc_id in docs))
    with open_service(settings) as service, ThreadPoolExecutor() as pool:
        service.batch(DOCS)
        run("create", "two", "--document-prompt", "About gardens: ", "--gate", "min_overlap=0.01")
        assert re.search("two +building 0 %", run("list").stdout)
        assert "is building and lags" in run("activate", "two", exit_code=1).stderr
        service.work()
        assert "never compared" in run("activate", "two", exit_code=1).stderr
        working = pool.submit(until, service.worker.run_one)
        output = run("compare", "two", "--queries", str(queries), "--qrels", str(qrels), "--plot", str(plot)).stdout
        working.result()
        assert re.search(r"dense +[01]\.\d{3} +[01]\.\d{3} +[01]\.\d{3}", output)
        assert re.search(r"nDCG@10 +\d\.\d{4} +\d\.\d{4}", output)
        assert "note: Overlap is not quality" in output
        assert plot.read_bytes().startswith(b"\x89PNG")
        verified = CliRunner(env=environment(settings)).invoke(manage.app, ["verify"]).stdout
        assert re.search(r"ok +acme/project_001, beside it \S+-prompts-\w+: 9 docs", verified)
        assert verified.endswith("1 namespaces clean\n")
        assert (
            "'chunk_tokens=odd' is no option of a chunking"
            in run("create", "three", "--chunking", "chunk_tokens=odd", exit_code=1).stderr
        )
        run("create", "three", "--chunking", "chunk_tokens=16", "--chunking", "chunk_strategy=sentences")
        service.work()
        working = pool.submit(until, service.worker.run_one)
        output = run("compare", "three", "--queries", str(queries), "--k", "3").stdout
        working.result()
        assert "3 documents of each answer" in output
        assert "k is from 1 to" in run("compare", "three", "--queries", str(queries), "--k", "0", exit_code=1).stderr
        assert re.search("three +ready .* chunk_strategy=sentences .*chunk_tokens=16", run("list").stdout)
        assert run("delete", "three").stdout == "three is deleted\n"
        assert run("activate", "two").stdout == "two serves acme/project_001\n"
        assert run("rollback", "--expected-active", "two").stdout == "initial serves acme/project_001 again\n"
        assert "'initial' is the active one" in run("delete", "initial", exit_code=1).stderr
        assert run("delete", "two").stdout == "two is deleted\n"
        assert "two" not in run("list").stdout


def logged_questions(service: Service) -> int:
    with service.runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(LoggedQuery)) or 0


def shadow(service: Service, *, share: float = 1.0, expect: int = 200, **more: Any) -> Any:
    body = {**PLACE, "share": share, "until": (utc_now() + timedelta(hours=1)).isoformat(), **more}
    return service.post(f"{VERSIONS}/two/shadow", body, expect=expect)


def shadowed(service: Service) -> Any:
    return version(service)["shadow"]


def test_a_shadow_is_asked_what_is_searched_and_changes_no_answer(service: Service) -> None:
    service.batch(DOCS)
    built(service)
    before = [service.search(query, top_k=3, mode="dense")["chunks"] for query in QUERIES.values()]
    assert shadow(service)["shadow"]["is_running"]
    assert [service.search(query, top_k=3, mode="dense")["chunks"] for query in QUERIES.values()] == before
    service.search("winter", mode="keyword")
    service.search("winter", index_version="two")
    until(lambda: shadowed(service)["queries"] == len(QUERIES))
    expected = compared(service, queries=QUERIES, k=3)["modes"]["dense"]
    for name in ("overlap", "rbo", "top1_agreement"):
        assert shadowed(service)[name] == pytest.approx(expected[name])
    assert shadow(service, share=0)["shadow"]["is_running"] is False
    service.search("garden")
    past = (utc_now() - timedelta(seconds=1)).isoformat()
    assert "in the past" in shadow(service, until=past, expect=422)["detail"]
    shadow(service)
    activate(service)
    assert "nothing to compare it with" in shadow(service, expect=409)["detail"]
    assert shadowed(service)["queries"] == 0


def test_what_a_shadow_has_no_room_for_is_dropped_and_counted_and_it_ends_by_itself(service: Service) -> None:
    service.batch(DOCS)
    built(service)
    shadow(service)
    searching = service.runtime.search.searching
    shadowing = Shadowing(service.runtime.database, searching, most_waiting=2)
    shadowing._is_stopping = True  # so that this test asks, and no thread
    question = Question(PLACE["tenant_id"], PLACE["namespace"], "winter garden", 3)
    for _ in range(5):
        shadowing.offer(question, searching.search(question))
    while shadowing.ask_next(seconds=0):
        pass
    shadowing.flush()
    figures = shadowed(service)
    assert (figures["queries"], figures["dropped"], figures["failed"]) == (2, 3, 0)
    shadow(service, until=(utc_now() + timedelta(seconds=0.3)).isoformat())
    answer = searching.search(question)
    until(lambda: not shadowed(service)["is_running"])
    shadowing.offer(question, answer)
    assert not shadowing.ask_next(seconds=0)
    shadowing.flush()
    assert searching.search(question).shadow is None
