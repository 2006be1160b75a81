"""Keeping one partition moving: own it, apply what comes, and own it anew after every fault that passes by itself."""

import asyncio
import random
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import psycopg
import structlog

from sojourn.consumers.measures import UNOBSERVED
from sojourn.consumers.owning import Hold, LogChanged, own
from sojourn.consumers.partition import Partition
from sojourn.consumers.sight import SIGHT_SECONDS, Seen, Sight
from sojourn.consumers.writers import Writer
from sojourn.events.errors import OffsetOutOfRange, SojournError, Unreachable
from sojourn.events.log import Batch, Log
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

BATCH_RECORDS_MAX: Final = 2000  # a transaction of 100 ms; see docs/performance.md
LIVE_FOR: Final = timedelta(seconds=2)  # twice what passes between two looks
BACKOFF_SECONDS_MAX: Final = 5.0  # a database that restarts is back within seconds

_log = structlog.get_logger("sojourn.keeper")

# How SQLSTATEs of what passes by itself begin, each with the word by which retries are counted.
_PASSING: Final = {
    "08": "connection",
    "40": "deadlock",
    "53": "disk_or_memory",
    "55": "lock",
    "57P": "shutdown",
    "25P03": "timeout",
    "25P04": "timeout",
}


class Unappliable(SojournError):
    """the database refuses what has to be written"""


