"""Makes the database's files forget what its rows no longer have.

SQLite overwrites what is deleted (secure_delete), but for the words of the keyword index, which stay in its segments
until these are merged, and for the write-ahead log, until it is truncated. Postgres frees the space of dead rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from database.engine import Database, DatabaseKind
from engines.keywords.fts5 import merge_deleted_words
from errors import DatabaseUnavailable
from models import TENANT_DATA, Erasure
from scratch import sweep_scratch
from services.erasure.steps import STEP_SECONDS, Steps, Stride

_ROOT = Path(__file__).parents[2]
LOG_SECONDS, LOOK_SECONDS = 120.0, 0.05
MOST_MERGES = 1_000_000


@dataclass(frozen=True)
class Cleaning:
    database: Database

    def clean(self, erasure: Erasure, steps: Steps) -> str:
        """Returns how it was done. Raises DatabaseUnavailable if a reader kept the log for too long."""
        sweep_scratch()
        if self.database.kind is DatabaseKind.POSTGRES:
            return self._vacuum()
        merges = self._merge(erasure, steps)
        self.empty_log(steps)
        pages = self._scrub(steps)
        return (
            f"secure_delete overwrote what was deleted; the keyword index was merged in {merges} steps until nothing "
            f"was left to merge; the write-ahead log was truncated to 0 bytes; of all pages, {pages} had unused "
            "bytes that were overwritten"
        )

    def _scrub(self, steps: Steps) -> int:
        """In a process of its own, and with no page in this one's memory. Returns how many pages were overwritten."""
        self.database.give_back_memory()
        command = [sys.executable, "-P", "-m", "database.scrubbing", str(self.database.file)]
        environment = {"PYTHONPATH": str(_ROOT), "PATH": os.environ.get("PATH", os.defpath)}
        with subprocess.Popen(  # noqa: S603 - its own program
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                while process.poll() is None:
                    steps.check()
                    time.sleep(LOOK_SECONDS)
            except BaseException:
                process.kill()
                raise
            answer, problem = process.communicate()
        if process.returncode:
            raise DatabaseUnavailable(
                f"The unused bytes of SQLite's pages could not be overwritten: {problem.strip()}."
            )
        return int(answer)

    def empty_log(self, steps: Steps) -> None:
        deadline = time.monotonic() + LOG_SECONDS
        while not self.database.empty_log():
            if time.monotonic() > deadline:
                raise DatabaseUnavailable("A reader has held SQLite's write-ahead log for long: it cannot be emptied.")
            steps.check()
            time.sleep(LOOK_SECONDS)

    def _merge(self, erasure: Erasure, steps: Steps) -> int:
        """Some pages at a time: a merge at once would hold the write lock for as long as the index is large."""
        count, is_first, has_more, stride = 0, True, True, Stride()
        while has_more and count < MOST_MERGES:
            steps.check()
            with steps.step(90, dict(erasure.tally)) as session, stride.measured():
                started = time.monotonic()
                while has_more and time.monotonic() - started < STEP_SECONDS / 2:
                    has_more = merge_deleted_words(session, is_first=is_first) or is_first
                    count, is_first = count + 1, False
            stride.pause()
        return count

    def _vacuum(self) -> str:
        tables = sorted({column.partition(".")[0] for column in TENANT_DATA})
        with self.database.write() as session:
            session.execute(text("SELECT gin_clean_pending_list('ix__keywords__lexemes'::regclass)"))
        self.database.vacuum(tables)
        return f"VACUUM of {', '.join(tables)}; the pending list of the keyword index was flushed"
