"""What a consumer group has fetched, partition by partition, for the keepers to read as they read a log."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from sojourn.events.errors import OffsetOutOfRange
from sojourn.events.log import Batch, Log, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

BUFFERED_RECORDS_MAX: Final = 4000  # of each topic's partition: two batches, one applied while the next is fetched
BUFFERED_BYTES_MAX: Final = 8 << 20  # twelve partitions of two topics may hold this at once
READ_SECONDS_MAX: Final = 0.5  # a keeper that is told to stop notices after this long at most

Place = tuple[str, int]  # topic, partition
Trouble = Literal["missing", "unreadable"]


class Fetched(NamedTuple):
    """Records of one partition in order; `start` is where the fetch began and `next_offset` where the next one does.

    `end` is the end of what is committed, as the broker told it with the records. `trouble` says that the broker does
    not hold `start`, or that the consumer cannot read what is there.
    """

    topic: str
    partition: int
    start: int
    records: list[Record]
    next_offset: int
    end: int
    trouble: Trouble | None = None


class _Buffer:
    """What is fetched of one topic's partition and not read; without `expected`, the consumer has yet to seek."""

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.first: int | None = None
        self.expected: int | None = None
        self.end: int | None = None
        self.trouble: Trouble | None = None
        self.records = 0
        self.bytes = 0
        self.filled = asyncio.Event()

    def clear(self, offset: int | None) -> None:
        self.batches.clear()
        self.first = self.expected = offset
        self.records = self.bytes = 0
        self.trouble = None
        self.filled.clear()

    @property
    def is_hungry(self) -> bool:
        """Tell whether it should be fetched for."""
        has_room = self.records < BUFFERED_RECORDS_MAX and self.bytes < BUFFERED_BYTES_MAX
        return self.expected is not None and self.trouble is None and has_room

    def put(self, fetched: Fetched) -> None:
        """Take a fetch that continues what is here; what was fetched before a seek does not."""
        if fetched.start != self.expected:
            if self.expected is not None and fetched.start > self.expected:
                self.clear(None)  # something got lost on the way, so that the next read has to seek
            return
        if fetched.trouble is not None:
            self.trouble = fetched.trouble
        else:
            self.batches.append(Batch(fetched.topic, fetched.partition, fetched.records, fetched.next_offset))
            self.expected = fetched.next_offset
            self.end = max(fetched.end, fetched.next_offset, self.end or 0)
            self.records += len(fetched.records)
            self.bytes += sum(len(record.value) for record in fetched.records)
        self.filled.set()

    def take(self, records_max: int) -> Batch:
        """Return the first batch, or as much of it as is wanted."""
        batch = self.batches.popleft()
        if len(batch.records) > records_max:
            rest = batch.records[records_max:]
            self.batches.appendleft(batch._replace(records=rest))
            batch = batch._replace(records=batch.records[:records_max], next_offset=rest[0].offset)
        self.first = batch.next_offset
        self.records -= len(batch.records)
        self.bytes -= sum(len(record.value) for record in batch.records)
        if not self.batches and self.trouble is None:
            self.filled.clear()
        return batch


