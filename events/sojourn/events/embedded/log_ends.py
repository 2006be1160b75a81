"""Where the partitions end now, kept current by one LISTEN connection, and who waits for them to move."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from psycopg import OperationalError
from psycopg.errors import InvalidSchemaName, UndefinedTable

from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log_connections import Connection, NotInstalled, statement
from sojourn.events.errors import Unreachable

POLL_SECONDS: Final = 5.0  # finds a LISTEN connection that died without a word; NOTIFY wakes at once
RECONNECT_SECONDS: Final = 0.2  # a restart takes longer, and a cut connection hardly shows


class Ends:
    """The end offsets of all partitions, as the last notification or poll gave them."""

    def __init__(self, database: Database, topics: Iterable[str]) -> None:
        self._database = database
        self._topics = list(topics)
        self._ends: dict[tuple[str, int], int] = {}
        self._moved = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """Return when one of the partitions ends past its position, or when the time is over.

        No wake-up is lost: the ends are read after LISTEN, and between the check and the wait nothing else runs.
        """
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
            self._listener.add_done_callback(lambda _: self._announce())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not any(self._ends.get(place, 0) > offset for place, offset in positions.items()):
                    if self._listener.cancelled():
                        return
                    if self._listener.done():
                        self._listener.result()
                    await self._moved.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    async def _listen(self) -> None:
        while True:
            with suppress(OperationalError, Unreachable):
                async with await self._database.connect(autocommit=True) as connection:
                    await connection.execute("LISTEN sojourn_log")
                    while True:
                        await self._poll(connection)
                        async for notification in connection.notifies(timeout=POLL_SECONDS):
                            self._take(notification.payload)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _poll(self, connection: Connection) -> None:
        try:
            heads = await connection.execute(statement("heads"), {"topics": self._topics})
        except (InvalidSchemaName, UndefinedTable) as error:
            raise NotInstalled from error
        async for topic, partition, _, end in heads:
            self._move(topic, partition, end)
        self._announce()

    def _take(self, payload: str) -> None:
        topic, *moved = payload.split(" ")
        for share in moved:
            partition, _, end = share.partition(":")
            self._move(topic, int(partition), int(end))
        self._announce()

    def _move(self, topic: str, partition: int, end: int) -> None:
        """Move an end, but not back: a notification may be older than the poll before it."""
        self._ends[topic, partition] = max(end, self._ends.get((topic, partition), 0))

    def _announce(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
