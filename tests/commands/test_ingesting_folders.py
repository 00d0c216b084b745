"""manage.py ingest: which files it takes, what it says meanwhile, and how their doc_ids are chosen."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from commands import common
from services.operations.folders import FileIngestingService
from services.operations.walking import Selection, find_files
from tests.commands.test_manage import PLACE, Run, docs, run
from tests.support import files

__all__ = ["docs", "run"]


def test_what_is_passed_over_is_counted_by_reason_and_suffix(docs: Path) -> None:
    for name in ("a.png", "b.PNG", "c.py", "d.log", ".hidden", "e.tar.gz", "f.xml"):
        (docs / name).write_text("text")
    (docs / "binary").write_bytes(b"\x00\x01\x02")
    passed = find_files([docs]).passed
    assert passed["hidden"] == {"without a suffix": 1}
    unread = {".png": 2, ".py": 1, ".log": 1, ".tar.gz": 1, ".xml": 1, "without a suffix": 1}
    assert passed["of no type that is taken"] == unread
    assert find_files([docs], Selection(["*.png"])).passed["that no --glob matches"].total() == 8


def test_text_of_an_unknown_suffix_or_of_none_is_taken_and_a_gz_is_read_through(run: Run, docs: Path) -> None:
    (docs / "README.Debian").write_text("The harbour has a crane.")
    (docs / "NOTES").write_bytes("Grüße vom Leuchtturm.".encode("latin-1"))
    (docs / "changelog.Debian.gz").write_bytes(gzip.compress(b"The walrus was repaired."))
    (docs / "table.csv.gz").write_bytes(gzip.compress(files.CSV))
    (docs / "paper.pdf.gz").write_bytes(gzip.compress(files.pdf()))
    (docs / "program.gz").write_bytes(gzip.compress(bytes(1000)))
    (docs / "cut.md.gz").write_bytes(gzip.compress(b"Long. " * 1000)[:50])
    out = run("ingest", docs, *PLACE, exit_code=1).stdout
    assert "docs    7 upserted, 0 skipped, 1 failed" in out
    assert "failed  docs/cut.md.gz: It is damaged, or not really a gzip file." in out
    assert "passed  1 of no type that is taken: 1 .gz" in out
    assert "docs/changelog.Debian.gz#c0000" in run("search", "walrus", *PLACE, "--mode", "keyword").stdout
    assert "docs/paper.pdf.gz#c0001  (Fees, page 2)" in run("search", "When are fees paid?", *PLACE).stdout


def test_what_a_gz_unpacks_to_is_limited(run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TEXT_CHARS", "1000")
    (docs / "bomb.txt.gz").write_bytes(gzip.compress(b"a" * 10_000_000))
    (docs / "bomb.json.gz").write_bytes(gzip.compress(b"[" + b"1," * 5_000_000 + b"1]"))
    monkeypatch.setenv("EXTRACT_MEMORY_MB", "8")
    out = run("ingest", docs, *PLACE, exit_code=1).stdout
    assert "failed  docs/bomb.txt.gz: It has more than 4000 bytes" in out
    assert "failed  docs/bomb.json.gz: It unpacks to more than 8 MB (EXTRACT_MEMORY_MB)." in out


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.md", ["a.md", "guide/b.md", "guide/old/c.md"]),
        ("guide/*.md", ["guide/b.md"]),
        ("guide/**/*.md", ["guide/b.md", "guide/old/c.md"]),
        ("**/old/*", ["guide/old/c.md"]),
        ("guide/**", ["guide/b.md", "guide/old/c.md"]),
        ("./a.md", ["a.md"]),
        ("*/a.md", []),
    ],
)
def test_a_pattern_means_what_a_shell_means_by_it(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("a.md", "guide/b.md", "guide/old/c.md"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("text")
    listed = find_files([tmp_path / "in"], Selection([pattern])).files
    assert sorted(file.doc_id for file in listed) == [f"in/{name}" for name in names]


def test_it_talks_from_its_first_moment_and_a_line_at_a_time(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "SECONDS_PER_LINE", 0.0)
    lines = run("ingest", docs, *PLACE).stderr.splitlines()
    assert lines[0] == f"looking for files in {docs}"
    assert lines[1] == "2 files for acme/project_001; the first doc_id is docs/cats.md"
    assert lines[2] == "files: 0 of 2, docs/cats.md"
    assert lines[-1].startswith("files: 2 of 2, ")
    assert lines[-1].endswith(" per second, 0 s left")


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    run: Run, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileIngestingService._read
    monkeypatch.setattr("services.operations.folders.BATCH_DOCS", 1)

    def interrupted(self: FileIngestingService, file: object, target: object) -> object:
        if file.doc_id == "docs/guide/ships.txt":  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return read(self, file, target)  # type: ignore[arg-type]

    (docs / "zebra.txt").write_text("Zebras graze.")
    monkeypatch.setattr(FileIngestingService, "_read", interrupted)
    stopped = run("ingest", docs, *PLACE, exit_code=130)
    assert "docs    1 upserted, 0 skipped, 0 failed, 2 not tried" in stopped.stdout
    assert "error: stopped. What is counted as upserted is stored; the same command goes on" in stopped.stderr
    monkeypatch.setattr(FileIngestingService, "_read", read)
    assert "docs    2 upserted, 1 skipped, 0 failed" in run("ingest", docs, *PLACE).stdout


def test_a_prefix_begins_doc_ids_whatever_the_folder_is_called(run: Run, docs: Path) -> None:
    run("ingest", docs, *PLACE, "--prefix", "handbook/2024")
    assert "2 skipped" in run("ingest", docs, *PLACE, "--prefix", "handbook/2024/").stdout
    assert "handbook/2024/guide/ships.txt#c0000" in run("search", "ships", *PLACE).stdout
    assert [file.doc_id for file in find_files([docs / "cats.md"], prefix="pets").files] == ["pets/cats.md"]
    assert [file.doc_id for file in find_files([docs / "cats.md"], prefix="").files] == ["cats.md"]


def test_another_file_of_the_same_doc_id_is_refused_unless_told(run: Run, docs: Path, tmp_path: Path) -> None:
    run("ingest", docs, *PLACE)
    other = tmp_path / "elsewhere" / "docs"
    other.mkdir(parents=True)
    (other / "cats.md").write_text("# Cats\n\nOther cats.\n")
    (other / "new.md").write_text("New.")
    refused = run("ingest", other, *PLACE, exit_code=1).stdout
    assert f"failed  docs/cats.md: This doc_id is that of {docs}/cats.md. --prefix gives it another" in refused
    assert "1 upserted, 0 skipped, 1 failed" in refused
    assert "Other cats" not in run("search", "cats", *PLACE).stdout
    assert "1 upserted, 1 skipped" in run("ingest", other, *PLACE, "--replace").stdout
    assert "Other cats" in run("search", "cats", *PLACE).stdout
    (docs / "cats.md").write_text("# Cats\n\nOther cats.\n")
    assert "0 failed" in run("ingest", docs, *PLACE).stdout
