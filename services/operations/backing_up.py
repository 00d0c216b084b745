"""Makes backups of a service in use, and removes old ones.

The database comes first: the raw files that it refers to are never changed or removed, so those that are copied after
it are all that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from database.engine import Database
from engines.blobs.base import READ_BYTES, BlobStore
from errors import BlobStoreUnavailable, Conflict, ServiceError
from migrations.upgrade import current_revision, is_known
from models import utc_now
from services.operations.backup_store import RAW, BackupStore
from services.operations.database_copies import copy_database
from services.operations.manifests import BackupManifest, BackupPart
from version import VERSION

Report = Callable[[int, int, str], None]
"""Called with the number of files done, that of all, and the name of the last one."""


def _silent(done: int, total: int, name: str) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True)
class EarlierBackups:
    """*is_complete*: every manifest could be read, so what none of them names belongs to no backup."""

    names: set[str]
    manifests: list[BackupManifest]
    is_complete: bool

    @property
    def raw_files(self) -> dict[str, BackupPart]:
        named = {part.name: part for manifest in self.manifests for part in manifest.raw_files}
        return {name: part for name, part in named.items() if name in self.names}


@dataclass(frozen=True)
class BackupService:
    """*index_dir* is None where the index is in the database."""

    database: Database
    blobs: BlobStore
    index_dir: Path | None

    def back_up(
        self,
        store: BackupStore,
        *,
        scratch: Path,
        keep: int | None = None,
        with_indexes: bool = False,
        report: Report = _silent,
    ) -> BackupManifest:
        """Make a backup, and then remove all but the newest *keep*. *scratch* is a folder for the database's copy.

        Remains of interrupted backups are removed first. Raises Conflict while another backup of this database runs,
        and StorageFull, BlobStoreUnavailable or DatabaseUnavailable; there is no new backup then.
        """
        with self.database.backing_up():
            return self.back_up_alone(store, scratch=scratch, keep=keep, with_indexes=with_indexes, report=report)

    def back_up_alone(
        self,
        store: BackupStore,
        *,
        scratch: Path,
        keep: int | None,
        with_indexes: bool = False,
        report: Report = _silent,
    ) -> BackupManifest:
        """The same for a caller that holds the lock of Database.backing_up()."""
        revision = current_revision(self.database)
        if revision is None or not is_known(revision):
            raise Conflict(f"The database has schema {revision or 'none'}: there is nothing to back up, or not yet.")
        _remove_remains(store, _earlier(store))
        try:
            manifest = self._copy(store, scratch, with_indexes=with_indexes, report=report)
            store.write(f"{manifest.id}/manifest.json", [manifest.encode()])
        except BaseException:
            with suppress(ServiceError):  # otherwise the next backup does it
                _remove_remains(store, _earlier(store))
            raise
        if keep is not None:
            _remove_old(store, manifest.id, keep)
        return manifest

    def _copy(self, store: BackupStore, scratch: Path, *, with_indexes: bool, report: Report) -> BackupManifest:
        created_at = utc_now()
        backup_id, earlier = store.new_id(created_at), _earlier(store)
        with _emptied(scratch):
            facts, tables = copy_database(self.database, store, backup_id, scratch)
        index_files = facts.index_files if with_indexes else []
        present = set(self.blobs.names()) if facts.raw_files else set()
        raw_files = [name for name in facts.raw_files if name in present]
        total = len(raw_files) + len(index_files)
        copied = _reported(self._raw_files(store, earlier, raw_files), report, 0, total)
        indexes = _reported(self._index_files(store, backup_id, index_files), report, len(raw_files), total)
        return BackupManifest(
            id=backup_id,
            created_at=created_at.isoformat(),
            software=VERSION,
            schema=facts.schema,
            database=self.database.kind,
            columns=facts.columns,
            rows=facts.rows,
            namespaces=facts.namespaces,
            tables=tables,
            raw_files=copied,
            index_files=indexes,
            missing=sorted(set(facts.raw_files) - present),
        )

    def _raw_files(self, store: BackupStore, earlier: EarlierBackups, names: Sequence[str]) -> Iterator[BackupPart]:
        """A raw file never changes, so one of an earlier backup is not copied again."""
        known = earlier.raw_files
        for name in names:
            yield known.get(f"{RAW}{name}") or store.write(f"{RAW}{name}", self._raw_file(name))

    def _raw_file(self, name: str) -> Iterator[bytes]:
        try:
            yield from self.blobs.read(name)
        except BlobStoreUnavailable as error:
            raise Conflict(f"The raw file {name} could not be read, so there is no new backup: {error}") from error

    def _index_files(self, store: BackupStore, backup_id: str, names: Sequence[str]) -> Iterator[BackupPart]:
        """A file that a rebuild has replaced meanwhile is left out: index files can be written anew."""
        for name in names:
            path = (self.index_dir or Path()) / name
            if self.index_dir is not None and path.is_file():
                yield store.write(f"{backup_id}/indexes/{name}", _pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(READ_BYTES):
            yield piece


def _reported(parts: Iterator[BackupPart], report: Report, done: int, total: int) -> list[BackupPart]:
    listed: list[BackupPart] = []
    for part in parts:
        listed.append(part)
        report(done + len(listed), total, part.name)
    return listed


def _earlier(store: BackupStore) -> EarlierBackups:
    names, manifests, is_complete = store.names(), [], True
    for backup_id in store.ids(names):
        try:
            manifests.append(store.manifest(backup_id))
        except ServiceError:
            is_complete = False
    return EarlierBackups(names, manifests, is_complete)


def _remove_remains(store: BackupStore, earlier: EarlierBackups) -> None:
    """What a killed backup, or a killed removal of one, has left."""
    complete = set(store.ids(earlier.names))
    remains = {name for name in earlier.names if not name.startswith(RAW) and name.partition("/")[0] not in complete}
    if earlier.is_complete:
        remains |= {name for name in earlier.names if name.startswith(RAW)} - earlier.raw_files.keys()
    if remains:
        store.remove(remains)


def _remove_old(store: BackupStore, newest: str, keep: int) -> None:
    """Whatever the clock said meanwhile, the newest stays."""
    names = store.names()
    others = [each for each in store.ids(names) if each != newest]
    if old := set(others[: max(0, len(others) - keep + 1)]):
        store.remove(name for name in names if name.partition("/")[0] in old)
        _remove_remains(store, _earlier(store))


@contextmanager
def _emptied(scratch: Path) -> Iterator[None]:
    """The folder, which exists during the block, without what a killed backup has left in it."""
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BlobStoreUnavailable(f"The folder {scratch} cannot be created: {error.strerror}.") from error
    for file in scratch.glob("*.sqlite*"):
        file.unlink()
    try:
        yield
    finally:
        with suppress(OSError):
            scratch.rmdir()
