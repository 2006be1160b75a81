"""What every console does for statistics: it keeps columns of the history of all tenants, beside what people ask."""

import asyncio
from typing import Final

import structlog

from sojourn.console.jobs.beside import go_on
from sojourn.console.site.site import Site
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

    async def _rounds(self) -> None:
        while True:
            await go_on(self.round, _log, "statistics.failed")
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
