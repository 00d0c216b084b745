"""One engine per process, and the two ways to use it: read() and write(). And how SQLite and Postgres differ.

SQLite before 3.51.3 can corrupt a write-ahead log when a commit meets a checkpoint of another connection, and
Python links older ones. So one lock file is held around every write transaction and every checkpoint, and
automatic checkpoints are off. The lock also makes writers queue in the kernel instead of polling.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Float, create_engine, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, TimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import GenericFunction

from database_problems import nothing_kept, problem_of
from errors import DatabaseUnavailable, Interrupted, StorageFull

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

WAL_BYTES_BEFORE_CHECKPOINT = 4 << 20
BUSY_TIMEOUT_MS = 10_000
RESERVE_BYTES = 16 << 20
POOL_TIMEOUT_SECONDS = 10
MIGRATION_LOCK = 0x0AD15EED
CONNECT_TIMEOUT_SECONDS = 5
PAUSES_SECONDS = (0.05, 0.5)


class epoch_now(GenericFunction[float]):
    """Seconds since 1970 by the database's clock, which all workers share."""

    type = Float()
    inherit_cache = True


@compiles(epoch_now)
def _epoch_now(element: epoch_now, compiler: Any, **_: Any) -> str:  # noqa: ARG001
    return "extract(epoch from statement_timestamp())"


@compiles(epoch_now, "sqlite")
def _epoch_now_sqlite(element: epoch_now, compiler: Any, **_: Any) -> str:  # noqa: ARG001
    return "((julianday('now') - 2440587.5) * 86400.0)"


class Database:
    """Owns the engine. A unit of work is the body of one ``with``: it commits whole or not at all."""

    def __init__(self, engine: Engine, *, min_free_bytes: int) -> None:
        self.engine = engine
        # On SQLite every transaction reads one snapshot; Postgres has to be asked for it.
        is_sqlite = engine.dialect.name == "sqlite"
        self._snapshots = engine if is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self.min_free_bytes = min_free_bytes
        file = engine.url.database if is_sqlite else None
        self.file = Path(file).absolute() if file else None
        self._checkpoint_at = WAL_BYTES_BEFORE_CHECKPOINT

    @classmethod
    @contextmanager
    def open(
        cls,
        url: str,
        *,
        min_free_bytes: int = 0,
        pool_size: int = 10,
        statement_timeout_seconds: float = 0.0,
        lock_timeout_seconds: float = 0.0,
    ) -> Iterator[Database]:
        """*pool_size* counts the connections that a process keeps to a Postgres; under load it takes as many again.

        The timeouts are for a Postgres, in every transaction but those that migrate; 0 is none.
        """
        engine = _create_engine(url, pool_size)
        if engine.dialect.name == "sqlite":
            _teach_sqlite(engine)
        else:
            _limit(engine, statement_seconds=statement_timeout_seconds, lock_seconds=lock_timeout_seconds)
        try:
            yield cls(engine, min_free_bytes=min_free_bytes)
        finally:
            engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One snapshot of the database. Changes made in it are never kept."""
        with self._plain_errors(), Session(self._snapshots, expire_on_commit=False) as session, nothing_kept():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits when the body ends well, and rolls back when it does not.

        On SQLite the write lock is taken here, at the start: a reader that
        turns into a writer half-way is refused at once, whatever the timeout.
        """
        with self._plain_errors(), self.exclusively(), self.engine.connect() as connection:
            connection = connection.execution_options(begin="IMMEDIATE")
            with Session(connection, expire_on_commit=False) as session, session.begin(), nothing_kept():
                yield session
                session.flush()  # so that what is left to the end is the commit alone
            self._checkpoint_when_due(connection)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction in which the schema may be changed: one at a time, across processes.

        The lock of Postgres goes with the transaction: a pooler in between hands sessions around.
        """
        engine = self.engine.execution_options(begin="IMMEDIATE", is_unlimited=True)
        with self._plain_errors(), self.exclusively(), engine.begin() as connection:
            if self.file is None:
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            yield connection

    def refuse_when_nearly_full(self) -> None:
        """Raise StorageFull below the low-water mark. Deleting does not ask: it must go on working."""
        if self.file is None or not self.min_free_bytes:
            return
        free = shutil.disk_usage(self.file.parent).free
        if free < self.min_free_bytes:
            raise StorageFull(
                f"Only {free >> 20} MB of disk are free and {self.min_free_bytes >> 20} MB are kept in reserve "
                "(MIN_FREE_DISK_MB): nothing new is accepted until there is more. Deleting still works."
            )

    def keep_reserve(self) -> None:
        """Hold some disk back in a file of its own, for make_room_to_delete()."""
        reserve = Path(f"{self.file}-reserve")
        if self.file is None or not self.min_free_bytes or _size(reserve) >= RESERVE_BYTES:
            return
        if shutil.disk_usage(self.file.parent).free > self.min_free_bytes + RESERVE_BYTES:
            with open(reserve, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def make_room_to_delete(self) -> None:
        """Even a deletion writes to the log first, so on a full disk it needs what was held back."""
        if self.file is not None and shutil.disk_usage(self.file.parent).free < RESERVE_BYTES:
            Path(f"{self.file}-reserve").unlink(missing_ok=True)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """The one writer of this SQLite file, across threads and processes; elsewhere nothing."""
        if self.file is None:
            yield
            return
        try:
            lock = open(f"{self.file}-lock", "wb")  # noqa: SIM115  # the with below closes it
        except OSError as error:
            raise DatabaseUnavailable(
                f"The lock file beside the database cannot be opened: {error.strerror}."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go of by the close
            yield

    def _checkpoint_when_due(self, connection: Connection) -> None:
        """Move a long log into the file, under the lock. A reader in its way is not waited for.

        The size of the log tells when, since a whole checkpoint cuts it to nothing.
        """
        wal = Path(f"{self.file}-wal")
        if self.file is None or _size(wal) < self._checkpoint_at:
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        try:
            driver.execute("PRAGMA busy_timeout = 0")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:  # the commit before it stands all the same
            log.error("the log could not be moved into the database file: %s", error)
        finally:
            driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        self._checkpoint_at = _size(wal) + WAL_BYTES_BEFORE_CHECKPOINT

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """What the driver says, in words that an operator can act on."""
        try:
            yield
        except DBAPIError as error:
            if "disk i/o error" in str(error.orig).lower():
                self.engine.dispose()  # what the handle holds may not be what is on disk: never use it again
            if problem := problem_of(error, is_sqlite=self.file is not None):
                raise problem from error
            raise
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"All connections of this process are in use, and none became free within {POOL_TIMEOUT_SECONDS} s: "
                "send less at once, start more processes, or raise DATABASE_POOL_SIZE."
            ) from error


def repeatable(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb that may be run again after Interrupted, twice at the most.

    The database kept nothing of the interrupted transaction, so that one is never done twice. What else the verb has
    committed before it must do no harm when it is committed again. A commit whose answer was lost is not Interrupted:
    nobody knows whether it was kept, and who asked is told so.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in PAUSES_SECONDS:
            try:
                return verb(*args, **kwargs)
            except Interrupted as error:
                log.warning("%s is tried again: %s", verb.__qualname__, error)
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again
        return verb(*args, **kwargs)

    return run


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def insert_or_ignore(session: Session, table: type[Any]) -> Any:
    """INSERT ... ON CONFLICT DO NOTHING, in the words of the session's database."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return (sqlite.insert if is_sqlite else postgresql.insert)(table).on_conflict_do_nothing()