class Feed:
    """The source of the keepers of a worker: see `keeper.Source`."""

    def __init__(self, log: Log, seek: Callable[[Place, int], Awaitable[None]]) -> None:
        self._log, self._seek = log, seek
        self._buffers: dict[Place, _Buffer] = {}
        self._hungry = asyncio.Event()
        self._asking: asyncio.Task[dict[int, int]] | None = None
        self._next_asking: asyncio.Task[dict[int, int]] | None = None

    def assign(self, places: Iterable[Place]) -> None:
        """Take over a new assignment; nothing fetched under the one before is handed out."""
        kept = {place: self._buffers.get(place) or _Buffer() for place in places}
        for buffer in kept.values():
            buffer.clear(None)
            buffer.end = None
        self._buffers = kept

    def put(self, fetched: Fetched) -> None:
        """Take what was fetched."""
        buffer = self._buffers.get((fetched.topic, fetched.partition))
        if buffer is not None:
            buffer.put(fetched)

    def wanted(self) -> set[Place]:
        """Return what should be fetched: what is assigned, has been sought, and has room."""
        return {place for place, buffer in self._buffers.items() if buffer.is_hungry}

    @property
    def is_all_wanted(self) -> bool:
        """Tell whether everything assigned should be fetched."""
        return all(buffer.is_hungry for buffer in self._buffers.values())

    async def wait_until_wanted(self, timeout_seconds: float) -> None:
        """Return when there may be something to fetch, or when the time is over."""
        self._hungry.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hungry.wait(), timeout_seconds)

    def known_ends(self) -> dict[Place, int]:
        """Return the ends as the broker told them last, of the places it told."""
        return {place: buffer.end for place, buffer in self._buffers.items() if buffer.end is not None}

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """See `Log`; waits a moment for records, and then returns an empty batch."""
        place = (topic, partition)
        buffer = self._buffers.get(place)
        if buffer is None:  # the assignment has just changed, and the keeper is about to be told
            await asyncio.sleep(READ_SECONDS_MAX)
            return Batch(topic, partition, (), offset)
        await self._go_to(place, buffer, offset)
        with suppress(TimeoutError):
            await asyncio.wait_for(buffer.filled.wait(), READ_SECONDS_MAX)
        if buffer.first == offset and buffer.batches:
            batch = buffer.take(records_max)
            if buffer.is_hungry:
                self._hungry.set()
            return batch
        if buffer.first == offset and buffer.trouble is not None:
            return await self._read_past(buffer, place, offset, records_max)
        return Batch(topic, partition, (), offset)

    async def _go_to(self, place: Place, buffer: _Buffer, offset: int) -> None:
        """Let the consumer seek, unless the buffer already goes on from there."""
        if buffer.first != offset:
            buffer.clear(offset)
            await self._seek(place, offset)
            self._hungry.set()

    async def _read_past(self, buffer: _Buffer, place: Place, offset: int, records_max: int) -> Batch:
        """Read by the log itself what the consumer cannot, or say what the log holds; the next read seeks again."""
        trouble = buffer.trouble
        buffer.clear(None)
        if trouble == "unreadable":
            return await self._log.read(*place, offset, records_max=records_max)
        topic, partition = place
        start = (await self._log.start_offsets(topic))[partition]
        raise OffsetOutOfRange(topic, partition, offset, start, (await self._log.end_offsets(topic))[partition])

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`; as the broker told them with the last fetch.

        While heartbeats wait, those of lifecycle are asked for: what was established before them has to be applied
        first, and the last fetch of lifecycle may be older than theirs.
        """
        buffers = {partition: buffer for (of_topic, partition), buffer in self._buffers.items() if of_topic == topic}
        if topic == LIFECYCLE and any(place[0] == HEARTBEATS and one.batches for place, one in self._buffers.items()):
            ends = await self._lifecycle_ends()
        elif any(buffer.end is None for buffer in buffers.values()):
            ends = await self._log.end_offsets(topic)
        else:
            ends = {}
        for partition, buffer in buffers.items():
            buffer.end = max(buffer.end or 0, ends.get(partition, 0))
        return {partition: buffer.end or 0 for partition, buffer in buffers.items()}

    async def _lifecycle_ends(self) -> dict[int, int]:
        """Ask for the ends; one request answers all who wanted it before it was sent."""
        if self._next_asking is None:
            self._next_asking = asyncio.create_task(self._ask(self._asking))
        return await asyncio.shield(self._next_asking)

    async def _ask(self, before: asyncio.Task[dict[int, int]] | None) -> dict[int, int]:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._next_asking = self._next_asking, None
        return await self._log.end_offsets(LIFECYCLE)

    async def wait(self, positions: Mapping[Place, int], timeout_seconds: float) -> None:
        """See `Log`; seeks where nothing has been read yet."""
        for place, offset in positions.items():
            buffer = self._buffers.get(place)
            if buffer is not None:
                await self._go_to(place, buffer, offset)
        waiting = [
            asyncio.ensure_future(self._buffers[place].filled.wait()) for place in positions if place in self._buffers
        ]
        if not waiting:  # the assignment has just changed, and the keeper is about to be told
            await asyncio.sleep(min(timeout_seconds, READ_SECONDS_MAX))
            return
        try:
            await asyncio.wait(waiting, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
