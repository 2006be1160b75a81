"""The embedded log: the log port on tables in PostgreSQL, for one machine."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from psycopg.errors import LockNotAvailable

from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log_append import Appending
from sojourn.events.embedded.log_connections import Connection, Connections, statement, until_reachable
from sojourn.events.embedded.log_ends import Ends
from sojourn.events.embedded.log_tables import TABLES, UnknownTopic, table_of
from sojourn.events.errors import OffsetOutOfRange, SojournError
from sojourn.events.log import Append, Batch, Headers, Record
from sojourn.events.topics import PARTITIONS_DEFAULT

SCHEMA_VERSION: Final = 1
HEARTBEATS_KEPT: Final = timedelta(hours=6)  # a night shift can mend a stopped projector without a gap
READ_BYTES_MAX = 16 << 20  # twelve readers hold this at once
_ATTEMPTS = 3  # a read meets at most one append and one drop between its two statements

_headers: Final = msgspec.msgpack.Decoder(Headers)

logger = structlog.get_logger()


class RecordsMissing(SojournError):
    """the log has a hole, which nothing in Sojourn makes"""


async def install(connection: Connection) -> None:
    """Create the log's schema if it is not there; several processes may do so at once.

    Raises `SojournError` when a newer Sojourn made it.
    """
    async with connection.transaction():
        if await _is_installed(connection):
            return
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('sojourn_log', 0))")
        if await _is_installed(connection):
            return
        await connection.execute(statement("install"))
        for topic in TABLES:
            await connection.execute(statement("add_heads"), {"topic": topic, "partitions": PARTITIONS_DEFAULT})
        await connection.execute("INSERT INTO sojourn_log.schema_version VALUES (%s)", [SCHEMA_VERSION])


async def _is_installed(connection: Connection) -> bool:
    # Not to_regclass: it may answer from a cache that is older than the lock.
    found = await connection.execute("SELECT FROM pg_namespace WHERE nspname = 'sojourn_log'")
    if await found.fetchone() is None:
        return False
    version = await (await connection.execute("SELECT max(version) FROM sojourn_log.schema_version")).fetchone()
    assert version is not None
    if version[0] > SCHEMA_VERSION:
        raise SojournError(
            f"a newer sojourn made this log; use that one, since this one knows schema version {SCHEMA_VERSION} "
            f"and not: {version[0]}"
        )
    return True


class EmbeddedLog:
    """See `sojourn.events.log.Log`; while PostgreSQL is away, calls wait and then raise `Unreachable`."""

    def __init__(self, database: Database) -> None:
        self._connections = Connections(database)
        self._ends = Ends(database, TABLES)

    async def partitions(self, topic: str) -> int:
        """See `Log`."""
        return len(await self._heads(topic))

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """See `Log`; all of it is appended, or nothing."""
        return await Appending(self._connections, appends).run()

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """See `Log`; stops after `READ_BYTES_MAX` as well."""
        for _ in range(_ATTEMPTS):
            records = await self._select(topic, partition, offset, records_max)
            if records and records[0].offset == offset:
                next_offset = offset + len(records)
                if records[-1].offset != next_offset - 1:
                    break
                return Batch(topic, partition, records, next_offset)
            start, end = await self._head(topic, partition)
            if not start <= offset <= end:
                raise OffsetOutOfRange(topic, partition, offset, start, end)
            if offset == end:
                return Batch(topic, partition, (), offset)
        raise RecordsMissing(f"the log has a hole in {topic}, partition {partition}, at or after offset {offset}")

    async def start_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return {partition: start for partition, start, _ in await self._heads(topic)}

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return {partition: end for partition, _, end in await self._heads(topic)}

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """See `Log`; any number of tasks may wait, over one connection."""
        await self._ends.wait(positions, timeout_seconds)

    async def drop_heartbeats_before(self, instant: datetime) -> int:
        """Drop the hourly segments that end before `instant`, and return how many.

        Appenders and readers of heartbeats are held up for milliseconds; when somebody keeps the table to himself,
        nothing is dropped this time.
        """

        async def attempt() -> int:
            async with self._connections.use() as connection:
                try:
                    dropped = await connection.execute(statement("drop_heartbeats"), {"instant": instant})
                except LockNotAvailable:
                    logger.warning("heartbeats.kept", reason="the table is in use; the next try may do", before=instant)
                    return 0
                (count,) = await dropped.fetchone() or (0,)
                return int(count)

        return await until_reachable(attempt)

    async def close(self) -> None:
        """See `Log`."""
        await self._ends.close()
        await self._connections.close()

    async def _select(self, topic: str, partition: int, offset: int, records_max: int) -> list[Record]:
        query = statement("read", table_of(topic))
        bounds = {
            "partition": partition,
            "offset": offset,
            "records_max": records_max,
            "bytes_max": READ_BYTES_MAX,
        }

        async def attempt() -> list[tuple[Any, ...]]:
            async with self._connections.use() as connection:
                return await (await connection.execute(query, bounds, prepare=True, binary=True)).fetchall()

        return [
            Record(topic, partition, found, appended_at, key, value, _headers.decode(headers) if headers else ())
            for found, appended_at, key, value, headers in await until_reachable(attempt)
        ]

    async def _head(self, topic: str, partition: int) -> tuple[int, int]:
        for number, start, end in await self._heads(topic):
            if number == partition:
                return start, end
        raise UnknownTopic(f"{topic} has no such partition: {partition}")

    async def _heads(self, topic: str) -> list[tuple[int, int, int]]:
        """Return partition, start and end offset of each partition."""

        async def attempt() -> list[tuple[Any, ...]]:
            async with self._connections.use() as connection:
                found = await connection.execute(statement("heads"), {"topics": [topic]}, prepare=True)
                return await found.fetchall()

        table_of(topic)
        return [(partition, start, end) for _, partition, start, end in await until_reachable(attempt)]
