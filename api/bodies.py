"""Large bodies take turns: what is received and parsed at once is bounded, and small requests never wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from api.limits import MIB, PARSED_PER_MAX_BODY, PATIENCE_SECONDS, RECEIVED_PER_MAX_BODY, parsed_bytes
from errors import Overloaded, TooLarge

Result = TypeVar("Result")

TOO_MANY_VALUES = (
    "The request's body holds too many values for its length: they would take about {} MB of memory, and {} are given "
    "to one (4 times MAX_BODY_MB): send less at once."
)


class Budget:
    """So much may be taken at once; who needs more than is left waits behind those who came before."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._turn = asyncio.Lock()
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def taken(self, amount: int) -> AsyncIterator[None]:
        """Raises Overloaded after PATIENCE_SECONDS."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._take(amount)
        except TimeoutError as error:
            raise Overloaded("Too many large requests are at work already: try again in a moment.") from error
        try:
            yield
        finally:
            self._left += amount
            self._given_back.set()

    async def _take(self, amount: int) -> None:
        async with self._turn:
            while amount > self._left:
                self._given_back.clear()
                await self._given_back.wait()
            self._left -= amount


class LargeBodies:
    """What the large bodies of one process share. Belongs to the event loop that it is used on."""

    def __init__(self, *, max_body_mb: int) -> None:
        self.received = Budget(RECEIVED_PER_MAX_BODY * max_body_mb * MIB)
        self._parsed = Budget(PARSED_PER_MAX_BODY * max_body_mb * MIB)
        self._most_of_one = PARSED_PER_MAX_BODY * max_body_mb * MIB // 2
        self._parser = Budget(1)

    async def parse(self, work: Callable[[], Result]) -> Result:
        """Done by a thread, and never two at once: they would only take the interpreter from everybody else."""
        async with self._parser.taken(1):
            return await run_in_threadpool(work)

    @asynccontextmanager
    async def room_for(self, body: bytes) -> AsyncIterator[None]:
        """For what it will be parsed into, as long as that lives. Raises TooLarge where it would be too much."""
        needed = await self.parse(lambda: parsed_bytes(body))
        if needed > self._most_of_one:
            raise TooLarge(TOO_MANY_VALUES.format(needed // MIB, self._most_of_one // MIB))
        async with self._parsed.taken(needed):
            yield
