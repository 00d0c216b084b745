"""A consistent copy of a database that is in use, as the parts of a backup; and from the parts a database again.

SQLite's is a compact file in which deleted words are gone from the keyword index too. Postgres' is one read-only
transaction's tables, each in Postgres' own binary format.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import Connection, TableClause, inspect, literal, select, text

from database.engine import Database, DatabaseKind
from database.sqlite import size_of, vacuum_into
from engines.keywords.fts5 import forget_deleted_words
from errors import Conflict, DamagedBackup, DatabaseUnavailable, StorageFull
from migrations.upgrade import RESTORING, create_schema, set_revision, upgrade_to_head
from models import Base
from services.operations.backup_store import BackupStore
from services.operations.database_urls import sqlite_url
from services.operations.manifests import BackupManifest, BackupPart, SnapshotFacts, facts_of

PIECE_BYTES = 1 << 20
SQLITE_PART = "database.sqlite"
LEFTOVERS = ("", "-wal", "-shm", "-lock", "-reserve", "-journal")


def copy_database(
    database: Database, store: BackupStore, backup_id: str, scratch: Path
) -> tuple[SnapshotFacts, list[BackupPart]]:
    """*scratch* is an existing folder, best on the store's own disk. Raises StorageFull and DatabaseUnavailable."""
    if database.kind is DatabaseKind.SQLITE:
        return _copy_sqlite(database, store, backup_id, scratch)
    with database.read() as session, _postgres_errors():
        facts = facts_of(session)
        driver = _driver(session.connection())
        tables = [
            store.write(f"{backup_id}/{table}.copy", _rows(driver, _statement(table, columns, "TO STDOUT")))
            for table, columns in facts.columns.items()
        ]
    return facts, tables


def load_sqlite(store: BackupStore, manifest: BackupManifest, file: Path) -> None:
    """Write the database to a new file and check it. Raises DamagedBackup."""
    [part] = manifest.tables
    with _no_room(file.parent), open(file, "xb") as copy:
        for piece in store.read(part):
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    with closing(sqlite3.connect(file)) as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [f"a row of {row[0]} refers to no row of {row[2]}" for row in connection.execute(_FOREIGN_KEYS)]
    if problems:
        raise DamagedBackup(f"SQLite finds the database of the backup inconsistent: {problems[0]}.")


def load_postgres(
    store: BackupStore, manifest: BackupManifest, database: Database, check: Callable[[Connection], None]
) -> None:
    """Create the tables, fill and *check* them and migrate them, in one transaction.

    The schema's revision is then RESTORING, so that no process works on it yet.
    """
    parts = {part.name.rpartition("/")[2].removesuffix(".copy"): part for part in manifest.tables}
    with database.migrating() as connection, _postgres_errors():
        require_empty(connection)
        drop_tables(connection)
        create_schema(connection, manifest.schema)
        for table, columns in manifest.columns.items():
            _fill(_driver(connection), _statement(table, columns, "FROM STDIN"), store, parts[table])
        check(connection)
        upgrade_to_head(connection)
        set_revision(connection, RESTORING)


def require_empty(connection: Connection) -> None:
    """Rows of an unfinished restore do not count. Raises Conflict."""
    existing = set(inspect(connection).get_table_names())
    if (
        "alembic_version" in existing
        and connection.scalar(text("SELECT version_num FROM alembic_version")) == RESTORING
    ):
        return
    ours = [table.name for table in Base.metadata.sorted_tables if table.name in existing]
    filled = [table for table in ours if connection.scalar(select(literal(1)).select_from(TableClause(table)).limit(1))]
    if filled:
        raise Conflict(
            f"The target is not empty: it has rows in {', '.join(filled)}. A restore never adds to existing rows: name "
            "an empty database."
        )


def drop_tables(connection: Connection) -> None:
    for table in ("alembic_version", *(table.name for table in reversed(Base.metadata.sorted_tables))):
        connection.execute(text(f'DROP TABLE IF EXISTS "{table}" CASCADE'))


def remove_sqlite(file: Path) -> None:
    for suffix in LEFTOVERS:
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def _copy_sqlite(
    database: Database, store: BackupStore, backup_id: str, scratch: Path
) -> tuple[SnapshotFacts, list[BackupPart]]:
    assert database.file is not None
    needed = size_of(database.file) + database.min_free_bytes
    if (free := shutil.disk_usage(scratch).free) < needed:
        raise StorageFull(
            f"A copy of the database needs {needed >> 20} MB, MIN_FREE_DISK_MB included, and {free >> 20} MB are free "
            f"in {scratch}: free some space."
        )
    file = scratch / f"{backup_id}.sqlite"
    try:
        vacuum_into(database.engine, file)
        with _copy_errors():
            forget_deleted_words(file)
        with Database.open(sqlite_url(file)) as copy, copy.read() as session:
            facts = facts_of(session)
        return facts, [store.adopt(file, f"{backup_id}/{SQLITE_PART}")]
    finally:
        remove_sqlite(file)


def _statement(table: str, columns: Iterable[str], direction: LiteralString) -> Composed:
    names = SQL(", ").join(map(Identifier, columns))
    return SQL("COPY {} ({}) {} (FORMAT BINARY)").format(Identifier(table), names, SQL(direction))


def _rows(driver: psycopg.Connection[Any], statement: Composed) -> Iterator[bytes]:
    """In pieces of some size: the server sends row by row."""
    piece = bytearray()
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in copy:
            piece += row
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    yield bytes(piece)


def _fill(driver: psycopg.Connection[Any], statement: Composed, store: BackupStore, part: BackupPart) -> None:
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in store.read(part):
                copy.write(piece)
    except psycopg.Error:
        for _ in store.read(part):  # Postgres may notice damage before the checksum does, but cannot say so
            pass
        raise


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


@contextmanager
def _postgres_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        reason = str(error).partition("\n")[0]
        raise DatabaseUnavailable(f"Postgres could not copy a table: {reason}.") from error


@contextmanager
def _copy_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"The copy of the database could not be finished: {error}.") from error


@contextmanager
def _no_room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFull(f"The database cannot be written in {folder}: {error.strerror}.") from error


_FOREIGN_KEYS = "PRAGMA foreign_key_check"
