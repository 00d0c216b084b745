"""Bodies and answers of one JSON value per line (NDJSON), of any length, in bounded memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.bodies import Budget
from api.limits import BATCH_SECONDS, LARGE_BODY_BYTES, MIB, RECEIVE_SECONDS
from errors import Overloaded

NDJSON = "application/x-ndjson"
PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Line:
    """*content* is None if the line is too long."""

    number: int
    content: bytes | None

    @property
    def size(self) -> int:
        return len(self.content or b"")


@dataclass(frozen=True, slots=True)
class LineLimits:
    """A batch has at most *lines*, and *batch_bytes* unless it is a single longer line of at most *line_bytes*."""

    lines: int
    batch_bytes: int
    line_bytes: int


class LineSplitter:
    """Cuts pieces into lines. Blank ones are counted and left out."""

    def __init__(self, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self._number = 0
        self._rest = bytearray()
        self._is_too_long = False

    @property
    def waiting_bytes(self) -> int:
        """The size of what has arrived of the next line."""
        return len(self._rest)

    def split(self, piece: bytes) -> Iterator[Line]:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self.finish()
        self._add(rest)

    def finish(self) -> Iterator[Line]:
        content = None if self._is_too_long else bytes(self._rest)
        self._rest, self._is_too_long = bytearray(), False
        self._number += 1
        if content is None or content.strip():
            yield Line(self._number, content)

    def _add(self, part: bytes) -> None:
        self._is_too_long = self._is_too_long or len(self._rest) + len(part) > self._line_bytes
        if self._is_too_long:
            self._rest.clear()
        else:
            self._rest += part


class LineReader:
    """Reads a body in batches of lines. *next_number* is that of the first line after the last batch.

    The memory of a large batch is reserved from *budget*.
    """

    def __init__(self, pieces: AsyncIterator[bytes], limits: LineLimits, budget: Budget) -> None:
        self.next_number = 1
        self._pieces, self._limits, self._budget = pieces, limits, budget
        self._splitter = LineSplitter(limits.line_bytes)
        self._lines: Iterator[Line] = iter(())
        self._receiving: asyncio.Task[bytes | None] | None = None
        self._is_over = False
        self._failure: Exception | None = None

    async def has_more(self) -> bool:
        """Wait for what follows the last batch. Raises the error with which the body broke off, or was given up."""
        if self._has_line():
            return True
        await self._receive(math.inf)
        if self._failure is not None:
            raise self._failure
        return self._has_line() or not self._is_over

    def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()

    async def batch(self, held: AsyncExitStack) -> list[Line]:
        """The next lines: a full batch, or what arrives within BATCH_SECONDS, or before the end of the body.

        *held* holds the reserved memory.
        """
        batch: list[Line] = []
        size, until, room = 0, math.inf, _Room(self._limits, self._budget, held)
        while len(batch) < self._limits.lines:
            line = next(self._lines, None)
            if line is None:
                if await self._more(size, until, room):
                    continue
                break
            if batch and size + line.size > self._limits.batch_bytes:
                self._put_back(line)
                break
            until = until if batch else _now() + BATCH_SECONDS
            batch.append(line)
            size += line.size
        self.next_number = batch[-1].number + 1 if batch else self.next_number
        return batch

    def _has_line(self) -> bool:
        line = next(self._lines, None)
        if line is not None:
            self._put_back(line)
        return line is not None

    def _put_back(self, line: Line) -> None:
        self._lines = chain([line], self._lines)

    async def _more(self, size: int, until: float, room: _Room) -> bool:
        """False: no further piece has arrived by then, or ever will."""
        try:
            await room.grow(size + self._splitter.waiting_bytes)
        except Overloaded as error:
            return self._fail(error)
        if await self._receive(min(until, room.until)):
            return True
        if until == math.inf and not self._is_over:
            return self._fail(HTTPException(408, f"A line did not arrive within {RECEIVE_SECONDS:g} s."))
        return False

    async def _receive(self, until: float) -> bool:
        if self._is_over:
            return False
        self._receiving = self._receiving or asyncio.create_task(self._piece())
        await asyncio.wait({self._receiving}, timeout=None if until == math.inf else max(until - _now(), 0))
        if not self._receiving.done():
            return False
        received, self._receiving = self._receiving, None
        if error := received.exception():
            return self._fail(error)
        piece = received.result()
        self._is_over = piece is None
        self._lines = self._splitter.finish() if piece is None else self._splitter.split(piece)
        return True

    async def _piece(self) -> bytes | None:
        async for piece in self._pieces:
            if piece:
                return piece
        return None

    def _fail(self, error: BaseException) -> bool:
        self._failure = error if isinstance(error, Exception) else None
        self._is_over = True
        return False


class _Room:
    """The memory of one batch. It is held for RECEIVE_SECONDS at the most before the batch's first line is whole."""

    def __init__(self, limits: LineLimits, budget: Budget, held: AsyncExitStack) -> None:
        self.until = math.inf
        self._limits, self._budget, self._held = limits, budget, held
        self._reserved = 0

    async def grow(self, size: int) -> None:
        """Raises Overloaded."""
        if size <= LARGE_BODY_BYTES:
            return
        needed = self._limits.batch_bytes if size <= self._limits.batch_bytes else self._limits.line_bytes
        if needed > self._reserved:
            await self._held.enter_async_context(self._budget.reserve(needed - self._reserved))
            self.until = min(self.until, _now() + RECEIVE_SECONDS)
            self._reserved = needed


class Outbox:
    """What the client has not read yet; on disk if it is much. So a client may send everything before it reads."""

    def __init__(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=MIB)  # noqa: SIM115 - closed by its end
        self._read, self._written = 0, 0
        self._changed = asyncio.Event()
        self._is_complete = False

    def add(self, content: bytes) -> None:
        self._file.seek(self._written)
        self._written += self._file.write(content)
        self._changed.set()

    def complete(self) -> None:
        self._is_complete = True
        self._changed.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Everything, as it is added, until it is complete."""
        with self._file:
            while self._read < self._written or not self._is_complete:
                if self._read < self._written:
                    yield self._next()
                else:
                    self._changed.clear()
                    await self._changed.wait()

    def _next(self) -> bytes:
        self._file.seek(self._read)
        piece = self._file.read(PIECE_BYTES)
        self._read += len(piece)
        if self._read == self._written:
            self._read = self._written = 0
            self._file.seek(0)
            self._file.truncate()
        return piece


class LinesResponse(StreamingResponse):
    media_type = NDJSON

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Without Starlette's own watch for a disconnect, which would take the rest of the body."""
        await self.stream_response(send)


def _now() -> float:
    return asyncio.get_running_loop().time()
