"""Turns a backup into an installation again, into an empty target, and checks it before anybody uses it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session

from database.engine import Database, DatabaseKind
from domain import JobStatus
from durable import sync_folder
from engines.blobs.base import BlobStore
from errors import BlobStoreUnavailable, Conflict, DamagedBackup, Invalid
from migrations.upgrade import HEAD, bring_up_to_date, is_known, set_revision
from models import IndexRow, Job
from services.operations.backing_up import Report
from services.operations.backup_store import RAW, BackupStore
from services.operations.database_copies import (
    drop_tables,
    load_postgres,
    load_sqlite,
    remove_sqlite,
)
from services.operations.database_urls import sqlite_file, sqlite_url
from services.operations.manifests import BackupManifest, BackupPart, namespace_counts, raw_file_names, row_counts
from services.operations.moving import finish_postgres


@dataclass(frozen=True)
class RestoringService:
    store: BackupStore
    manifest: BackupManifest

    def require_known_schema(self) -> None:
        """Raises Invalid."""
        if not is_known(self.manifest.schema):
            raise Invalid(
                f"The backup {self.manifest.id} has schema {self.manifest.schema}, which this code does not know (it "
                f"knows up to {HEAD}): it was made by version {self.manifest.software}. Restore it with that version."
            )

    @contextmanager
    def into_sqlite(self, file: Path) -> Iterator[str]:
        """Yields the URL of the restored and migrated database, which gets its name only if the body succeeds."""
        if file.exists():
            raise Conflict(f"The target {file} exists: a restore writes a new file. Move it away, or name another.")
        if not file.parent.is_dir():
            raise Conflict(f"The folder of the target {file} does not exist: create it first.")
        unfinished = Path(f"{file}-restoring")
        remove_sqlite(unfinished)
        try:
            load_sqlite(self.store, self.manifest, unfinished)
            with Database.open(sqlite_url(unfinished)) as database:
                with database.read() as session:
                    self._require_counts(session)
                bring_up_to_date(database)
                with database.read() as session:
                    self._require_raw_files(session)
            yield sqlite_url(unfinished)
            _put_in_place(unfinished, file)
        finally:
            remove_sqlite(unfinished)

    @contextmanager
    def into_postgres(self, database: Database) -> Iterator[None]:
        """The body works on the restored and migrated database, which processes open only if the body succeeds."""
        load_postgres(self.store, self.manifest, database, self._require_counts_in)
        try:
            with database.write() as session:
                self._require_raw_files(session)
                finish_postgres(session)
            yield
            with database.write() as session:
                set_revision(session.connection(), HEAD)
        except BaseException:
            with database.migrating() as connection:
                drop_tables(connection)
            raise

    @contextmanager
    def as_source_of_a_move(self) -> Iterator[str]:
        """Yields the URL of a temporary database, in which no job runs."""
        with (
            tempfile.TemporaryDirectory(prefix="adf-restore-") as folder,
            self.into_sqlite(Path(folder, "rag.db")) as url,
        ):
            with Database.open(url) as database, database.write() as session:
                session.execute(update(Job).where(Job.status == JobStatus.RUNNING).values(lease_until=0))
            yield url

    @contextmanager
    def raw_files_in(self, blobs: BlobStore | None, names: set[str], report: Report) -> Iterator[None]:
        """Copy the raw files of these names into *blobs*, or only check them without. If the body fails, they are
        removed again.
        """
        parts = [part for part in self.manifest.raw_files if part.name.removeprefix(RAW) in names]
        present = set(blobs.names()) if blobs is not None and parts else set()
        written: list[str] = []
        try:
            for number, part in enumerate(parts, 1):
                name = part.name.removeprefix(RAW)
                if blobs is None:
                    _drain(self.store.read(part))
                elif name not in present or not _equals(blobs, name, part):
                    written.append(name)
                    self._write(blobs, name, part)
                report(number, len(parts), name)
            yield
        except BaseException:
            for name in written if blobs is not None else ():
                with suppress(BlobStoreUnavailable):
                    assert blobs is not None
                    blobs.delete(name)
            raise

    def write_indexes(self, folder: Path, names: set[str]) -> None:
        """Those of these names. Raises DamagedBackup."""
        for part in self.manifest.index_files:
            name = part.name.partition("/indexes/")[2]
            path = folder / name
            if name not in names:
                continue
            if not path.resolve().is_relative_to(folder.resolve()):
                raise DamagedBackup(f"The part {part.name} leads out of the index folder.")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            try:
                with open(temporary, "wb") as file:
                    for piece in self.store.read(part):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)

    def _write(self, blobs: BlobStore, name: str, part: BackupPart) -> None:
        with blobs.open_writer(name) as writer:
            for piece in self.store.read(part):
                writer.write(piece)

    def _require_counts_in(self, connection: Connection) -> None:
        with Session(connection) as session:
            self._require_counts(session)

    def _require_counts(self, session: Session) -> None:
        """Before migrations, which may add rows. Raises DamagedBackup."""
        rows = row_counts(session, list(self.manifest.rows))
        differing = [
            f"{table} has {rows[table]} rows instead of {expected}"
            for table, expected in self.manifest.rows.items()
            if rows[table] != expected
        ]
        expected_counts = {(each.tenant_id, each.namespace): each for each in self.manifest.namespaces}
        counts = {(each.tenant_id, each.namespace): each for each in namespace_counts(session)}
        if counts != expected_counts:
            places = sorted(
                place for place in counts | expected_counts if counts.get(place) != expected_counts.get(place)
            )
            differing.append(f"{'/'.join(places[0])} differs in its counts or its seq")
        if differing:
            raise DamagedBackup(f"The restored database differs from the backup's manifest: {differing[0]}.")

    def _require_raw_files(self, session: Session) -> None:
        """Raises DamagedBackup."""
        kept = {part.name.removeprefix(RAW) for part in self.manifest.raw_files} | set(self.manifest.missing)
        if lacking := [name for name in raw_file_names(session) if name not in kept]:
            raise DamagedBackup(f"The backup lacks {len(lacking)} raw files that documents refer to: {lacking[0]}, …")


def named_files(session: Session) -> tuple[set[str], set[str]]:
    """The raw files and the index files that the restored rows name: not those of what was erased again."""
    indexes = session.scalars(select(IndexRow.faiss_path).where(IndexRow.faiss_path.is_not(None)))
    return set(raw_file_names(session)), {name for name in indexes if name}


def require_same_kind(manifest: BackupManifest, target: str) -> None:
    """Raises Invalid: what Postgres copied, only Postgres reads."""
    if manifest.database is DatabaseKind.POSTGRES and sqlite_file(target) is not None:
        raise Invalid(
            f"The backup {manifest.id} is one of Postgres, and SQLite cannot read it: restore it into an empty "
            "Postgres database, and use manage.py move from there."
        )


def _drain(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass


def _equals(blobs: BlobStore, name: str, part: BackupPart) -> bool:
    """Whether the store has that file already, from a killed restore or because only the database was lost."""
    probe = BackupStore(blobs, "")
    try:
        _drain(probe.read(BackupPart(name, part.size, part.sha256)))
    except DamagedBackup:
        return False
    return True


def _put_in_place(unfinished: Path, file: Path) -> None:
    """A write-ahead log beside the new name would be another database's."""
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    if file.exists():
        raise Conflict(f"The target {file} has appeared meanwhile: move it away and restore again.")
    unfinished.replace(file)
    sync_folder(file.parent)
