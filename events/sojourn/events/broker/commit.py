"""Group commit: what many callers say at the same time goes onto the disk with one sync."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from sojourn.events.broker.frames import GROUP_EVENTS_MAX
from sojourn.events.broker.memory import Memory, Spooled
from sojourn.events.broker.spool import Spool
from sojourn.events.codec import encode


class Committer:
    """Spools events in the order of the calls; `committed` is set each time that some are on the disk."""

    def __init__(self, spool: Spool, memory: Memory, threads: ThreadPoolExecutor) -> None:
        self._spool, self._memory, self._threads = spool, memory, threads
        self._waiting: list[tuple[Spooled, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self.committed = asyncio.Event()

    async def commit(self, event: Spooled) -> None:
        """Return when the event is on the disk; raises `SpoolFull`."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((event, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def close(self) -> None:
        """Wait for the write that is under way."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP_EVENTS_MAX], self._waiting[GROUP_EVENTS_MAX:]
                await self._write_group([one for one in group if not one[1].done()])
        finally:
            self._writing = None

    async def _write_group(self, group: list[tuple[Spooled, asyncio.Future[None]]]) -> None:
        if not group:
            return
        loop = asyncio.get_running_loop()
        try:
            numbered = self._memory.number([event for event, _ in group])
            values = [encode(event) for event in numbered]
            await loop.run_in_executor(self._threads, self._spool.append, values, self._memory.dump)
        except Exception as error:  # noqa: BLE001 - each caller has to hear of it, whatever it is
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for event in numbered:
            self._memory.apply(event)
        self.committed.set()
        for _, done in group:
            if not done.done():
                done.set_result(None)
