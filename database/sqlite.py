"""Configures SQLite and serializes its writers.

SQLite before 3.51.3 can corrupt a write-ahead log when a commit coincides with a checkpoint of another connection, and
Python links older versions. So a lock file is held during every write transaction and every checkpoint, and automatic
checkpoints are off. The lock also makes writers queue in the kernel instead of polling.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from database.dialects import chain_hash
from errors import DatabaseUnavailable, StorageFull
from metrics import waiting_for_lock

log = logging.getLogger(__name__)

WAL_BYTES_BEFORE_CHECKPOINT = 4 << 20
BUSY_TIMEOUT_MS = 10_000
_RETRY_SECONDS = 0.01


def open_sqlite(url: URL) -> Engine:
    """Raises DatabaseUnavailable if the file's folder does not exist. Opens no connection before the first use."""
    _require_folder(url.database)
    engine = create_engine(url)
    _configure(engine)
    return engine


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Exclusive access to the database file, across threads and processes."""
    try:
        lock = open(f"{file}-lock", "wb")  # noqa: SIM115  # the with below closes it
    except OSError as error:
        raise DatabaseUnavailable(f"The lock file beside the database cannot be opened: {error.strerror}.") from error
    with lock:
        with waiting_for_lock():
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the close
        yield


@contextmanager
def tried_lock(path: Path) -> Iterator[bool]:
    """Whether the lock was free; it is then held until the end of the block."""
    with open(path, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def move_log(connection: Connection) -> None:
    """Checkpoint a long log into the file, under the lock. Does not wait for readers."""
    driver = connection.connection.driver_connection
    assert driver is not None
    try:
        driver.execute("PRAGMA busy_timeout = 0")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:  # the preceding commit is valid all the same
        log.error("the log could not be moved into the database file: %s", error)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def vacuum_into(engine: Engine, path: Path) -> None:
    """Write a compact copy of one snapshot to a new file, while others read and write. Not synced.

    Raises StorageFull and DatabaseUnavailable; the file is then incomplete.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        try:
            driver.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull("The disk has no room for a copy of the database: free some space.") from error
            raise DatabaseUnavailable(f"The database could not be copied: {error}.") from error


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _require_folder(file: str | None) -> None:
    if not file or file == ":memory:":
        raise DatabaseUnavailable("DATABASE_URL must name a file: API and worker are two processes and share it.")
    if not Path(file).absolute().parent.is_dir():
        raise DatabaseUnavailable(f"The folder of the database file {file} does not exist: create it first.")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Waits for others that switch the same new file, which SQLite's own timeout does not always do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _configure(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # on_begin() below sends BEGIN instead
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.create_function("chain_hash", 2, chain_hash, deterministic=True)
        _switch_to_wal(connection)
        for pragma in (
            "synchronous = FULL",
            "foreign_keys = ON",
            "wal_autocheckpoint = 0",
            "cache_size = -65536",
            "secure_delete = ON",  # what is deleted is overwritten
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        [mode], [synchronous] = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")
        )
        if (mode, synchronous) != ("wal", 2):
            raise DatabaseUnavailable(
                f"SQLite keeps journal_mode={mode}, synchronous={synchronous} for this file; WAL and FULL are "
                "needed to keep what was accepted. Is it on a network share, or read-only?"
            )

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        """A reader's BEGIN touches no file, so the driver has no error for SQLAlchemy to translate."""
        mode = connection.get_execution_options().get("begin")
        driver = connection.connection.driver_connection
        if mode is None and driver is not None:
            driver.execute("BEGIN")
        else:
            connection.exec_driver_sql(f"BEGIN {mode}")
