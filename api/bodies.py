"""Large bodies take turns, so that their memory is bounded. Small requests never wait for them."""

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
    "The request's body has too many values for its length: they would take about {} MB of memory; one body may "
    "take {} (4 times MAX_BODY_MB). Send less at once."
)


class Budget:
    """An amount that is shared. A request for more than is free waits, first come, first served."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._turn = asyncio.Lock()
        self._returned = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[None]:
        """Raises Overloaded after PATIENCE_SECONDS."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._take(amount)
        except TimeoutError as error:
            raise Overloaded("Too many large requests are being processed: try again in a moment.") from error
        try:
            yield
        finally:
            self._free += amount
            self._returned.set()

    async def _take(self, amount: int) -> None:
        async with self._turn:
            while amount > self._free:
                self._returned.clear()
                await self._returned.wait()
            self._free -= amount


class LargeBodies:
    """The budgets that the large bodies of one process share. Belongs to the event loop that uses it."""

    def __init__(self, *, max_body_mb: int) -> None:
        self.received = Budget(RECEIVED_PER_MAX_BODY * max_body_mb * MIB)
        self._parsed = Budget(PARSED_PER_MAX_BODY * max_body_mb * MIB)
        self._largest = PARSED_PER_MAX_BODY * max_body_mb * MIB // 2
        self._parser = Budget(1)

    async def parse(self, work: Callable[[], Result]) -> Result:
        """Run *work* in a thread, never two at once: they would only compete for the interpreter."""
        async with self._parser.reserve(1):
            return await run_in_threadpool(work)

    @asynccontextmanager
    async def room_for(self, body: bytes) -> AsyncIterator[None]:
        """Reserve memory for the parsed body. Raises TooLarge if one body may not take as much."""
        needed = await self.parse(lambda: parsed_bytes(body))
        if needed > self._largest:
            raise TooLarge(TOO_MANY_VALUES.format(needed // MIB, self._largest // MIB))
        async with self._parsed.reserve(needed):
            yield
