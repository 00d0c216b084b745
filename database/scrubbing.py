"""Overwrites the unused bytes of a SQLite file's pages: ``python -m database.scrubbing FILE``.

secure_delete overwrites rows that are deleted, but when SQLite moves rows from one page to another, copies of them stay
behind in the first one's gap, between its list of cells and their content, where nobody reads. They are overwritten
in the file itself, under the lock of the writers and while the write-ahead log is empty, so that the file is all there
is. A commit under the same lock lets every connection forget the pages that it has cached, and might write back.

A process of its own: closing a file drops the locks that the same process has on it through SQLite. Imports nothing of
the house but the lock.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

PAGES_PER_STEP = 256
PAUSE_SECONDS, BUSY_SECONDS = 0.01, 0.1
MOST_BUSY = 600
_HEADER = {0x02: 12, 0x05: 12, 0x0A: 8, 0x0D: 8}
"""The length of a b-tree page's header, by its type. An overflow or free page begins with the high byte of a number of
pages: 0 in any file of less than 64 GB."""
_LARGEST = 1 << 24


def scrub(file: Path) -> int:
    """Returns how many pages were overwritten. Raises RuntimeError.

    Once through the file is enough: what is moved meanwhile is not what was deleted before.
    """
    total, first, pages, busy = 0, 0, 1, 0
    while first < pages:
        with open(f"{file}-lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _has_empty_log(file):
                count, pages = _scrub_some(file, first)
                if count:
                    _invalidate_caches(file)
                total, first, busy = total + count, first + PAGES_PER_STEP, 0
            else:
                busy += 1
        if busy > MOST_BUSY:
            raise RuntimeError("a reader holds the write-ahead log")
        time.sleep(BUSY_SECONDS if busy else PAUSE_SECONDS)
    return total


def _has_empty_log(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError:
            return False
    log = Path(f"{file}-wal")
    return not is_busy and (not log.exists() or log.stat().st_size == 0)


def _invalidate_caches(file: Path) -> None:
    """Any commit does, even one that changes nothing."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 10000").fetchall()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {int(version)}")


def _scrub_some(file: Path, first: int) -> tuple[int, int]:
    """Returns how many pages were overwritten, and how many the file has."""
    with open(file, "r+b", buffering=0) as content:
        head = content.read(100)
        size = int.from_bytes(head[16:18], "big")
        size, reserved = (65536 if size == 1 else size), head[20]
        pages = os.fstat(content.fileno()).st_size // size
        if pages >= _LARGEST:
            raise RuntimeError("the file is too large")
        if any(head[52:56]):  # then there are pages that begin like a b-tree's, and are none
            raise RuntimeError("it has auto_vacuum: run PRAGMA auto_vacuum = 0 and VACUUM")
        content.seek(first * size)
        block = content.read(PAGES_PER_STEP * size)
        count = 0
        for number in range(len(block) // size):
            start = number * size
            gap = _gap(block, start, 100 if first + number == 0 else 0, size - reserved)
            if gap is not None and block.count(0, start + gap[0], start + gap[1]) < gap[1] - gap[0]:
                content.seek((first + number) * size + gap[0])
                content.write(bytes(gap[1] - gap[0]))
                count += 1
        if count:
            os.fsync(content.fileno())
    return count, pages


def _gap(block: bytes, start: int, offset: int, usable: int) -> tuple[int, int] | None:
    """The unused bytes of a b-tree page, from and to; None for any other page."""
    header = _HEADER.get(block[start + offset])
    if header is None:
        return None
    at = start + offset
    cells = int.from_bytes(block[at + 3 : at + 5], "big")
    content = int.from_bytes(block[at + 5 : at + 7], "big") or 65536
    begin = offset + header + 2 * cells
    return (begin, content) if begin < content <= usable else None


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{scrub(Path(sys.argv[1]))}\n")
    except (RuntimeError, OSError, sqlite3.Error) as error:
        sys.exit(str(error))
