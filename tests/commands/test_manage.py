"""The operator's command line, on real files, a real database and the bundled model."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

import manage
from errors import Unreadable
from migrations.upgrade import HEAD
from models import utc_now
from services.operations.diagnosing import without_secrets
from services.operations.walking import Selection, find_files
from settings import Settings
from tests.support import files
from tests.support.accounts import SECRET
from tests.support.processes import PATIENCE_SECONDS, started
from tests.support.service import MODEL, Service, environment
from text.extract.plain import decode

PLACE = ["--tenant", "acme", "--namespace", "project_001"]
ROOT = Path(__file__).parents[2]

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as an operator does: all it knows is in the environment."""
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/rag.db",
        "INDEX_DIR": str(tmp_path / "indices"),
        "BLOB_STORE_URL": f"file://{tmp_path}/raw_files",
        "EMBED_MODEL_NAME": MODEL,
        "MIN_FREE_DISK_MB": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(manage.app, [str(each) for each in arguments], catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result

    return run


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "guide").mkdir(parents=True)
    (folder / "cats.md").write_text("# Cats\n\nCats sleep all day.\n")
    (folder / "guide" / "ships.txt").write_text("Ships sail the sea.\n")
    return folder


def database(tmp_path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(tmp_path / "rag.db")
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def work(tmp_path: Path) -> None:
    """A worker process that lives until no job waits."""
    process = started(["worker.py", "--poll-interval", "0.05"], os.environ)
    try:
        while database(tmp_path, "SELECT 1 FROM jobs WHERE status IN ('pending', 'running')"):
            assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(30) == 0


# ingest


def test_ingesting_twice_skips_everything_and_needs_no_model(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("ingest", docs, *PLACE).stdout
    assert "2 upserted, 0 skipped, 0 failed" in first
    assert "2: 2 embedded, 0 reused" in first
    # With a model that cannot be had, whatever needs one fails: what succeeds did without.
    monkeypatch.setenv("EMBEDDING_VERSION", MODEL)
    monkeypatch.setenv("EMBED_MODEL_NAME", "/there/is/no/such/model")
    second = run("ingest", docs, *PLACE).stdout
    assert "0 upserted, 2 skipped, 0 failed" in second
    assert "0: 0 embedded, 0 reused" in second
    (docs / "new.txt").write_text("This one is new.")
    third = run("ingest", docs, *PLACE, exit_code=1)
    assert "\nerror: There is no model folder" in third.stderr
    assert "3 not tried" in third.stdout


def test_what_is_ingested_is_found(run: Run, docs: Path) -> None:
    run("ingest", docs, *PLACE)
    output = run("search", "where do ships sail?", *PLACE, "--top-k", 1).stdout
    assert re.fullmatch(r"1\. 0\.\d{3}  docs/guide/ships\.txt#c0000\n   Ships sail the sea\.\n", output)
    assert "docs/cats.md#c0000  (Cats)" in run("search", "cats", *PLACE).stdout
    output = run("search", "SAILS", *PLACE, "--mode", "keyword").stdout
    assert re.fullmatch(r"1\. \d\.\d{3}  docs/guide/ships\.txt#c0000\n   Ships sail the sea\.\n", output)
    output = run("search", "glacier", *PLACE, "--mode", "keyword").stdout
    assert output == "No passage has the word 'glacier'; mode hybrid searches by meaning too.\n"


def test_a_search_has_the_limits_of_the_api_and_its_words(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_TOP_K", "7")
    monkeypatch.setenv("MAX_QUERY_CHARS", "20")
    monkeypatch.setenv("MAX_NAME_CHARS", "12")
    for arguments, message in (
        (["cats", *PLACE, "--top-k", 8], "top_k is 8; at most 7 is served (MAX_TOP_K)."),
        (["x" * 21, *PLACE], "query has 21 characters; at most 20 are read (MAX_QUERY_CHARS)."),
        ([" ", *PLACE], "query is empty: say what to look for."),
        (["cats", "--tenant", "a" * 13, "--namespace", "n"], "tenant_id has 13 characters; at most 12 are accepted."),
    ):
        assert run("search", *arguments, exit_code=1).stderr == f"error: {message}\n"
    queries, qrels = docs / "queries.tsv", docs / "qrels.tsv"
    queries.write_text(f"q1\t{'x' * 21}\n")
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\tcats\t1\n")
    evaluated = run("eval", *PLACE, "--queries", queries, "--qrels", qrels, exit_code=1)
    assert evaluated.stderr == "error: Query 'q1' has 21 characters; at most 20 are read (MAX_QUERY_CHARS).\n"


def test_a_folder_gives_the_same_doc_ids_however_it_is_named(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ingest", docs, *PLACE)
    monkeypatch.chdir(docs)
    assert "2 skipped" in run("ingest", ".", *PLACE).stdout
    monkeypatch.chdir(docs / "guide")
    assert "2 skipped" in run("ingest", "..", *PLACE).stdout
    monkeypatch.chdir(docs.parent)
    assert "2 skipped" in run("ingest", "docs/", "docs/cats.md", *PLACE).stdout


def test_bad_files_are_named_and_do_not_stop_the_others(run: Run, docs: Path) -> None:
    (docs / "binary.txt").write_bytes(b"PK\x03\x04\x00\x00")
    (docs / "empty.txt").touch()
    (docs / "blank.md").write_text(" \n\t\n")
    (docs / "latin.txt").write_bytes("Der Fluß ist schön.".encode("latin-1"))
    (docs / "bom.txt").write_bytes("Über uns".encode("utf-8-sig"))
    (docs / "windows.txt").write_bytes("Grüße".encode("utf-16"))
    out = run("ingest", docs, docs / "missing.txt", *PLACE, exit_code=1).stdout
    assert "5 upserted, 2 skipped (2 empty), 2 failed" in out
    assert "failed  docs/binary.txt: It is damaged, or not really a ZIP archive" in out
    assert "failed  missing.txt: It cannot be read" in out
    assert "skipped docs/empty.txt: empty" in out
    assert "Der Fluß ist schön." in run("search", "Fluß", *PLACE, "--top-k", 9).stdout


def test_a_document_that_the_service_refuses_is_found_among_its_batch(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_TEXT_CHARS", "100")
    (docs / "long.txt").write_text("word " * 50)
    out = run("ingest", docs, *PLACE, exit_code=1).stdout
    assert "2 upserted, 0 skipped, 1 failed" in out
    assert "failed  docs/long.txt: The text of 'docs/long.txt' has 250 characters" in out


def test_folders_are_walked_for_the_types_that_can_be_read_and_files_are_taken_whatever_they_are(docs: Path) -> None:
    for name in ("LICENSE", "README-first", "notes.RST", "photo.jpg", "a.PDF", "main.py", ".hidden.md", "LICENSE.py"):
        (docs / name).write_text("text")
    (docs / ".git").mkdir()
    (docs / ".git" / "description.txt").write_text("text")
    (docs / "loop").symlink_to(docs)
    listing = find_files([docs, docs / "main.py"])
    expected = {"LICENSE", "README-first", "a.PDF", "cats.md", "notes.RST", "guide/ships.txt"}
    assert {file.doc_id for file in listing.files} == {f"docs/{name}" for name in expected} | {"main.py"}
    assert (listing.failed, [each.name for each in listing.links]) == ((), ["docs/loop"])
    assert listing == find_files([docs, docs / "main.py"])


def test_nothing_behind_a_link_is_taken_unless_whoever_ingests_says_so(run: Run, docs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("The password is swordfish.")
    (outside / "back").symlink_to(docs)
    (docs / "notes.txt").symlink_to(outside / "secret.txt")
    (docs / "guide" / "more").symlink_to(outside)
    (docs / "gone.txt").symlink_to(docs / "nowhere")
    out = run("ingest", docs, *PLACE).stdout
    assert "2 upserted, 0 skipped, 0 failed" in out
    assert "links   3 passed over" in out
    assert "passed  docs/notes.txt: a symbolic link (--follow-links includes its target)" in out
    assert "passed  docs/guide/more: a symbolic link" in out
    assert "swordfish" not in run("search", "password swordfish", *PLACE).stdout
    out = run("ingest", docs, "--follow-links", *PLACE, exit_code=1).stdout
    assert "2 upserted, 2 skipped, 1 failed" in out
    assert "failed  docs/gone.txt: It cannot be read: No such file or directory." in out
    assert "passed  docs/guide/more/back: a link to a folder that is included anyway" in out
    assert "docs/guide/more/secret.txt" in run("search", "password swordfish", *PLACE).stdout


def test_a_link_that_is_named_is_taken_and_one_that_took_the_place_of_a_file_is_not(
    run: Run, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named.txt").symlink_to(docs / "cats.md")
    assert "1 upserted" in run("ingest", tmp_path / "named.txt", *PLACE).stdout
    listing = find_files([docs])
    (tmp_path / "secret.txt").write_text("The password is swordfish.")
    (docs / "cats.md").unlink()
    (docs / "cats.md").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setattr("services.operations.walking.find_files", lambda *_, **__: listing)
    out = run("ingest", docs, *PLACE, exit_code=1).stdout
    assert "failed  docs/cats.md: It cannot be read: Too many levels of symbolic links." in out


def test_files_of_all_types_are_ingested_and_those_that_cannot_be_read_say_why(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_PAGES", "2")
    contents = {
        "a.pdf": files.pdf(),
        "b.docx": files.word(),
        "c.pptx": files.powerpoint(),
        "d.xlsx": files.excel(),
        "e.epub": files.epub(),
        "f.eml": files.mail(),
        "g.html": files.html(),
        "h.json": files.JSON,
        "i.csv": files.CSV,
    }
    bad = {
        "locked.pdf": files.pdf(password="secret"),
        "long.pdf": files.pdf_of(3),
        "scan.pdf": files.scanned_pdf(with_text=False),
    }
    folder = tmp_path / "types"
    folder.mkdir()
    for name, content in {**contents, **bad}.items():
        (folder / name).write_bytes(content)
    out = run("ingest", folder, *PLACE, exit_code=1).stdout
    assert "9 upserted, 0 skipped, 3 failed" in out
    assert "failed  types/locked.pdf: It is protected by a password" in out
    assert "failed  types/long.pdf: It has 3 pages; at most 2 are accepted (MAX_PAGES)" in out
    assert "failed  types/scan.pdf: Page 1 is a scan without text: OCR is off." in out
    assert "9 skipped, 3 failed" in run("ingest", folder, *PLACE, exit_code=1).stdout
    output = run("search", "When are fees paid?", *PLACE, "--top-k", 5).stdout
    assert "types/a.pdf#c0001  (Fees, page 2)" in output


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["data.csv", "guide/old/data.csv"]),
        ("guide/*.txt", ["guide/ships.txt"]),
        ("**/data.csv", ["data.csv", "guide/old/data.csv"]),
        ("guide/**/*.*", ["guide/ships.txt", "guide/old/data.csv"]),
    ],
)
def test_patterns_choose_among_the_files_of_a_folder(docs: Path, pattern: str, names: list[str]) -> None:
    (docs / "guide" / "old").mkdir()
    for name in ("data.csv", "guide/old/data.csv"):
        (docs / name).write_text("a,b")
    paths = find_files([docs], Selection([pattern]))
    assert [file.doc_id for file in paths.files] == [f"docs/{name}" for name in names]


def test_a_folder_without_such_files_is_told(run: Run, docs: Path) -> None:
    assert "There are no such files" in run("ingest", docs, *PLACE, "--glob", "*.png").stderr


def test_two_files_with_one_doc_id_are_not_stored_over_each_other(run: Run, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "docs"
    other.mkdir(parents=True)
    (other / "cats.md").write_text("Other cats.")
    out = run("ingest", docs, other, *PLACE, exit_code=1).stdout
    assert "2 upserted, 0 skipped, 1 failed" in out
    assert "has the same doc_id" in out


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        ("naïve".encode(), "naïve"),
        ("naïve".encode("utf-8-sig"), "naïve"),
        ("naïve".encode("utf-16"), "naïve"),
        (b"\xfe\xff" + "naïve".encode("utf-16-be"), "naïve"),
        ("naïve".encode("latin-1"), "naïve"),
        ("naïve".encode("utf-32"), "naïve"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_has(content: bytes, text: str) -> None:
    assert decode(content) == text


@pytest.mark.parametrize("content", [b"a\x00b", b"\x1f\x8b\x08\xfe"])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(Unreadable, match="binary"):
        decode(content)


def test_a_strategy_that_there_is_not_is_said_once(run: Run, docs: Path) -> None:
    result = run("ingest", docs, *PLACE, "--strategy", "nonsense", exit_code=1)
    assert result.stderr.count("There is no strategy 'nonsense'; there are default, markdown") == 1


# read


def test_a_file_is_shown_as_it_would_become_and_no_database_is_opened(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fees.pdf").write_bytes(files.scanned_pdf(with_text=True))
    before = set(tmp_path.rglob("*"))
    out = run("read", tmp_path / "fees.pdf").stdout
    assert "title     The Harbour\n" in out
    assert "warning   page 3 is a scan without text: OCR is off.\n" in out
    assert re.search(r"^--- 1: \d+ tokens, characters \d+ to \d+, page 2, Fees\n\[The Harbour > Fees\]$", out, re.M)
    assert files.FEES in out
    assert "and 1 chunks more" in run("read", tmp_path / "fees.pdf", "--limit", "1").stdout
    assert set(tmp_path.rglob("*")) == before


def test_what_is_read_for_a_namespace_is_what_is_ingested_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ships.csv").write_bytes(files.CSV + b"\nCora,9 m,80" * 100)
    run("ingest", tmp_path / "ships.csv", *PLACE)
    rows = database(tmp_path, "SELECT text, header, char_start, char_end, token_count FROM chunks ORDER BY chunk_index")
    for place in ([], PLACE):
        shown = json.loads(run("read", tmp_path / "ships.csv", "--json", *place).stdout)
        names = ("text", "header", "char_start", "char_end", "token_count")
        assert [tuple(chunk[name] for name in names) for chunk in shown["chunks"]["data"]] == rows
        assert (shown["chunk_count"], shown["warnings"]) == (len(rows), [])
    assert database(tmp_path, "SELECT COUNT(*) FROM docs") == [(1,)]


def test_a_file_that_cannot_be_read_says_why_in_one_line(run: Run, docs: Path, tmp_path: Path) -> None:
    (tmp_path / "locked.pdf").write_bytes(files.pdf(password="x"))
    result = run("read", tmp_path / "locked.pdf", exit_code=1)
    assert result.stderr == "error: It is protected by a password: send it without one.\n"
    assert "no-such" in run("read", docs / "cats.md", "--strategy", "no-such", exit_code=1).stderr
    assert "not a regular file" in run("read", "/dev/null", exit_code=1).stderr
    run("read", docs, exit_code=2)
    run("read", docs / "cats.md", "--tenant", "acme", exit_code=2)


# search, stats, jobs


def test_a_search_in_a_namespace_that_there_is_not_says_so(run: Run) -> None:
    result = run("search", "cats", *PLACE, exit_code=1)
    assert result.stderr.startswith("error: This tenant has no namespace 'project_001'")
    assert run("search", " ", *PLACE, exit_code=1).stderr.startswith("error: query is empty")


def test_stats_show_the_indexes_and_the_queue(run: Run, docs: Path) -> None:
    run("ingest", docs, *PLACE)
    out = run("stats").stdout
    assert re.search(rf"acme/project_001 +{MODEL} +2 +2 +0 +0/1", out)
    assert "jobs: 0 pending, 0 running" in out
    assert "acme" not in run("stats", "--tenant", "nobody").stdout


def test_jobs_are_listed_and_cancelled(run: Run, docs: Path) -> None:
    run("ingest", docs, *PLACE)
    job_id = run("rebuild", *PLACE).stdout.strip()
    assert run("rebuild", *PLACE).stdout.strip() == job_id
    pattern = rf"{job_id} +rebuild_index +acme/project_001 +pending +0 % +0 +\d+ s"
    assert re.search(pattern, run("jobs", "--status", "pending", "--type", "rebuild_index").stdout)
    assert run("cancel", job_id).stdout == "cancelled\n"
    assert "cancelled" in run("jobs").stdout
    assert job_id not in run("jobs", "--status", "pending").stdout
    assert run("cancel", "nonsense", exit_code=1).stderr.startswith("error: There is no job 'nonsense'")
    assert run("retry", "--all-failed", "--type", "rebuild_index").stdout == "0 jobs looked at\n"
    [retried] = re.findall(r"^retried as job (\S+)$", run("retry", job_id).stdout)
    assert retried in run("jobs", "--status", "pending").stdout
    assert f"was retried already, as job {retried}" in run("retry", job_id, exit_code=1).stderr
    assert "give either a JOB_ID or --all-failed" in run("retry", exit_code=2).stderr
    assert run("jobs", "--status", "completed_with_errors").stdout.count("\n") == 1


def test_a_rebuild_can_be_waited_for(service: Service) -> None:
    service.upsert("cats", "Cats sleep.")
    command = [sys.executable, str(ROOT / "manage.py"), "rebuild", *PLACE, "--wait"]
    with subprocess.Popen(command, env=environment(service.settings), stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr is not None
        assert "no worker has been seen" in process.stderr.readline()
        assert service.work() == 1
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert out.endswith("completed\n")
    assert process.returncode == 0


def test_a_rebuild_that_makes_no_sense_is_refused(run: Run) -> None:
    assert "has no namespace" in run("rebuild", *PLACE, exit_code=1).stderr
    assert "needs reembed=true" in run("rebuild", *PLACE, "--new-embedding-version", "v2", exit_code=1).stderr


# accounts


def test_a_key_is_made_replaced_and_revoked_by_hand(run: Run, tmp_path: Path) -> None:
    assert "team acme created" in run("create-team", "acme", "--system-prompt", "Be brief.").stdout
    assert "there is a team 'acme' already" in run("create-team", "acme", exit_code=1).stderr.lower()
    assert "no such team" in run("issue-key", "--team", "nobody", "--scope", "admin", exit_code=1).stderr
    issued = run(
        "issue-key", "--team", "acme", "--scope", "ingest", "--scope", "search", "--days", 90, "--name", "crawler"
    )
    assert re.fullmatch(r"adf_[0-9a-f]{16}_[0-9a-f]{64}\n", issued.stdout)
    key_id = issued.stdout[4:20]
    listed = run("list-keys", "--team", "acme").stdout
    assert re.search(rf"^{key_id} +active +ingest search .* - +crawler$", listed, re.MULTILINE)
    assert issued.stdout[21:].strip() not in listed
    rotated = run("rotate-key", key_id, "--overlap-hours", 0).stdout
    assert rotated.startswith(f"{key_id} is valid until ")
    assert run("revoke-key", rotated.splitlines()[1][4:20]).stdout == "revoked\n"
    actions = re.findall(r" manage\.py:\S+ +(\S+) +acme ", run("audit").stdout)
    assert actions == ["key.revoked", "key.rotated", "key.created", "team.created"]
    assert "4 rows, number 1 to 4: the chain is whole" in run("audit", "--verify").stdout
    database(tmp_path, "DELETE FROM audit_log WHERE number = 2")
    assert "Rows 2 to 2 are missing." in run("audit", "--verify", exit_code=1).stdout
    statuses = re.findall(r" (active|expired|revoked) ", run("list-keys", "--team", "acme").stdout)
    assert sorted(statuses) == ["expired", "revoked"]
    assert "no key 'nonsense'" in run("revoke-key", "nonsense", exit_code=1).stderr
    assert database(tmp_path, "SELECT name, system_prompt FROM teams") == [("acme", "Be brief.")]


def test_a_key_that_sees_a_part_is_made_and_derived_from_by_hand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERIVED_KEY_SECRET", SECRET)
    run("create-team", "acme")
    issue = ("issue-key", "--team", "acme", "--scope")
    assert (
        "only reads, so it cannot have the scope admin"
        in run(*issue, "admin", "--filters", '{"a": 1}', exit_code=1).stderr
    )
    for filters, reason in {"{a}": "is not valid JSON", "[1]": "takes a JSON object", '{"a": {"$b": 1}}': "$b"}.items():
        assert reason in run(*issue, "search", "--filters", filters, exit_code=1).stderr
    assert "has no namespace 'nots'" in run(*issue, "search", "--namespace", "nots", exit_code=1).stderr
    key_id = run(*issue, "search", "--filters", '{"department": "hr"}').stdout[4:20]
    assert re.search(
        rf'^{key_id} +active +search +{{"department": "hr"}} ', run("list-keys", "--team", "acme").stdout, re.M
    )
    derived = run("derive-key", key_id, "--seconds", 60, "--filters", '{"user": 7}').stdout
    assert re.fullmatch(rf"adf_{key_id}\.[\w-]+\.[\w-]{{43}}\n", derived)
    assert "1 to 86400 seconds" in run("derive-key", key_id, "--seconds", 0, exit_code=1).stderr
    monkeypatch.setenv("DERIVED_KEY_SECRET", "short")
    assert "fewer than 32 characters" in run("derive-key", key_id, "--seconds", 60, exit_code=1).stderr


def test_what_a_team_lets_questions_say_is_changed_by_hand(run: Run, tmp_path: Path) -> None:
    def kept() -> object:
        return database(tmp_path, "SELECT system_prompt, allow_system_prompt FROM teams")

    run("create-team", "acme", "--system-prompt", "Be brief.", "--forbid-system-prompt")
    assert kept() == [("Be brief.", 0)]
    run("change-team", "acme", "--system-prompt", "")
    assert kept() == [(None, 0)]
    assert run("change-team", "acme", "--allow-system-prompt").stdout == "team acme changed\n"
    assert kept() == [(None, 1)]
    assert "this changes nothing" in run("change-team", "acme", exit_code=1).stderr
    assert "no such team" in run("change-team", "nobody", "--allow-system-prompt", exit_code=1).stderr


def test_with_keys_on_files_go_into_namespaces_that_were_made(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_MODE", "keys")
    assert "This tenant has no namespace" in run("ingest", docs, *PLACE, exit_code=1).stdout
    run("create-team", "acme")
    assert "created, under" in run("create-project", "--team", "acme", "--namespace", "project_001").stdout
    assert "2 upserted, 0 skipped, 0 failed" in run("ingest", docs, *PLACE).stdout
    assert re.search(r"^acme +\S+ +project_001$", run("list-teams").stdout, re.MULTILINE)


# verify


def test_verify_is_clean_until_a_byte_of_a_checkpoint_flips(run: Run, docs: Path, tmp_path: Path) -> None:
    run("ingest", docs, *PLACE)
    run("rebuild", *PLACE)
    work(tmp_path)
    out = run("verify").stdout
    assert "ok      acme/project_001: 2 docs, 2 chunks, 2 in the checkpoint, 0 changes since" in out
    assert out.endswith("1 namespaces clean\n")
    [file] = (tmp_path / "indices").rglob("*.faiss")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    result = run("verify", exit_code=1)
    assert "PROBLEM acme/project_001" in result.stdout
    assert "checksum" in result.stdout
    assert result.stderr == "error: 1 of 1 namespaces have problems.\n"


def test_verify_is_calm_after_a_restore_without_index_files(run: Run, docs: Path, tmp_path: Path) -> None:
    run("ingest", docs, *PLACE)
    run("rebuild", *PLACE)
    work(tmp_path)
    [file] = (tmp_path / "indices").rglob("*.faiss")
    file.unlink()
    out = run("verify").stdout
    assert "ok      acme/project_001: 2 docs, 2 chunks" in out
    assert f"        The index file {file.relative_to(tmp_path / 'indices')} is not in {tmp_path}/indices" in out
    assert "\n1 index files or tables to be written: no damage. The first search of a namespace" in out


def test_verify_sees_a_vector_that_is_gone(run: Run, docs: Path, tmp_path: Path) -> None:
    run("ingest", docs, *PLACE)
    database(tmp_path, "DELETE FROM embeddings WHERE rowid = (SELECT min(rowid) FROM embeddings)")
    assert "1 live chunks have no vector." in run("verify", exit_code=1).stdout


# doctor, migrate


def test_doctor_shows_no_secret_and_is_content(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBED_API_KEY", "hunter2")
    monkeypatch.setenv("EMBED_BASE_URL", "https://somebody:hunter3@embed.example/v1?api_key=hunter4")
    monkeypatch.setenv("LLM_API_KEY", "hunter5")
    monkeypatch.setenv("LLM_BASE_URL", "http://somebody:hunter6@llm.example/v1")
    out = run("doctor").output
    assert "hunter" not in out
    assert "somebody" not in out
    assert "EMBED_BASE_URL=https://***@embed.example/v1?api_key=***" in out
    assert "EMBED_API_KEY=****" in out
    assert f"{MODEL}, 384 dimensions, loaded in" in out
    assert "PROBLEM" not in out


def test_settings_shows_every_value_in_effect_and_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {name: f"hunter{name}" for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    urls = {name: "https://me:hunter2@host/v1" for name in Settings.model_fields if name.endswith("_base_url")}
    for name, value in {**secrets, **urls, "chunk_tokens": "123"}.items():
        monkeypatch.setenv(name.upper(), value)
    lines = run("settings").stdout.splitlines()
    values = dict(line.partition(" ")[::2] for line in lines[1:-1])
    assert [name.lower() for name in values] == list(Settings.model_fields)
    assert values["CHUNK_TOKENS"].strip() == "123"
    assert values["RERANK_BASE_URL"].strip() == "https://***@host/v1"
    assert "hunter" not in "".join(lines)


def test_a_database_url_is_shown_without_its_password() -> None:
    redacted = without_secrets("database_url", "postgresql://adf:p@ss/w:rd@db:5432/rag?sslpassword=x&sslmode=require")
    assert redacted == "postgresql://adf:***@db:5432/rag?sslpassword=***&sslmode=require"
    assert without_secrets("database_url", "sqlite:////srv/a:b@c/rag.db") == "sqlite:////srv/a:b@c/rag.db"


def test_doctor_minds_a_missing_worker_only_while_jobs_wait(run: Run, docs: Path, tmp_path: Path) -> None:
    assert re.search(r"ok +workers +none seen; 0 jobs wait", run("doctor").stdout)
    run("ingest", docs, *PLACE)
    run("rebuild", *PLACE)
    result = run("doctor", exit_code=1)
    assert re.search(r"PROBLEM workers +1 jobs wait, 0 run, and no worker has been seen", result.stdout)
    assert result.stderr == "error: problems found: 1\n"
    now = utc_now().replace(tzinfo=None)
    database(tmp_path, f"INSERT INTO workers (name, started_at, seen_at) VALUES ('host-1', '{now}', '{now}')")
    assert re.search(r"ok +workers +host-1 seen \d s ago, idle; 1 jobs wait", run("doctor").stdout)


def test_doctor_names_every_problem_at_once_and_registers_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("INDEX_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("MIN_FREE_DISK_MB", str(10**9))
    monkeypatch.setenv("EMBED_MODEL_NAME", "/there/is/no/such/model")
    out = run("doctor", exit_code=1).stdout
    assert re.findall(r"^PROBLEM (\w+)", out, re.MULTILINE) == ["disk", "index", "model"]
    monkeypatch.setenv("EMBED_MODEL_NAME", MODEL)
    run("doctor", exit_code=1)
    assert database(tmp_path, "SELECT count(*) FROM embedding_versions") == [(0,)]


@pytest.mark.parametrize("command", [("stats",), ("verify",), ("migrate",), ("doctor",), ("search", "x", *PLACE)])
def test_a_file_that_is_no_database_is_an_error_of_one_line(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "rag.db").write_bytes(b"This is a text, and it is long enough to be read.\n" * 20)
    result = run(*command, exit_code=1)
    assert "The file that DATABASE_URL names is not a SQLite database" in result.output
    assert result.stderr.count("\n") == 1


def test_settings_that_are_not_allowed_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBED_BATCH_SIZE", "many")
    monkeypatch.setenv("EMBED_BACKEND", "abacus")
    lines = run("stats", exit_code=2).stderr.splitlines()
    assert lines[0].startswith("error: EMBED_BACKEND='abacus' is not allowed: Input should be 'auto', 'openvino'")
    assert lines[1].startswith("error: EMBED_BATCH_SIZE='many' is not allowed: Input should be a valid integer")
    assert len(lines) == 2


def test_migrate_says_from_where_to_where(run: Run, tmp_path: Path) -> None:
    assert run("migrate").stdout == f"schema none -> {HEAD}\n"
    assert run("migrate").stdout == f"schema {HEAD}: nothing to do\n"
    other = f"sqlite:///{tmp_path}/other.db"
    assert "none ->" in run("--database-url", other, "migrate").stdout


def test_the_program_itself_prints_no_traceback(tmp_path: Path) -> None:
    variables = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/no/such/folder/rag.db"}
    done = subprocess.run([sys.executable, ROOT / "manage.py", "stats"], env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: The folder of the database file")
    assert done.stderr.count("\n") == 1
