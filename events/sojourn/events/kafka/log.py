"""Apache Kafka as the log: the log port on aiokafka's protocol, since its clients promise less (docs/why.md)."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka.protocol.offset import OffsetRequest

from sojourn.events.errors import OffsetOutOfRange
from sojourn.events.kafka.brokers import Brokers, raise_for
from sojourn.events.kafka.log_append import Appender
from sojourn.events.kafka.log_read import READ_COMMITTED, Cursor, OutOfRange
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.log import Append, Batch

CURSORS_MAX: Final = 32  # readers that go on without a new fetch: both topics of 12 partitions, and a few more
CURSOR_SECONDS_MAX: Final = 5.0  # what was fetched longer ago may be of a topic that was made anew since
POLL_SECONDS_MIN: Final = 0.005  # a busy log is seen at once
POLL_SECONDS_MAX: Final = 0.2  # a quiet one is asked five times a second

_EARLIEST: Final = -2  # Kafka's numbers for the two ends
_LATEST: Final = -1


class KafkaLog:
    """See `sojourn.events.log.Log`; while Kafka is away, calls wait and then raise `Unreachable`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._brokers = Brokers(settings)
        self._appender = Appender(self._brokers)
        self._cursors: OrderedDict[tuple[str, int, int], Cursor] = OrderedDict()

    async def partitions(self, topic: str) -> int:
        """See `Log`."""
        return len(await self._brokers.patiently(lambda: self._brokers.leaders(topic)))

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """See `Log`; all of one partition goes into one batch."""
        return await self._appender.append(appends) if appends else []

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """See `Log`; only what is committed, and what was fetched beyond is kept for the next read there."""
        cursor = await self._cursor(topic, partition, offset)
        try:
            records = await cursor.take(records_max)
        except OutOfRange:
            start, end = [(await self._ends(topic, which))[partition] for which in (_EARLIEST, _LATEST)]
            raise OffsetOutOfRange(topic, partition, offset, start, end) from None
        except BaseException:
            await cursor.close()
            raise
        await self._keep(topic, partition, cursor)
        return Batch(topic, partition, tuple(records), cursor.next_offset)

    async def start_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return await self._ends(topic, _EARLIEST)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`; of what is committed: records of an open transaction, and all after them, are beyond."""
        return await self._ends(topic, _LATEST)

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """See `Log`; also returns for what transactions leave, over which a read moves on."""
        pause, topics = POLL_SECONDS_MIN, {topic for topic, _ in positions}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while True:
                    ends = {topic: await self.end_offsets(topic) for topic in topics}
                    if any(ends[topic].get(partition, 0) > offset for (topic, partition), offset in positions.items()):
                        return
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, POLL_SECONDS_MAX)

    async def close(self) -> None:
        """See `Log`."""
        for cursor in self._cursors.values():
            await cursor.close()
        self._cursors.clear()
        await self._brokers.close()

    async def _cursor(self, topic: str, partition: int, offset: int) -> Cursor:
        kept = self._cursors.pop((topic, partition, offset), None)
        if kept is None:
            return Cursor(self._brokers, topic, partition, offset)
        if time.monotonic() - kept.used_at < CURSOR_SECONDS_MAX:
            return kept
        await kept.close()
        return Cursor(self._brokers, topic, partition, offset)

    async def _keep(self, topic: str, partition: int, cursor: Cursor) -> None:
        if cursor.holds_records:
            self._cursors[topic, partition, cursor.next_offset] = cursor
        if len(self._cursors) > CURSORS_MAX:
            _, oldest = self._cursors.popitem(last=False)
            await oldest.close()

    async def _ends(self, topic: str, which: int) -> dict[int, int]:
        async def attempt() -> dict[int, int]:
            offsets: dict[int, int] = {}
            leaders = await self._brokers.leaders(topic)
            for node, partitions in (await self._brokers.by_leader(topic, leaders)).items():
                places = [(topic, [(partition, which) for partition in partitions])]
                response = await self._brokers.send(node, OffsetRequest(-1, READ_COMMITTED, places))
                for _, found in response.topics:
                    for partition, code, _, offset in found:
                        raise_for(code)
                        offsets[partition] = offset
            return dict(sorted(offsets.items()))

        return await self._brokers.patiently(attempt)
