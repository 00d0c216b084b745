"""The unused bytes of a database file: what was moved between pages leaves no copy, and nothing else changes."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.support.processes import ROOT


def filled(file: Path, seed: int, *pragmas: str) -> list[tuple[str, str]]:
    """A file of which many rows were deleted with secure_delete, of every kind that moves in the tree. Its rows."""
    chance = random.Random(seed)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in (*pragmas, "journal_mode = WAL", "secure_delete = ON", "synchronous = OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("CREATE TABLE texts (name TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID")
        connection.execute("CREATE INDEX by_text ON texts (text)")
        for number in range(1500):
            word = "secret" if number % 3 else "public"
            text = f"{word} {chance.random()} " * chance.randint(1, 40)
            connection.execute("INSERT INTO texts VALUES (?, ?)", (f"{chance.random()}", text))
        names = [row[0] for row in connection.execute("SELECT name FROM texts WHERE text LIKE 'secret%'")]
        for name in chance.sample(names, len(names)):
            connection.execute("DELETE FROM texts WHERE name = ?", (name,))
        return connection.execute("SELECT * FROM texts ORDER BY name").fetchall()


def test_no_copy_of_a_deleted_row_is_left_in_any_page_and_every_other_row_is(tmp_path: Path) -> None:
    file = tmp_path / "rag.db"
    rows = filled(file, seed=3)
    assert file.read_bytes().count(b"secret") > 0, "SQLite left nothing: this test shows nothing"
    with closing(sqlite3.connect(file)) as open_elsewhere:
        assert open_elsewhere.execute("SELECT count(*) FROM texts").fetchone() == (len(rows),)
        command = [sys.executable, "-m", "database.scrubbing", str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert int(done.stdout) > 0
        assert open_elsewhere.execute("SELECT * FROM texts ORDER BY name").fetchall() == rows
    assert file.read_bytes().count(b"secret") == 0
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT * FROM texts ORDER BY name").fetchall() == rows


def test_a_file_whose_pages_are_not_all_what_they_look_like_is_refused_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "rag.db"
    filled(file, 5, "auto_vacuum = FULL")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = file.read_bytes()
    command = [sys.executable, "-m", "database.scrubbing", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "it has auto_vacuum: run PRAGMA auto_vacuum = 0 and VACUUM\n")
    assert file.read_bytes() == before


def test_a_reader_that_holds_the_log_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rag.db"
    filled(file, seed=4)
    with closing(sqlite3.connect(file, isolation_level=None)) as reader, closing(sqlite3.connect(file)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM texts").fetchone()
        writer.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        writer.execute("INSERT INTO texts VALUES ('new', 'public')")
        writer.commit()
        code = "import pathlib; from database import scrubbing as s; s.MOST_BUSY = 2; s.scrub(pathlib.Path({!r}))"
        command = [sys.executable, "-c", code.format(str(file))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "a reader holds the write-ahead log" in done.stderr
