"""A restore: the steps of services/operations/restoring.py in their order, and the parts that examine the result."""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from database.engine import Database, DatabaseKind
from engines.blobs.opening import open_blob_store
from errors import BlobStoreUnavailable, DatabaseUnavailable, Invalid
from runtime.backups import open_source
from runtime.moving import open_move
from runtime.opening import join_parts
from services.operations.backing_up import Report
from services.operations.examining import Examination, ExaminingService
from services.operations.manifests import Manifest
from services.operations.restoring import RestoringService, require_same_kind
from settings import Settings

MOVE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Restored:
    manifest: Manifest
    examination: Examination


def restore(settings: Settings, *, source: str, target: str, raw_files: str, report: Report) -> Restored:
    """Restore a backup into the empty database at *target*, and its raw files into the store at *raw_files*.

    If anything is wrong, nothing has been restored. Raises DamagedBackup, Invalid, Conflict, StorageFull.
    """
    store, manifest = open_source(settings, source)
    url = _parsed(target)
    require_same_kind(manifest, target)
    changed = {"database_url": target, "blob_store_url": raw_files}
    with _plain_option_errors():
        blobs = open_blob_store(raw_files, min_free_bytes=settings.min_free_disk_mb << 20)
    restoring = RestoringService(store, manifest)
    restoring.require_known_schema()
    with ExitStack() as steps:
        database = steps.enter_context(_restored(settings, restoring, url))
        steps.enter_context(restoring.raw_files_in(blobs, report))
        restoring.write_indexes(settings.index_dir)
        examination = _examine(settings.model_copy(update=changed), database)
    return Restored(manifest, examination)


def verify_backup(settings: Settings, *, source: str, report: Report) -> Restored:
    """Restore a backup into a temporary place: a folder, or for Postgres a new database on DATABASE_URL's server."""
    store, manifest = open_source(settings, source)
    restoring = RestoringService(store, manifest)
    restoring.require_known_schema()
    with tempfile.TemporaryDirectory(prefix="adf-verify-") as folder, ExitStack() as steps:
        url = URL.create("sqlite", database=f"{folder}/rag.db")
        if manifest.database is DatabaseKind.POSTGRES:
            url = steps.enter_context(_temporary_database(settings.database_url))
        database = steps.enter_context(_restored(settings, restoring, url))
        steps.enter_context(restoring.raw_files_in(None, report))
        restoring.write_indexes(Path(folder, "indexes"))
        examination = _examine(settings.model_copy(update={"index_dir": Path(folder, "indexes")}), database)
    return Restored(manifest, examination)


@contextmanager
def _restored(settings: Settings, restoring: RestoringService, target: URL) -> Iterator[Database]:
    """The restored database, which becomes the target's content only if the body succeeds."""
    min_free_bytes = settings.min_free_disk_mb << 20
    rendered = target.render_as_string(hide_password=False)
    if target.get_backend_name() == "sqlite":
        with (
            restoring.into_sqlite(Path(target.database or "").absolute()) as unfinished,
            Database.open(unfinished, min_free_bytes=min_free_bytes) as database,
        ):
            yield database
        return
    with Database.open(rendered, min_free_bytes=min_free_bytes) as database:
        if restoring.manifest.database is DatabaseKind.POSTGRES:
            with restoring.into_postgres(database):
                yield database
        else:
            with restoring.as_source_of_a_move() as unfinished:
                _move(settings, unfinished, rendered)
            yield database


def _move(settings: Settings, source: str, target: str) -> None:
    """From SQLite to Postgres. A kill leaves the target closed; it has to be emptied then."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it logs failed batches, which are errors here
    with open_move(settings, source=source, target=target, batch_rows=MOVE_ROWS) as moving:
        moving.begin()
        for _ in moving.copy():
            pass
        moving.finish(moving.compare(lambda _: None))


def _examine(settings: Settings, database: Database) -> Examination:
    with join_parts(settings, database) as runtime:
        index = runtime.index
        examining = ExaminingService(database, index.verifying, index.publisher, runtime.search.searching)
        return examining.examine(settings.search_mode)


@contextmanager
def _temporary_database(url: str) -> Iterator[URL]:
    server = _parsed(url)
    if server.get_backend_name() != "postgresql":
        raise Invalid("This backup is one of Postgres: to verify it, DATABASE_URL must name a Postgres server.")
    name = f"adf_verify_{secrets.token_hex(6)}"
    with Database.open(url) as database:
        try:
            _run(database, f'CREATE DATABASE "{name}"')
        except DBAPIError as error:
            reason = str(error.orig).partition("\n")[0]
            raise DatabaseUnavailable(
                f"A temporary database cannot be created ({reason}): let the user of DATABASE_URL create databases, or "
                "restore into an empty database with manage.py restore --to."
            ) from error
        try:
            yield server.set(database=name)
        finally:
            _run(database, f'DROP DATABASE "{name}" WITH (FORCE)')


def _run(database: Database, statement: str) -> None:
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise Invalid(
            f"{url!r} is not a database URL: write sqlite:///./ai3_rag.db or postgresql://host/name."
        ) from error


@contextmanager
def _plain_option_errors() -> Iterator[None]:
    try:
        yield
    except BlobStoreUnavailable as error:
        raise Invalid(str(error).replace("BLOB_STORE_URL", "--blobs-to")) from error
