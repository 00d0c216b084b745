"""Raw files in a folder of this machine, as durable as the database."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from durable import sync_folder
from engines.blobs.base import READ_BYTES, BlobWriter, copy_into
from errors import BlobStoreUnavailable, StorageFull

_MISSING = (
    "A raw file is not in the folder that BLOB_STORE_URL names: API and workers need the same one, with all its files."
)


class FolderStore:
    """A file is written under a temporary name, synced and renamed; its folders are synced too."""

    def __init__(self, root: Path, *, min_free_bytes: int) -> None:
        self.root = root
        self.min_free_bytes = min_free_bytes

    @contextmanager
    def open_writer(self, name: str) -> Iterator[BlobWriter]:
        path = self._path(name)
        with _translated_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._require_free_space()
        temporary = _temporary(path)
        try:
            with _translated_errors():
                file = open(temporary, "wb")  # noqa: SIM115  # over what a killed process left of the same name
            with file:
                yield _FileWriter(file)
                with _translated_errors():
                    file.flush()
                    os.fsync(file.fileno())
            with _translated_errors():
                temporary.replace(path)
                self._sync_folders_of(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def adopt(self, path: Path, name: str) -> None:
        target = self._path(name)
        with _translated_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            can_move = path.stat().st_dev == target.parent.stat().st_dev
        if not can_move:
            copy_into(self, path, name)
            return
        with _translated_errors():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            path.replace(target)
            self._sync_folders_of(target)

    def copy(self, source: str, name: str) -> None:
        """As a second link to the same bytes, which nothing changes."""
        target = self._path(name)
        with _translated_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._path(source), target)
        except FileNotFoundError as error:
            raise BlobStoreUnavailable(_MISSING) from error
        except OSError:  # a file system without links
            copy_into(self, self._path(source), name)
        with _translated_errors():
            self._sync_folders_of(target)

    def names(self) -> Iterator[str]:
        with _translated_errors():
            for folder, _, files in os.walk(self.root):
                yield from (str(Path(folder, file).relative_to(self.root)) for file in files)

    def read(self, name: str) -> Iterator[bytes]:
        try:
            file = open(self._path(name), "rb")  # noqa: SIM115  # _pieces closes it
        except FileNotFoundError as error:
            raise BlobStoreUnavailable(_MISSING) from error
        except OSError as error:
            raise _unavailable(error) from error
        return _pieces(file)

    def delete(self, name: str) -> None:
        path = self._path(name)
        with _translated_errors():
            path.unlink(missing_ok=True)
            _temporary(path).unlink(missing_ok=True)

    def tidy(self) -> None:
        for folder, _, _ in os.walk(self.root, topdown=False):
            with suppress(OSError):  # not empty
                Path(folder).rmdir()

    def check(self) -> str:
        with _translated_errors():
            self.root.mkdir(parents=True, exist_ok=True)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise BlobStoreUnavailable(f"The folder {self.root} (BLOB_STORE_URL) cannot be written.")
        return f"folder {self.root} can be written"

    def _sync_folders_of(self, path: Path) -> None:
        """Any of them may be new."""
        for folder in path.parents:
            sync_folder(folder)
            if folder == self.root.parent:
                return

    def _path(self, name: str) -> Path:
        """Rows may come from another database by a move, so a name must not lead out of the folder."""
        path = self.root / name
        if not path.is_relative_to(self.root) or ".." in path.parts[len(self.root.parts) :]:
            raise BlobStoreUnavailable(
                f"{name!r} is not the name of a raw file: it leads out of the folder (BLOB_STORE_URL)."
            )
        return path

    def _require_free_space(self) -> None:
        if shutil.disk_usage(self.root).free < self.min_free_bytes:
            raise StorageFull(
                f"Less than {self.min_free_bytes >> 20} MB of disk are free for raw files (MIN_FREE_DISK_MB): nothing "
                "new is accepted until there is more."
            )


class _FileWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        with _translated_errors():
            return self._file.write(data)


def _temporary(path: Path) -> Path:
    return path.with_suffix(".tmp")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file, _translated_errors():
        while piece := file.read(READ_BYTES):
            yield piece


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The disk for raw files is full: free some space. Nothing was kept.") from error
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> BlobStoreUnavailable:
    return BlobStoreUnavailable(f"The folder of raw files (BLOB_STORE_URL) cannot be used: {error.strerror}.")