def insert_or_add(session: Session, table: type[Any], *, key: Mapping[str, Any], amounts: Mapping[str, int]) -> None:
    """Count: a row of its own for a *key* that is new, else *amounts* on top of what is there."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    inserted = (sqlite.insert if is_sqlite else postgresql.insert)(table).values(**key, **amounts)
    added = {name: getattr(table, name) + amount for name, amount in amounts.items()}
    session.execute(inserted.on_conflict_do_update(index_elements=list(key), set_=added))


def _create_engine(url: str, pool_size: int) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            _require_a_place(parsed.database)
            return create_engine(parsed)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername == "postgresql+psycopg":
            return create_engine(
                parsed,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=POOL_TIMEOUT_SECONDS,
                pool_pre_ping=True,
                connect_args=_CONNECT_ARGS,
            )
        raise NoSuchModuleError(parsed.drivername)
    except ModuleNotFoundError as error:
        raise DatabaseUnavailable(f"This kind of database needs the Python package {error.name}.") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseUnavailable(
            "DATABASE_URL is not a database URL that this service knows: sqlite:///./ai3_rag.db (the default, a file "
            "in the current folder) or postgresql://user:password@host/database."
        ) from error


def _limit(engine: Engine, *, statement_seconds: float, lock_seconds: float) -> None:
    """For one transaction at a time: a pooler hands sessions around, and what is said to one must not bind the next."""
    wanted = {"statement_timeout": statement_seconds, "lock_timeout": lock_seconds}
    limits = "; ".join(f"SET LOCAL {name} = {seconds * 1000:.0f}" for name, seconds in wanted.items() if seconds)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        is_unlimited = options.get("is_unlimited") or options.get("isolation_level") == "AUTOCOMMIT"
        if limits and not is_unlimited:
            connection.exec_driver_sql(limits)


def _require_a_place(file: str | None) -> None:
    if not file or file == ":memory:":
        raise DatabaseUnavailable("DATABASE_URL must name a file: API and worker are two processes and share it.")
    if not Path(file).absolute().parent.is_dir():
        raise DatabaseUnavailable(f"The folder of the database file {file} does not exist: make it first.")


def _teach_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy says BEGIN itself, below
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "wal_autocheckpoint = 0",
            "cache_size = -65536",
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
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")


# A host that vanishes says nothing: without these a query would wait for it for hours. And prepared statements belong
# to a session, which a pooler in between hands around.
_CONNECT_ARGS = {
    "prepare_threshold": None,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
