"""Appending to the embedded log so that the caller knows exactly what was acknowledged."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec
from psycopg.errors import CheckViolation

from sojourn.events.embedded.log_connections import ByteaArray, Connection, Connections, statement, until_reachable
from sojourn.events.embedded.log_tables import UnknownTopic, table_of
from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.log import Append

APPEND_BYTES_MAX = 256 << 20  # one message to PostgreSQL holds 1 GiB, and the server several copies of it
SEGMENTS_MISSING_MAX = 10  # times in a row; once an hour is usual

_pack: Final = msgspec.msgpack.Encoder().encode


class TooMuch(SojournError):
    """one append is larger than the log takes at once"""


class _Share(NamedTuple):
    """What one topic gets: the places of each partition's records among the caller's, and the statement for them."""

    topic: str
    indexes: dict[int, list[int]]
    query: str
    parameters: dict[str, Any]


class _Written(NamedTuple):
    """The first record of one partition, as a transaction wrote it that may have been committed."""

    topic: str
    partition: int
    offset: int
    appended_at: datetime
    value: bytes


class Appending:
    """One call of append, through lost connections.

    A lost answer to COMMIT is settled by looking for what was written, once nobody holds the head. The status of the
    transaction's id would not do: after a crash PostgreSQL gives ids out again whose first user left no trace, and then
    calls a lost transaction committed (docs/why.md).
    """

    def __init__(self, connections: Connections, appends: Sequence[Append]) -> None:
        self._connections = connections
        self._appends = appends
        self._shares = list(_shares(appends))
        self._offsets = [0] * len(appends)
        self._in_doubt: _Written | None = None

    async def run(self) -> list[int]:
        """Append and return the offsets."""
        if not self._appends:
            return []
        try:
            await until_reachable(self._attempt)
        except Unreachable as error:
            outcome = "nothing was" if self._in_doubt is None else "all or nothing may have been"
            raise type(error)(f"{error}; {outcome} appended") from error
        return self._offsets

    async def _attempt(self) -> None:
        if self._in_doubt is not None:
            if await self._is_kept(self._in_doubt):
                return
            self._in_doubt = None
        for _ in range(SEGMENTS_MISSING_MAX):
            try:
                await self._write()
            except CheckViolation:  # the hour has no segment yet; the transaction took no offsets
                async with self._connections.use() as connection:
                    await connection.execute(statement("create_heartbeat_segments"))
            else:
                return
        raise SojournError(f"segments of heartbeats are dropped as fast as they are made: {SEGMENTS_MISSING_MAX}")

    async def _write(self) -> None:
        async with self._connections.use() as connection:
            await connection.execute("BEGIN")
            written = [await self._write_share(connection, share) for share in self._shares]
            self._in_doubt = written[0]
            await connection.execute("COMMIT")
            self._in_doubt = None

    async def _write_share(self, connection: Connection, share: _Share) -> _Written:
        """Write to one topic, keep the offsets, and return what `_is_kept` can find again."""
        cursor = await connection.execute(share.query, share.parameters, prepare=True, binary=True)
        heads = {partition: (first, appended_at) for partition, first, appended_at, _ in await cursor.fetchall()}
        for partition, indexes in share.indexes.items():
            if partition not in heads:
                raise UnknownTopic(f"{share.topic} has no such partition: {partition}")
            for offset, index in enumerate(indexes, heads[partition][0]):
                self._offsets[index] = offset
        partition, indexes = next(iter(share.indexes.items()))
        return _Written(share.topic, partition, *heads[partition], self._appends[indexes[0]].value)

    async def _is_kept(self, written: _Written) -> bool:
        async with self._connections.use() as connection, connection.transaction():
            await connection.execute(statement("lock_head"), written._asdict())
            query = statement("find_appended", table_of(written.topic))
            return await (await connection.execute(query, written._asdict())).fetchone() is not None


def _shares(appends: Sequence[Append]) -> Iterator[_Share]:
    """Split by topic, and sort by topic and partition: all appenders lock heads in this order."""
    size = sum(len(append.value) for append in appends)
    if size > APPEND_BYTES_MAX:
        raise TooMuch(f"one append takes {APPEND_BYTES_MAX} bytes at most: {size}")
    topics: dict[str, dict[int, list[int]]] = {}
    for index, append in enumerate(appends):
        topics.setdefault(append.topic, {}).setdefault(append.partition, []).append(index)
    for topic, unsorted in sorted(topics.items()):
        indexes = dict(sorted(unsorted.items()))
        records = [appends[index] for share in indexes.values() for index in share]
        lasts = list(accumulate(map(len, indexes.values())))
        headers = [_pack(record.headers) if record.headers else None for record in records]
        parameters = {
            "topic": topic,
            "partitions": list(indexes),
            "firsts": [1, *(last + 1 for last in lasts[:-1])],
            "lasts": lasts,
            "keys": ByteaArray([record.key for record in records]),
            "values": ByteaArray([record.value for record in records]),
            "headers": ByteaArray(headers) if any(headers) else None,
        }
        yield _Share(topic, indexes, statement("append", table_of(topic)), parameters)
