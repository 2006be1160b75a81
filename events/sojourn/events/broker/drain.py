"""Draining: what is spooled goes to the log, in order, for as long as it takes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sojourn.events.broker.backoff import Backoff
from sojourn.events.broker.rejected import keep_rejected
from sojourn.events.broker.spool import REJECTED, Spool
from sojourn.events.broker.transport import Transport

EVENTS_MAX: Final = 500  # sent at once; all are sent again when a process is killed before it knows the answer
BYTES_MAX: Final = 512 * 1024  # half of what an HTTP server commonly takes as one body


class Drainer:
    """Sends one batch after the other; `committed` is set when there may be more."""

    def __init__(
        self, spool: Spool, transport: Transport, threads: ThreadPoolExecutor, committed: asyncio.Event
    ) -> None:
        self._spool, self._transport, self._threads, self._committed = spool, transport, threads, committed
        self._moved = asyncio.Condition()
        self.acknowledged = 0
        self.rejected = 0

    async def run(self) -> None:
        """Send what is spooled until cancelled; nothing that goes wrong ends it."""
        backoff = Backoff("events")
        while True:
            self._committed.clear()
            try:
                is_idle = not await self._send()
                backoff.worked()
            except Exception as error:  # noqa: BLE001 - an event that is spooled is tried again whatever happens
                await asyncio.sleep(backoff.failed(error))
                continue
            if is_idle:
                await self._committed.wait()

    async def drained(self) -> None:
        """Wait until all that is spooled now was sent."""
        tail = self._spool.tail
        async with self._moved:
            await self._moved.wait_for(lambda: self._spool.head >= tail)

    async def _send(self) -> int:
        loop = asyncio.get_running_loop()
        values = await loop.run_in_executor(self._threads, self._spool.read, EVENTS_MAX, BYTES_MAX)
        if not values:
            return 0
        rejections = await self._transport.publish(values)
        if rejections:
            await loop.run_in_executor(self._threads, keep_rejected, self._spool.folder / REJECTED, rejections)
        await loop.run_in_executor(self._threads, self._spool.acknowledge, len(values))
        self.rejected += len(rejections)
        self.acknowledged += len(values) - len(rejections)
        async with self._moved:
            self._moved.notify_all()
        return len(values)
