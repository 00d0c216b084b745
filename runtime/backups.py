"""The stores of backups, and the scheduled ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

from database.engine import Database
from engines.blobs.base import BlobStore
from engines.blobs.folder import FolderStore
from engines.blobs.opening import open_blob_store
from errors import Invalid
from services.erasure.ledger import ErasureLedger
from services.operations.backing_up import BackupService
from services.operations.backup_places import BackupPlaces, write_ledger
from services.operations.backup_store import BackupStore, open_backups
from services.operations.manifests import BackupManifest
from services.operations.scheduled_backups import ScheduledBackups
from settings import Settings


def open_backup_places(settings: Settings, database: Database) -> BackupPlaces:
    return BackupPlaces(database, lambda location: open_target(settings, location))


def open_scheduled_backups(
    settings: Settings, database: Database, blobs: BlobStore, *, index_dir: Path | None, ledger: ErasureLedger
) -> ScheduledBackups:
    """An invalid BACKUP_URL is a failed backup: it keeps no process from starting."""
    service, places = BackupService(database, blobs, index_dir), open_backup_places(settings, database)

    def make() -> BackupManifest:
        store = open_target(settings, settings.backup_url)
        manifest = service.back_up_alone(store, scratch=scratch_of(store, database), keep=settings.backup_keep)
        places.record(store, keep=settings.backup_keep, every_hours=settings.backup_every_hours)
        write_ledger(store, ledger.export_for_backups())
        return manifest

    every_seconds = 3600 * settings.backup_every_hours
    return ScheduledBackups(database, every_seconds, make if settings.backup_url else None)


def open_target(settings: Settings, target: str) -> BackupStore:
    """The folder or bucket for backups. Creates nothing."""
    store, backup_id = _open(settings, target)
    if backup_id is not None:
        raise Invalid(f"{target!r} is one backup: name the folder or bucket that it is in.")
    return store


def open_source(settings: Settings, source: str) -> tuple[BackupStore, BackupManifest]:
    """The backup at *source*, or the newest one in it."""
    store, backup_id = _open(settings, source)
    if backup_id is None:
        return store, store.newest()
    return store, store.manifest(backup_id)


def scratch_of(store: BackupStore, database: Database) -> Path:
    """A folder on the backups' own disk, or else on the database's."""
    if isinstance(store.blobs, FolderStore):
        return store.blobs.root / ".unfinished"
    return Path(f"{database.file}-backup" if database.file else f"{tempfile.gettempdir()}/adf-backup")


def _open(settings: Settings, target: str) -> tuple[BackupStore, str | None]:
    min_free_bytes = settings.min_free_disk_mb << 20
    return open_backups(target, lambda url: open_blob_store(url, min_free_bytes=min_free_bytes))
