"""A log in memory, for tests of what writes to one."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sojourn.events.errors import OffsetOutOfRange
from sojourn.events.log import Append, Batch, Record
from sojourn.events.topics import PARTITIONS_DEFAULT


class MemoryLog:
    """Everything that was appended, by topic and partition, and in `values` in the order of its coming."""

    def __init__(self) -> None:
        self.values: list[tuple[str, bytes]] = []
        self._records: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._grown = asyncio.Condition()

    async def partitions(self, topic: str) -> int:  # noqa: ARG002 -- all topics have as many
        return PARTITIONS_DEFAULT

    async def append(self, appends: Sequence[Append]) -> list[int]:
        now = datetime.now(UTC)
        offsets = []
        for topic, partition, key, value, headers in appends:
            records = self._records[topic, partition]
            offsets.append(len(records))
            records.append(Record(topic, partition, len(records), now, key, value, headers))
            self.values.append((topic, value))
        async with self._grown:
            self._grown.notify_all()
        return offsets

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        records = self._records[topic, partition]
        if not 0 <= offset <= len(records):
            raise OffsetOutOfRange(topic, partition, offset, 0, len(records))
        found = records[offset : offset + records_max]
        return Batch(topic, partition, found, offset + len(found))

    async def start_offsets(self, topic: str) -> dict[int, int]:
        return dict.fromkeys(range(await self.partitions(topic)), 0)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        return {number: len(self._records[topic, number]) for number in range(await self.partitions(topic))}

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        async def grown() -> None:
            async with self._grown:
                await self._grown.wait_for(
                    lambda: any(len(self._records[place]) > offset for place, offset in positions.items())
                )

        try:
            await asyncio.wait_for(grown(), timeout_seconds)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Nothing is held."""
