"""The interface of blob stores, which keep raw files."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

READ_BYTES = 1 << 20


class BlobWriter(Protocol):
    def write(self, data: bytes, /) -> int: ...


class BlobStore(Protocol):
    """Keeps blobs under names from new_name(). A blob is written once, never changed, and exists whole or not at all.

    Every method raises BlobStoreUnavailable, and writing also StorageFull; messages contain no path and no secret.
    """

    def open_writer(self, name: str) -> AbstractContextManager[BlobWriter]:
        """The blob is durable if the body ends without an error, and removed otherwise."""

    def adopt(self, path: Path, name: str) -> None:
        """Store the closed file at *path*, durably. It is gone afterwards where the store could move it."""

    def copy(self, source: str, name: str) -> None:
        """Store the blob *source* under another name too, durably and without its bytes passing through here."""

    def names(self) -> Iterator[str]:
        """The names of all blobs, in no order; with them those of remains of interrupted writes."""

    def read(self, name: str) -> Iterator[bytes]:
        """The blob in pieces. A missing blob raises here, not at the first piece."""

    def delete(self, name: str) -> None:
        """Remove the blob and remains of an interrupted write; a missing blob is no error."""

    def tidy(self) -> None:
        """Remove empty folders. Only while nobody writes."""

    def check(self) -> str:
        """Make a request to the store. Returns a short description of it."""


def new_name() -> str:
    """A random, unguessable name in one of 256 folders."""
    name = secrets.token_hex(16)
    return f"{name[:2]}/{name}"


def copy_into(store: BlobStore, path: Path, name: str) -> None:
    with open(path, "rb") as file, store.open_writer(name) as writer:
        while piece := file.read(READ_BYTES):
            writer.write(piece)
