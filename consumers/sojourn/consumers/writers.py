"""The few database connections that all partitions of a process share to write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from sojourn.events.embedded.database import Database
from sojourn.projections.store import prepare


class Writer:
    """One connection, used by one partition at a time and opened anew after an error."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._prepared = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend the connection; an error raised inside closes it, so that the next user gets a sound one."""
        async with self._lock:
            if self._connection is None:
                self._connection = await self._database.connect(autocommit=True)
                self._prepared = False
            try:
                if not self._prepared:
                    await prepare(self._connection)
                    self._prepared = True
                yield self._connection
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
