"""Where raw files are kept: what every kind of store promises."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

READ_BYTES = 1 << 20


class BlobWriter(Protocol):
    def write(self, data: bytes, /) -> int: ...


class BlobStore(Protocol):
    """Keeps blobs under names of new_name(). A blob is written once, never changed, and there whole or not at all.

    Every method raises BlobStoreUnavailable, and writing StorageFull, in words that name no path and no secret.
    """

    def writing(self, name: str) -> AbstractContextManager[BlobWriter]:
        """The blob is durable when the body has ended well, and gone when it has not."""

    def read(self, name: str) -> Iterator[bytes]:
        """The blob in pieces. What is missing is said here, not at the first piece."""

    def delete(self, name: str) -> None:
        """Remove the blob and whatever a crash left of it; to delete what is not there is no error."""

    def check(self) -> str:
        """Ask the store for something. Returns in a few words what it is."""


def new_name() -> str:
    """A name that nobody chose and nobody can guess, in one of 256 folders."""
    name = secrets.token_hex(16)
    return f"{name[:2]}/{name}"
