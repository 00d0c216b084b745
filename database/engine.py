"""Owns the engine. A transaction is a unit of work; its errors are translated into messages for operators."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, TimeoutError
from sqlalchemy.orm import Session

from compression import DamagedText
from database.postgres import POOL_TIMEOUT_SECONDS, open_postgres
from database.problems import problem_of, raising_interrupted, unstorable
from database.sqlite import WAL_BYTES_BEFORE_CHECKPOINT, locked, move_log, open_sqlite, size_of, tried_lock
from errors import Conflict, DatabaseUnavailable, StorageFull

log = logging.getLogger(__name__)

RESERVE_BYTES = 16 << 20
MIGRATION_LOCK = 0x0AD15EED
BACKUP_LOCK = 0x0ADBAC09


class DatabaseKind(StrEnum):
    """The supported databases; code that depends on the database checks only this."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Database:
    """Owns the engine. A unit of work is the body of one ``with``: it commits whole or not at all."""

    def __init__(self, engine: Engine, *, min_free_bytes: int) -> None:
        self.engine = engine
        # On SQLite every transaction reads one snapshot; Postgres needs this isolation level for it.
        self.kind = DatabaseKind.SQLITE if engine.dialect.name == "sqlite" else DatabaseKind.POSTGRES
        is_sqlite = self.kind is DatabaseKind.SQLITE
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
        """*pool_size* is the number of Postgres connections that a process keeps; under load it opens as many again.

        The timeouts apply to Postgres, in all transactions except migrations; 0 is none.
        """
        engine = _create_engine(
            url,
            pool_size=pool_size,
            statement_seconds=statement_timeout_seconds,
            lock_seconds=lock_timeout_seconds,
        )
        try:
            yield cls(engine, min_free_bytes=min_free_bytes)
        finally:
            engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One snapshot of the database. Changes are never committed."""
        with (
            self._translated_errors(),
            Session(self._snapshots, expire_on_commit=False) as session,
            raising_interrupted(),
        ):
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits if the body succeeds, and rolls back if it raises.

        On SQLite it takes the write lock at the start: upgrading a reader to a writer would fail at once, whatever
        the timeout.
        """
        with self._translated_errors(), self.exclusively(), self.engine.connect() as connection:
            connection = connection.execution_options(begin="IMMEDIATE")
            with Session(connection, expire_on_commit=False) as session, session.begin(), raising_interrupted():
                yield session
                session.flush()  # so that only the commit remains
            self._checkpoint_when_due(connection)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A transaction that may change the schema: one at a time, across processes.

        The Postgres lock belongs to the transaction, because a connection pooler shares sessions.
        """
        engine = self.engine.execution_options(begin="IMMEDIATE", is_unlimited=True)
        with self._translated_errors(), self.exclusively(), engine.begin() as connection:
            if self.kind is DatabaseKind.POSTGRES:
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            yield connection

    def empty_log(self) -> bool:
        """Move SQLite's write-ahead log into the database and truncate it. False: a reader still needs it."""
        if self.file is None:
            return True
        with self._translated_errors(), self.exclusively(), self.engine.connect() as connection:
            move_log(connection)
        return size_of(Path(f"{self.file}-wal")) == 0

    def vacuum(self, tables: Sequence[str]) -> None:
        """Let Postgres free the space of deleted rows. Not in a transaction, and nobody waits for it."""
        engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._translated_errors(), engine.connect() as connection:
            for table in tables:
                connection.execute(text(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {table}"))

    def give_back_memory(self) -> None:
        """Close idle connections to SQLite, each of which keeps up to 64 MB of pages. The next one opens in 1 ms."""
        if self.kind is DatabaseKind.SQLITE:
            self.engine.dispose()

    @contextmanager
    def backing_up(self) -> Iterator[None]:
        """One backup of this database at a time, across processes; a lock that ends with its process.

        On Postgres it belongs to an idle transaction, which holds no snapshot and survives a connection pooler.
        Raises Conflict.
        """
        with ExitStack() as held:
            if self.file is not None:
                is_free = held.enter_context(tried_lock(Path(f"{self.file}-backup-lock")))
            else:
                connection = held.enter_context(self.engine.connect())
                is_free = bool(connection.scalar(select(func.pg_try_advisory_xact_lock(BACKUP_LOCK))))
            if not is_free:
                raise Conflict("Another backup of this database is running: let that one end.")
            yield

    def refuse_when_nearly_full(self) -> None:
        """Raise StorageFull below the low-water mark. Deletions do not check it: they must keep working."""
        if self.file is None or not self.min_free_bytes:
            return
        free = shutil.disk_usage(self.file.parent).free
        if free < self.min_free_bytes:
            raise StorageFull(
                f"Only {free >> 20} MB of disk are free and {self.min_free_bytes >> 20} MB are kept in reserve "
                "(MIN_FREE_DISK_MB): nothing new is accepted until there is more. Deleting still works."
            )

    def keep_reserve(self) -> None:
        """Reserve disk space in a file, for make_room_to_delete(). A failure does not prevent the start."""
        reserve = Path(f"{self.file}-reserve")
        if self.file is None or not self.min_free_bytes or size_of(reserve) >= RESERVE_BYTES:
            return
        try:
            if shutil.disk_usage(self.file.parent).free > self.min_free_bytes + RESERVE_BYTES:
                with open(reserve, "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError as error:
            log.warning("%s could not be reserved for deletions on a full disk: %s", reserve, error)

    def make_room_to_delete(self) -> None:
        """Release the reserve: even a deletion first writes to the log, so on a full disk it needs space."""
        if self.file is not None and shutil.disk_usage(self.file.parent).free < RESERVE_BYTES:
            Path(f"{self.file}-reserve").unlink(missing_ok=True)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Exclude all other writers of this SQLite file, across threads and processes; a no-op elsewhere."""
        with nullcontext() if self.file is None else locked(self.file):
            yield

    def _checkpoint_when_due(self, connection: Connection) -> None:
        """Decides by the size of the log, which a complete checkpoint truncates to zero."""
        wal = Path(f"{self.file}-wal")
        if self.file is None or size_of(wal) < self._checkpoint_at:
            return
        move_log(connection)
        self._checkpoint_at = size_of(wal) + WAL_BYTES_BEFORE_CHECKPOINT

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translates driver errors into messages that an operator can act on."""
        try:
            yield
        except DBAPIError as error:
            if "disk i/o error" in str(error.orig).lower():
                self.engine.dispose()  # the handle's cache may differ from the disk: never use it again
            if problem := problem_of(error, is_sqlite=self.kind is DatabaseKind.SQLITE):
                raise problem from error
            raise
        except DamagedText as error:
            raise DatabaseUnavailable(
                f"A compressed text in the database is damaged ({error}): restore the database from a backup."
            ) from error
        except (UnicodeEncodeError, OverflowError) as error:
            if isinstance(error, OverflowError) and "SQLite" not in str(error):
                raise
            raise unstorable(str(error)) from error
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"All connections of this process are in use, and none became free within {POOL_TIMEOUT_SECONDS} s: "
                "send less at once, start more processes, or raise DATABASE_POOL_SIZE."
            ) from error


def _create_engine(url: str, *, pool_size: int, statement_seconds: float, lock_seconds: float) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return open_sqlite(parsed)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername == "postgresql+psycopg":
            return open_postgres(
                parsed, pool_size=pool_size, statement_seconds=statement_seconds, lock_seconds=lock_seconds
            )
        raise NoSuchModuleError(parsed.drivername)
    except ModuleNotFoundError as error:
        raise DatabaseUnavailable(f"This kind of database needs the Python package {error.name}.") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseUnavailable(
            "DATABASE_URL is not a database URL that this service supports: sqlite:///./ai3_rag.db (the default, a "
            "file in the current folder) or postgresql://user:password@host/database."
        ) from error
