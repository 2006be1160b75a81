"""The site: the way to the database and to the log, for all handlers of one process."""

import asyncio
import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection, OperationalError

from sojourn.console.site.cursors import Cursors, load_cursors
from sojourn.console.site.shared import Shared
from sojourn.events.embedded.database import Database
from sojourn.events.errors import Unreachable
from sojourn.events.log import Log
from sojourn.projections.read import as_reader
from sojourn.projections.statistics.cache import StatisticsCache

CONNECTIONS_MAX: Final = 8  # four times the cores of a small machine; a server takes 100 connections of all processes
WAIT_SECONDS_MAX: Final = 10.0  # a restart of PostgreSQL takes a second; a client that waits longer gives up first

Connection = AsyncConnection[Any]


class Site:
    """Hands out connections, a few at a time; each block raises `Unreachable` while the server is away."""

    def __init__(
        self, database: Database, log: Log, data_dir: Path, destinations: Mapping[str, Path] = MappingProxyType({})
    ) -> None:
        self.database, self.log, self.data_dir = database, log, data_dir
        self.destinations = destinations  # where exports may go, by name
        self.statistics = StatisticsCache()
        self.shared = Shared()
        self._cursors: Cursors | None = None
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)

    def now(self) -> datetime:
        """Return the time; tests replace it."""
        return datetime.now(UTC)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit that nobody else uses."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._free.acquire()
        except TimeoutError as error:
            raise Unreachable("the database has more to do than it can") from error
        try:
            connection = await self._take()
            try:
                yield connection
            except BaseException as error:
                await connection.close()
                if isinstance(error, OperationalError):
                    raise Unreachable(f"the database does not answer: {type(error).__name__}") from error
                raise
            self._idle.append(connection)
        finally:
            self._free.release()

    @asynccontextmanager
    async def reader(self, tenant: str) -> AsyncIterator[Connection]:
        """Lend a connection that reads one tenant in one snapshot; raises `NoSuchTenant`."""
        async with self.connection() as connection, as_reader(connection, tenant):
            yield connection

    @asynccontextmanager
    async def console(self, tenant: str) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction that reads and writes one tenant's part of the console's own tables."""
        async with self._as("SET LOCAL ROLE sojourn_console") as connection:
            await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [tenant])
            yield connection

    @asynccontextmanager
    async def gatekeeper(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction that finds out who asks, whatever their tenant."""
        async with self._as("SET LOCAL ROLE sojourn_gatekeeper") as connection:
            yield connection

    async def cursors(self) -> Cursors:
        """Return what seals the places at which lists go on; its key is loaded once."""
        if self._cursors is None:
            async with self.gatekeeper() as connection:
                self._cursors = await load_cursors(connection)
        return self._cursors

    async def close(self) -> None:
        """Close what nobody uses now."""
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def _as(self, role: LiteralString) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            await connection.execute(role + "; SET LOCAL search_path = sojourn; SET LOCAL TimeZone = 'UTC'")
            yield connection

    async def _take(self) -> Connection:
        """Return an idle connection that still works, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            try:
                await connection.execute("SELECT")
            except OperationalError:  # the server was restarted meanwhile
                await connection.close()
                await self.close()
            except BaseException:  # nobody waits for it any more
                await connection.close()
                raise
            else:
                return connection
        return await self.database.connect(autocommit=True)


def _is_quiet(connection: Connection) -> bool:
    """Tell whether nothing waits to be read: a server that ends says so on each connection, or closes it at least."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return not waiting.poll(0)
