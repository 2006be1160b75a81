"""The asyncio host: owns partitions of the embedded log and keeps them moving until it is told to stop."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any, Final

import psycopg
import structlog

from sojourn.consumers.killpoints import reach
from sojourn.consumers.liveness import Liveness
from sojourn.consumers.partition import Partition
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import Database
from sojourn.events.errors import OffsetOutOfRange, SojournError, Unreachable
from sojourn.events.log import Log
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.owners import hold
from sojourn.projections.pages import load_liveness
from sojourn.projections.store import Owned, acquire, record_crc

BATCH_RECORDS_MAX: Final = 2000  # a transaction of 100 ms; see docs/performance.md
WRITERS: Final = 3  # two cores: one folds while PostgreSQL works for the others
BACKOFF_SECONDS_MAX: Final = 5.0  # a database that restarts is back within seconds

_log = structlog.get_logger("sojourn.host")

# SQLSTATEs of what passes by itself: connections, deadlocks, full disk or memory, locks, shutdown, idle time-outs.
_PASSING: Final = ("08", "40", "53", "55", "57P", "25P03", "25P04")


class LogChanged(SojournError):
    """the log is not the one that was applied before"""


class Unappliable(SojournError):
    """the database refuses what has to be written"""


class Host:
    """Projects all partitions of a log in one process."""

    def __init__(self, database: Database, log: Log, owner: str) -> None:
        self._database, self._log, self._owner = database, log, owner
        self._writers = [Writer(database) for _ in range(WRITERS)]
        self._holder = Writer(database)
        self.partitions: dict[int, Partition] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Project until `stopping` is set; then finish the batches in hand and write what is in memory.

        Raises `Fenced`, `LogChanged` or what else no retry can mend.
        """
        count = await self._log.partitions(LIFECYCLE)
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(count):
                    tasks.create_task(self._keep(number, count, stopping), name=f"partition-{number}")
        except* SojournError as failures:
            stopping.set()
            raise failures.exceptions[0] from None
        finally:
            for writer in [*self._writers, self._holder]:
                await writer.close()

    async def _keep(self, number: int, count: int, stopping: asyncio.Event) -> None:
        """Own and run one partition, anew after every fault that passes by itself."""
        failures = 0
        while not stopping.is_set():
            partition: Partition | None = None
            try:
                partition = self.partitions[number] = await self._own(number, count)
                await self._run(partition, stopping)
            except (psycopg.Error, Unreachable) as error:
                if not _passes(error):
                    raise Unappliable(
                        f"PostgreSQL refuses what partition {number} has to write: {_line(error)}"
                    ) from error
                failures = 1 if partition is not None and partition.commits else failures + 1
                delay = min(BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1)
                _log.warning("partition.retry", partition=number, error=_line(error), seconds=round(delay, 2))
                await _first(stopping, asyncio.sleep(delay))
            finally:
                self.partitions.pop(number, None)

    async def _own(self, number: int, count: int) -> Partition:
        async with self._holder.use() as connection:
            for owned_number in {number, *self.partitions}:  # a connection opened anew holds nothing yet
                await hold(connection, owned_number)
        starts = {topic: (await self._log.start_offsets(topic))[number] for topic in (LIFECYCLE, HEARTBEATS)}
        writer = self._writers[number % len(self._writers)]
        async with writer.use() as connection:
            owned = await acquire(connection, number, self._owner, starts)
            reach("partition.acquired")
            await self._check(owned)
            slots, pages = await load_liveness(connection, number)
        return Partition(writer, owned, Liveness(slots, pages), count)

    async def _check(self, owned: Owned) -> None:
        """Compare the last applied lifecycle record with what the log holds there now."""
        position = owned.positions[LIFECYCLE]
        if position.record_offset is None:
            return
        place = f"{LIFECYCLE}, partition {owned.partition}, offset {position.record_offset}"
        try:
            batch = await self._log.read(LIFECYCLE, owned.partition, position.record_offset, records_max=1)
        except OffsetOutOfRange as error:
            raise LogChanged(f"the log lost records that were applied: {error}") from error
        applied = (position.record_crc, position.record_appended_at)
        if not batch.records or (record_crc(batch.records[0]), batch.records[0].appended_at) != applied:
            raise LogChanged(f"the log was replaced or truncated; it holds another record than was applied: {place}")

    async def _run(self, partition: Partition, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            # Heartbeats that stand in the log by now meet what was established before them, if both are asked in turn.
            heartbeats_end = (await self._log.end_offsets(HEARTBEATS))[partition.number]
            moved = await self._drain_lifecycle(partition, stopping)
            if stopping.is_set():
                break
            moved |= await self._read_heartbeats(partition, heartbeats_end)
            await self._flush_when_due(partition)
            if not moved:
                positions = {(topic, partition.number): offset for topic, offset in partition.next_offsets.items()}
                await _first(stopping, self._log.wait(positions, partition.seconds_to_flush()))
        await partition.close()

    async def _drain_lifecycle(self, partition: Partition, stopping: asyncio.Event) -> bool:
        """Apply lifecycle records up to the end as it stands now."""
        moved = False
        end, applied = (await self._log.end_offsets(LIFECYCLE))[partition.number], partition.next_offsets[LIFECYCLE]
        if end < applied:
            place = f"{LIFECYCLE}, partition {partition.number}, offset {applied}"
            raise LogChanged(f"the log was replaced or truncated; it ends before what was applied: {place}")
        while partition.next_offsets[LIFECYCLE] < end and not stopping.is_set():
            offset = partition.next_offsets[LIFECYCLE]
            batch = await self._log.read(LIFECYCLE, partition.number, offset, records_max=BATCH_RECORDS_MAX)
            await partition.apply_lifecycle(batch)
            await self._flush_when_due(partition)
            moved = True
        return moved

    async def _read_heartbeats(self, partition: Partition, end: int) -> bool:
        """Take the next heartbeats before `end` into memory."""
        offset = partition.next_offsets[HEARTBEATS]
        if offset == end:
            return False
        records_max = min(BATCH_RECORDS_MAX, max(1, end - offset))
        try:
            batch = await self._log.read(HEARTBEATS, partition.number, offset, records_max=records_max)
        except OffsetOutOfRange as error:
            partition.skip_heartbeats(error.start)
            _log.warning("heartbeats.gap", partition=partition.number, error=str(error))
            return True
        await partition.apply_heartbeats(batch)
        return True

    async def _flush_when_due(self, partition: Partition) -> None:
        if partition.seconds_to_flush() == 0.0:
            await partition.flush()


def _passes(error: psycopg.Error | Unreachable) -> bool:
    """Tell whether an error passes by itself."""
    if isinstance(error, Unreachable) or (error.sqlstate is None and isinstance(error, psycopg.OperationalError)):
        return True
    return (error.sqlstate or "").startswith(_PASSING)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


async def _first(stopping: asyncio.Event, work: Awaitable[Any]) -> None:
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
