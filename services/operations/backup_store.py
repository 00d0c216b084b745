"""Where backups are kept: a folder or a bucket, with any number of them.

    20261130T193419.015243Z-5f0c/manifest.json   written last: a backup without it is not complete, nor listed
    20261130T193419.015243Z-5f0c/…               the database, index files
    raw/ab/ab12…                                 raw files, which never change: shared by all backups that name them

Names of other forms are somebody else's, and never touched.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engines.blobs.base import BlobStore
from errors import BlobStoreUnavailable, DamagedBackup, NotFound, ServiceError, StorageFull
from services.operations.manifests import BackupManifest, BackupPart, decode

RAW = "raw/"
_ID = r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{4}"
_MANIFEST = re.compile(f"({_ID})/manifest\\.json")
_OURS = re.compile(f"(?:{_ID}|raw/[0-9a-f]{{2}})/.+")


@dataclass(frozen=True)
class BackupStore:
    """*location* is what messages call it."""

    blobs: BlobStore
    location: str

    def new_id(self, now: datetime) -> str:
        """In the order of time."""
        return f"{now:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"

    def names(self) -> set[str]:
        with self._own_errors():
            return {name for name in self.blobs.names() if _OURS.fullmatch(name)}

    def write(self, name: str, pieces: Iterable[bytes]) -> BackupPart:
        digest, size = hashlib.sha256(), 0
        with self._own_errors(), self.blobs.open_writer(name) as writer:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                writer.write(piece)
        return BackupPart(name, size, digest.hexdigest())

    def adopt(self, path: Path, name: str) -> BackupPart:
        """The closed file at *path*, which is gone afterwards if the store could move it."""
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        part = BackupPart(name, path.stat().st_size, digest)
        with self._own_errors():
            self.blobs.adopt(path, name)
        return part

    def read(self, part: BackupPart) -> Iterator[bytes]:
        """Raises DamagedBackup at the end if what was read is not what the backup wrote."""
        digest, size = hashlib.sha256(), 0
        try:
            for piece in self.blobs.read(part.name):
                digest.update(piece)
                size += len(piece)
                yield piece
        except BlobStoreUnavailable as error:
            raise DamagedBackup(f"The part {part.name} of the backup cannot be read in {self.location}.") from error
        if (size, digest.hexdigest()) != (part.size, part.sha256):
            raise DamagedBackup(
                f"The part {part.name} of the backup is damaged: it differs from its manifest ({size} of {part.size} "
                "bytes). Restore another backup"
                + (", and delete this file: the next backup copies it again." if part.name.startswith(RAW) else ".")
            )

    def ids(self, names: Iterable[str] | None = None) -> list[str]:
        """The complete backups, oldest first."""
        matches = map(_MANIFEST.fullmatch, self.names() if names is None else names)
        return sorted(match[1] for match in matches if match)

    def manifest(self, backup_id: str) -> BackupManifest:
        with self._own_errors():
            encoded = b"".join(self.blobs.read(f"{backup_id}/manifest.json"))
        return decode(encoded, source=f"the backup {backup_id}")

    def newest(self) -> BackupManifest:
        """Raises NotFound."""
        ids = self.ids()
        if not ids:
            raise NotFound(f"There is no complete backup in {self.location}.")
        return self.manifest(ids[-1])

    def remove(self, names: Iterable[str]) -> None:
        """Manifests first, so that a kill leaves no backup that only looks complete."""
        with self._own_errors():
            for name in sorted(names, key=lambda name: (_MANIFEST.fullmatch(name) is None, name)):
                self.blobs.delete(name)
            self.blobs.tidy()

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """The blob store's messages speak of the service's raw files."""
        try:
            yield
        except StorageFull as error:
            raise StorageFull(
                f"The disk of {self.location} is full, or has less free space than MIN_FREE_DISK_MB keeps in reserve: "
                "free some space. There is no new backup; earlier ones are as they were."
            ) from error
        except BlobStoreUnavailable as error:
            raise BlobStoreUnavailable(f"The backups in {self.location} cannot be read or written.") from error


def location_of(target: str, base: Path) -> str:
    """The URL of a target that may be a path."""
    return target if "://" in target else f"file://{(base / target).absolute()}"


def open_backups(target: str, open_store: Callable[[str], BlobStore]) -> tuple[BackupStore, str | None]:
    """The store at *target*, a folder or a URL, and the id if it names one backup in it."""
    url = location_of(target.rstrip("/"), Path())
    parent, _, last = url.rpartition("/")
    backup_id = last if re.fullmatch(_ID, last) else None
    place = parent if backup_id else url
    try:
        return BackupStore(open_store(place), place.removeprefix("file://")), backup_id
    except ServiceError as error:
        raise NotFound(
            f"{target!r} is not a place for backups: name a folder, or a bucket as s3://bucket/prefix."
        ) from error
