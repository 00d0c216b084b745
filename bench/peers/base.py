"""What a peer promises: to start and stop a server on a folder, and to say its requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from bench.own import OwnDocument
from domain import Vectors

PreparedCall = Callable[[], Any]
"""A request that is ready to be sent: calling it sends it and returns the answer, not yet read."""


class Unavailable(Exception):
    """The peer cannot be installed or started here; the text says why."""


class PeerConnection(Protocol):
    def upsert(self, documents: Sequence[OwnDocument]) -> PreparedCall:
        """It returns when the documents are as durable as the peer makes them, and searchable."""

    def delete(self, document: OwnDocument) -> PreparedCall: ...

    def search(self, vector: Vectors) -> PreparedCall: ...

    def hits(self, answer: Any) -> list[str]:
        """Chunk ids, the nearest first."""

    def close(self) -> None: ...


class PeerServer(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def connect(self) -> PeerConnection: ...

    def settle(self) -> None:
        """Waits until what writing left behind is done."""

    def pids(self) -> list[int]: ...

    def disk(self) -> int:
        """Bytes on disk, of a stopped server."""


class Peer(Protocol):
    @property
    def name(self) -> str: ...

    def version(self) -> str:
        """The packages that were measured, with their versions. Installs them if need be. Raises Unavailable."""

    def opened(self, folder: Path) -> AbstractContextManager[PeerServer]:
        """Yields a running server on an empty folder. Raises Unavailable."""
