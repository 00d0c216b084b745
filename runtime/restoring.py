"""A restore: the steps of services/operations/restoring.py in their order, and the parts that examine the result."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from database.engine import Database, DatabaseKind
from engines.blobs.opening import open_blob_store
from errors import BlobStoreUnavailable, Invalid
from runtime.backups import open_source
from runtime.moving import open_move
from runtime.opening import join_parts
from services.erasure.replaying import ErasureReplayer
from services.operations.audit import AuditService
from services.operations.backing_up import Report
from services.operations.backup_places import read_ledger
from services.operations.backup_store import RAW
from services.operations.database_urls import sqlite_file, sqlite_url, temporary_postgres
from services.operations.examining import Examination, ExaminingService
from services.operations.manifests import BackupManifest
from services.operations.restoring import RestoringService, named_files, require_same_kind
from settings import Settings

log = logging.getLogger(__name__)

MOVE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Restored:
    manifest: BackupManifest
    examination: Examination


def restore(settings: Settings, *, source: str, target: str, raw_files: str, report: Report) -> Restored:
    """Restore a backup into the empty database at *target*, and its raw files into the store at *raw_files*.

    If anything is wrong, nothing has been restored. Raises DamagedBackup, Invalid, Conflict, StorageFull.
    """
    store, manifest = open_source(settings, source)
    require_same_kind(manifest, target)
    changed = {"database_url": target, "blob_store_url": raw_files}
    with _plain_option_errors():
        blobs = open_blob_store(raw_files, min_free_bytes=settings.min_free_disk_mb << 20)
    restoring = RestoringService(store, manifest)
    restoring.require_known_schema()
    with ExitStack() as steps:
        database = steps.enter_context(_restored(settings.model_copy(update=changed), restoring, target))
        with database.read() as session:
            raw_names, index_names = named_files(session)
        steps.enter_context(restoring.raw_files_in(blobs, raw_names, report))
        restoring.write_indexes(settings.index_dir, index_names)
        examination = _examine(settings.model_copy(update=changed), database)
        AuditService(database).record("backup.restored", object=manifest.id, source=store.location)
    return Restored(manifest, examination)


def verify_backup(settings: Settings, *, source: str, report: Report) -> Restored:
    """Restore a backup into a temporary place: a folder, or for Postgres a new database on DATABASE_URL's server."""
    store, manifest = open_source(settings, source)
    restoring = RestoringService(store, manifest)
    restoring.require_known_schema()
    with tempfile.TemporaryDirectory(prefix="adf-verify-") as folder, ExitStack() as steps:
        url = sqlite_url(Path(folder, "rag.db"))
        if manifest.database is DatabaseKind.POSTGRES:
            url = steps.enter_context(temporary_postgres(settings.database_url))
        places = {"index_dir": Path(folder, "indexes"), "blob_store_url": f"file://{folder}/raw"}
        temporary = settings.model_copy(update={**places, "receipt_key_file": Path(folder, "receipt_key")})
        database = steps.enter_context(_restored(temporary, restoring, url))
        with database.read() as session:
            _, index_names = named_files(session)
        every = {part.name.removeprefix(RAW) for part in manifest.raw_files}
        steps.enter_context(restoring.raw_files_in(None, every, report))
        restoring.write_indexes(temporary.index_dir, index_names)
        examination = _examine(temporary, database)
    return Restored(manifest, examination)


@contextmanager
def _restored(settings: Settings, restoring: RestoringService, target: str) -> Iterator[Database]:
    """The restored database, which becomes the target's content only if the body succeeds."""
    min_free_bytes = settings.min_free_disk_mb << 20
    if (file := sqlite_file(target)) is not None:
        with (
            restoring.into_sqlite(file) as unfinished,
            Database.open(unfinished, min_free_bytes=min_free_bytes) as database,
        ):
            _erase_again(settings, restoring, database)
            yield database
        return
    with Database.open(target, min_free_bytes=min_free_bytes) as database:
        if restoring.manifest.database is DatabaseKind.POSTGRES:
            with restoring.into_postgres(database):
                _erase_again(settings, restoring, database)
                yield database
        else:
            with restoring.as_source_of_a_move() as unfinished:
                with Database.open(unfinished) as source:
                    _erase_again(settings, restoring, source)
                _move(settings, unfinished, target)
            yield database


def _erase_again(settings: Settings, restoring: RestoringService, database: Database) -> None:
    """Every erasure that the ledger beside the backup has and the backup has not, before anybody is served.

    The index files that the backup may have are not there yet, so nothing is read from them.
    """
    ledger = read_ledger(restoring.store)
    if ledger is None or not ledger.get("erasures"):
        return
    with join_parts(settings, database) as runtime:
        erasing = replace(runtime.erasure.erasing, publish_ledger=lambda _: [], list_backups=list)
        replayer = ErasureReplayer(database, runtime.erasure.requests, erasing, runtime.erasure.ledger)
        count = replayer.erase_again(ledger, backup_id=restoring.manifest.id)
    if count:
        log.info("%d erasures that are younger than the backup were applied to it again", count)


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
def _plain_option_errors() -> Iterator[None]:
    try:
        yield
    except BlobStoreUnavailable as error:
        raise Invalid(str(error).replace("BLOB_STORE_URL", "--blobs-to")) from error