class Source(Protocol):
    """Where the records of a partition come from: the part of `Log` that reads, or what a consumer group feeds."""

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """See `Log`; may return an empty batch at `offset` when there is nothing yet."""

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`; no older than the newest batch that was read."""

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """See `Log`."""


class Keeper:
    """Owns and runs one of `count` partitions, on behalf of `owner`."""

    def __init__(
        self,
        number: int,
        count: int,
        owner: str,
        log: Log,
        source: Source,
        writer: Writer,
        hold: Hold,
        sight: Sight,
    ) -> None:
        self.number = number
        self.partition: Partition | None = None
        self.measures = UNOBSERVED
        self._count, self._owner, self._hold = count, owner, hold
        self._log, self._source, self._writer, self._sight = log, source, writer, sight
        self._mark: Seen | None = None
        self._judged_at: datetime | None = None

    async def keep(self, stopping: asyncio.Event) -> None:
        """Run until `stopping` is set; then finish the batch in hand and write what is in memory.

        Raises `Fenced`, `LogChanged` or what else no retry can mend.
        """
        failures = 0
        while not stopping.is_set():
            partition: Partition | None = None
            try:
                await self._hold(self.number)
                partition = self.partition = await own(
                    self._writer, self._log, self.number, self._owner, self._count, self._sight.now()
                )
                self._mark = self._judged_at = None
                partition.measures = self.measures
                self.measures.owned(self.number, partition.next_offsets)
                await self._run(partition, stopping)
            except (psycopg.Error, Unreachable) as error:
                if not _passes(error):
                    raise Unappliable(
                        f"PostgreSQL refuses what partition {self.number} has to write: {_line(error)}"
                    ) from error
                failures = 1 if partition is not None and partition.commits else failures + 1
                delay = min(BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1)
                _log.warning("partition.retry", partition=self.number, error=_line(error), seconds=round(delay, 2))
                self.measures.retried(self.number, _reason(error), _line(error))
                await first(stopping, asyncio.sleep(delay))
            finally:
                self.partition = None
                self.measures.let_go(self.number)

    async def _run(self, partition: Partition, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            # Heartbeats that stand in the log by now meet what was established before them, if both are asked in turn.
            heartbeats_end = await self._end(partition, HEARTBEATS)
            moved = await self._drain_lifecycle(partition, stopping)
            if stopping.is_set():
                break
            moved |= await self._read_heartbeats(partition, heartbeats_end)
            await self._judge(partition)
            await _flush_when_due(partition)
            if not moved:
                positions = {(topic, self.number): offset for topic, offset in partition.next_offsets.items()}
                await first(stopping, self._source.wait(positions, min(SIGHT_SECONDS, partition.seconds_to_flush())))
        await partition.close()

    async def _judge(self, partition: Partition) -> None:
        """Decide what is due once all is applied that the log held when it was last looked at; send what waits."""
        seen = self._sight.seen
        if seen is None:
            return
        if self._mark is None and (self._judged_at is None or seen.asked_at > self._judged_at):
            self._mark = seen
        mark = self._mark
        if mark is not None and all(
            offset >= mark.ends[topic].get(self.number, 0) for topic, offset in partition.next_offsets.items()
        ):
            await partition.decide(mark.asked_at, self._sight.clear_since, mark.misrouting)
            self._judged_at, self._mark = mark.asked_at, None
        await partition.relay(self._log, self._sight.now(), waiting=self.number in seen.waiting)

    async def _drain_lifecycle(self, partition: Partition, stopping: asyncio.Event) -> bool:
        """Apply lifecycle records up to the end as it stands now."""
        moved = False
        end, applied = await self._end(partition, LIFECYCLE), partition.next_offsets[LIFECYCLE]
        if end < applied:
            place = f"{LIFECYCLE}, partition {self.number}, offset {applied}"
            raise LogChanged(f"the log was replaced or truncated; it ends before what was applied: {place}")
        while partition.next_offsets[LIFECYCLE] < end and not stopping.is_set():
            offset = partition.next_offsets[LIFECYCLE]
            try:
                batch = await self._source.read(LIFECYCLE, self.number, offset, records_max=BATCH_RECORDS_MAX)
            except OffsetOutOfRange as error:
                raise LogChanged(f"the log lost records before they were applied: {error}") from error
            if batch.next_offset > offset:
                await partition.apply_lifecycle(batch)
                moved = True
            await _flush_when_due(partition)
        return moved

    async def _end(self, partition: Partition, topic: str) -> int:
        """Return the end of a topic; the next offset where a group has just given the partition to another."""
        ends = await self._source.end_offsets(topic)
        return ends.get(self.number, partition.next_offsets[topic])

    async def _read_heartbeats(self, partition: Partition, end: int) -> bool:
        """Take the next heartbeats before `end` into memory."""
        offset = partition.next_offsets[HEARTBEATS]
        if offset == end:
            return False
        records_max = min(BATCH_RECORDS_MAX, max(1, end - offset))
        try:
            batch = await self._source.read(HEARTBEATS, self.number, offset, records_max=records_max)
        except OffsetOutOfRange as error:
            partition.skip_heartbeats(error.start, self._sight.now())
            _log.warning("heartbeats.gap", partition=self.number, error=str(error))
            return True
        if batch.next_offset > offset:
            await partition.apply_heartbeats(batch)
            if batch.records and self._is_live:
                self._sight.observe(batch.records[-1].appended_at)
        return True

    @property
    def _is_live(self) -> bool:
        """Whether all was applied a moment ago, so that what is read now has just been appended."""
        return self._judged_at is not None and self._sight.now() - self._judged_at < LIVE_FOR


async def _flush_when_due(partition: Partition) -> None:
    if partition.seconds_to_flush() == 0.0:
        await partition.flush()


def _passes(error: psycopg.Error | Unreachable) -> bool:
    """Tell whether an error passes by itself."""
    if isinstance(error, Unreachable) or (error.sqlstate is None and isinstance(error, psycopg.OperationalError)):
        return True
    return (error.sqlstate or "").startswith(tuple(_PASSING))


def _reason(error: psycopg.Error | Unreachable) -> str:
    """Return the word by which a retry is counted."""
    if isinstance(error, Unreachable):
        return "unreachable"
    return next((word for begin, word in _PASSING.items() if (error.sqlstate or "").startswith(begin)), "connection")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


async def first(stopping: asyncio.Event, work: Awaitable[Any]) -> None:
    """Wait for the work or for `stopping`, whichever comes first."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
