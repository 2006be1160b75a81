"""Sojourn's own partitions under a clock that is set by hand: days pass in minutes, and nothing waits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sojourn.consumers.keeper import BATCH_RECORDS_MAX
from sojourn.consumers.owning import own
from sojourn.consumers.partition import Partition
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import Database
from sojourn.events.errors import OffsetOutOfRange
from sojourn.events.log import Append, Batch, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

HEARTBEATS_KEPT = 100_000  # records of a partition, in memory; the newest owner reads again from its last flush on


class Clock:
    """The only clock there is."""

    def __init__(self, now: datetime) -> None:
        self.now = now


class MemoryLog:
    """A log in this process; what is appended gets the time of its clock."""

    def __init__(self, clock: Clock, partitions: int) -> None:
        self._clock, self._partitions = clock, partitions
        self._records: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._dropped: dict[tuple[str, int], int] = defaultdict(int)

    async def partitions(self, topic: str) -> int:  # noqa: ARG002 - the port asks by topic; here all have as many
        """See `Log`."""
        return self._partitions

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """See `Log`."""
        offsets = []
        for topic, partition, key, value, headers in appends:
            place = topic, partition
            records = self._records[place]
            offsets.append(self._dropped[place] + len(records))
            records.append(Record(topic, partition, offsets[-1], self._clock.now, key, value, headers))
            if topic == HEARTBEATS and len(records) >= 2 * HEARTBEATS_KEPT:
                self._dropped[place] += HEARTBEATS_KEPT
                del records[:HEARTBEATS_KEPT]
        return offsets

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """See `Log`."""
        place = topic, partition
        start, records = self._dropped[place], self._records[place]
        if not start <= offset <= start + len(records):
            raise OffsetOutOfRange(topic, partition, offset, start, start + len(records))
        found = records[offset - start : offset - start + records_max]
        return Batch(topic, partition, found, offset + len(found))

    async def start_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return {partition: self._dropped[topic, partition] for partition in range(self._partitions)}

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return {partition: self.end(topic, partition) for partition in range(self._partitions)}

    def end(self, topic: str, partition: int) -> int:
        """Return where one partition ends."""
        return self._dropped[topic, partition] + len(self._records[topic, partition])

    def since(self, topic: str, partition: int, offset: int) -> list[Record]:
        """Return the records of one partition from an offset on."""
        return self._records[topic, partition][offset - self._dropped[topic, partition] :]

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """See `Log`; nothing is ever to be waited for."""

    async def close(self) -> None:
        """See `Log`."""


class Worker:
    """What a `Keeper` does with its partitions, step by step: `since` is when it began to judge."""

    def __init__(self, database: Database, log: MemoryLog, clock: Clock, count: int, flush_every: timedelta) -> None:
        self._log, self._clock, self._count, self._flush_every = log, clock, count, flush_every
        self._writer = Writer(database)
        self._partitions: list[Partition] = []
        self.since = clock.now
        self._flushed_at = clock.now
        self._started = 0

    async def start(self) -> None:
        """Own all partitions, as a process that has just begun."""
        self._started += 1
        self.since = self._flushed_at = self._clock.now
        self._partitions = [
            await own(self._writer, self._log, number, f"rehearsal-{self._started}", self._count, self.since)
            for number in range(self._count)
        ]

    async def step(self) -> None:
        """Apply all that the log holds, decide what is due, append it and apply that."""
        for partition in self._partitions:
            await self._apply(partition)
            await partition.decide(self._clock.now, self.since, frozenset())
            await partition.relay(self._log, self._clock.now, waiting=False)
            await self._drain(partition)
        if self._clock.now - self._flushed_at >= self._flush_every:
            self._flushed_at = self._clock.now
            for partition in self._partitions:
                await partition.flush()

    def thaw(self) -> None:
        """Go on after it stood still: what brokers sent meanwhile may not have reached the log either."""
        self.since = self._clock.now

    async def die(self) -> None:
        """End as by `kill -9`, with decisions in the outbox that were not appended."""
        for partition in self._partitions:
            await self._apply(partition)
            await partition.decide(self._clock.now, self.since, frozenset())
        self._partitions = []

    async def close(self) -> None:
        """Flush and let go."""
        for partition in self._partitions:
            await partition.close()
        await self._writer.close()

    async def _apply(self, partition: Partition) -> None:
        end = self._log.end(HEARTBEATS, partition.number)
        await self._drain(partition)
        while partition.next_offsets[HEARTBEATS] < end:
            offset = partition.next_offsets[HEARTBEATS]
            batch = await self._log.read(
                HEARTBEATS, partition.number, offset, records_max=min(BATCH_RECORDS_MAX, end - offset)
            )
            await partition.apply_heartbeats(batch)

    async def _drain(self, partition: Partition) -> None:
        while partition.next_offsets[LIFECYCLE] < self._log.end(LIFECYCLE, partition.number):
            offset = partition.next_offsets[LIFECYCLE]
            await partition.apply_lifecycle(
                await self._log.read(LIFECYCLE, partition.number, offset, records_max=BATCH_RECORDS_MAX)
            )
