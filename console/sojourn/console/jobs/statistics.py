"""What every console does for statistics: it keeps columns of the history of all tenants, beside what people ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from sojourn.console.site.site import Site
from sojourn.events.errors import Unreachable
from sojourn.projections.read import as_auditor
from sojourn.projections.statistics.blocks import write_block

ROUND_SECONDS: Final = 3600.0  # of the day that may pass until something is kept

_log = structlog.get_logger("sojourn.statistics")


class StatisticsBlocks:
    """Keeps what is missing, a block after the other; any number of processes may do so at once."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until it is time to stop; a block that is in hand is then left out."""
        working = asyncio.create_task(self._rounds())
        try:
            await stopping.wait()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await self._site.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work beside the block."""
        stopping = asyncio.Event()
        running = asyncio.create_task(self.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await running

    async def _rounds(self) -> None:
        while True:
            try:
                await self.round()
            except Unreachable:  # the next round does it
                pass
            except Exception as error:  # noqa: BLE001 - an error here must not end what else this process does
                _log.error("statistics.failed", error=type(error).__name__, reason=str(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Keep all that can be kept now."""
        async with self._site.connection() as connection:
            async with as_auditor(connection):
                cursor = await connection.execute("SELECT tenant FROM tenant ORDER BY tenant")
                tenants = [tenant async for (tenant,) in cursor]
            for tenant in tenants:
                while await write_block(connection, tenant):
                    pass
