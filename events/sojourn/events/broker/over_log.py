"""A broker that reads and writes the log itself."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sojourn.events.broker.transport import Rejection
from sojourn.events.codec import Undecodable, decode
from sojourn.events.errors import OffsetOutOfRange
from sojourn.events.log import Log, Record
from sojourn.events.publisher import Publisher
from sojourn.events.topics import COMMANDS
from sojourn.events.types import DisconnectRequested

LOOK_BACK: Final = timedelta(minutes=15)  # commands expire in minutes: a broker that starts finds those it missed
WAIT_SECONDS: Final = 10.0  # then it looks by itself, should nobody have told of a record


class LogTransport:
    """See `Transport`."""

    marks_delivered = False

    def __init__(self, log: Log) -> None:
        self._log, self._publisher = log, Publisher(log)
        self._next: dict[int, int] = {}

    async def publish(self, values: Sequence[bytes]) -> list[Rejection]:
        """See `Transport`; a log takes all, and what Sojourn cannot read is found among the dead letters."""
        await self._publisher.publish(values)
        return []

    async def commands(self, source: str) -> AsyncGenerator[DisconnectRequested, None]:
        """See `Transport`; other brokers' commands are read too, and skipped."""
        if not self._next:
            self._next = {p: await self._look_back(p) for p in range(await self._log.partitions(COMMANDS))}
        while True:
            for partition in self._next:
                async for record in self._read(partition):
                    event = _command(record)
                    if event is not None and event.data.broker == source:
                        yield event
            places = {(COMMANDS, partition): offset for partition, offset in self._next.items()}
            await self._log.wait(places, WAIT_SECONDS)

    async def close(self) -> None:
        """See `Transport`."""
        await self._log.close()

    async def _read(self, partition: int) -> AsyncGenerator[Record, None]:
        """Yield the records of one partition up to its end; each counts as read when the next is asked for."""
        while True:
            try:
                batch = await self._log.read(COMMANDS, partition, self._next[partition])
            except OffsetOutOfRange:  # they were kept for a day, or the topic was made anew
                self._next[partition] = await self._look_back(partition)
                return
            for record in batch.records:
                yield record
                self._next[partition] = record.offset + 1
            if batch.next_offset == self._next[partition]:
                return
            self._next[partition] = batch.next_offset

    async def _look_back(self, partition: int) -> int:
        """Return the first offset of the last quarter of an hour; append times never fall within a partition."""
        since = datetime.now(UTC) - LOOK_BACK
        low = (await self._log.start_offsets(COMMANDS))[partition]
        high = (await self._log.end_offsets(COMMANDS))[partition]
        while low < high:
            middle = (low + high) // 2
            batch = await self._log.read(COMMANDS, partition, middle, records_max=1)
            if batch.records and batch.records[0].appended_at < since:
                low = batch.records[0].offset + 1
            else:
                high = middle
        return low


def _command(record: Record) -> DisconnectRequested | None:
    try:
        event = decode(record.value)
    except Undecodable:
        return None
    return event if isinstance(event, DisconnectRequested) else None
