"""Connections to the log's tables: a few, used again, and called again while the server is away."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, TypeVar

from psycopg import AsyncConnection, OperationalError
from psycopg.adapt import Dumper
from psycopg.errors import DiskFull, IdleInTransactionSessionTimeout, InvalidSchemaName, UndefinedTable
from psycopg.pq import Format

from sojourn.events.embedded.database import Database
from sojourn.events.errors import SojournError, Unreachable

CONNECTIONS_MAX = 6  # twelve partitions read by turns; a server takes 100 connections of all processes
IDLE_SECONDS_MAX = 10  # a client that stops between append and COMMIT holds up its partitions for so long
RETRY_SECONDS_MAX = 30  # a restart with crash recovery takes seconds; after this the caller should hear of it
PAUSE_SECONDS_MIN = 0.05  # a fast restart takes a tenth of a second
PAUSE_SECONDS_MAX = 2  # between the last attempts

_BYTEA: Final = 17
_BYTEA_ARRAY: Final = 1001
_int32 = struct.Struct("!i").pack
_NULL: Final = _int32(-1)

TRANSIENT: Final = (OperationalError, IdleInTransactionSessionTimeout, Unreachable)

Connection = AsyncConnection[tuple[Any, ...]]
Answer = TypeVar("Answer")


class DatabaseFull(Unreachable):
    """the disk of the database is full; free some space and run it again"""

    exit_code = 1


class NotInstalled(SojournError):
    """the database holds no log yet; `sojourn db upgrade` makes it"""


@cache
def statement(name: str, table: str = "") -> LiteralString:
    """Return the statement that sql/`name`.sql holds, for a table of the log."""
    text = files("sojourn.events.embedded").joinpath("sql", f"{name}.sql").read_text()
    return text.replace("{table}", f"sojourn_log.{table}")


class ByteaArray:
    """A parameter of type bytea[], written at once: psycopg's lists take eight times as long."""

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self.values = values


class _ByteaArrayDumper(Dumper):
    format = Format.BINARY
    oid = _BYTEA_ARRAY

    def dump(self, array: ByteaArray) -> bytes:
        parts = [struct.pack("!iiIii", 1, 1, _BYTEA, len(array.values), 1)]
        for value in array.values:
            if value is None:
                parts.append(_NULL)
            else:
                parts += (_int32(len(value)), value)
        return b"".join(parts)


class Connections:
    """Up to `CONNECTIONS_MAX` connections in autocommit mode, opened when needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Lend a connection; one that saw an error is closed, which also rolls back."""
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._open()
            sound = False
            try:
                yield connection
                sound = True
            except (InvalidSchemaName, UndefinedTable) as error:
                raise NotInstalled from error
            except TRANSIENT:
                await self.close()  # when the server restarts, all are broken
                raise
            finally:
                if sound:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def close(self) -> None:
        """Close what nobody uses now."""
        while self._idle:
            await self._idle.pop().close()

    async def _open(self) -> Connection:
        connection = await self._database.connect(autocommit=True)
        try:
            connection.adapters.register_dumper(ByteaArray, _ByteaArrayDumper)
            await connection.execute(statement("prepare_connection"), {"idle_ms": str(IDLE_SECONDS_MAX * 1000)})
        except BaseException:
            await connection.close()
            raise
        return connection


async def until_reachable(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Call `attempt` until the server answers; raises `Unreachable` after `RETRY_SECONDS_MAX`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + RETRY_SECONDS_MAX
    pause = PAUSE_SECONDS_MIN
    while True:
        try:
            return await attempt()
        except TRANSIENT as error:
            if clock() + pause > deadline:
                reason = str(error).strip().partition("\n")[0]
                if isinstance(error, DiskFull):
                    raise DatabaseFull(f"the disk of the database is full; free some space: {reason}") from error
                raise Unreachable(f"the log in PostgreSQL is not available: {reason}") from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_SECONDS_MAX)
