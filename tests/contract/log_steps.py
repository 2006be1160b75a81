"""Steps that the tests of a log share."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from sojourn.events.log import Append, Log, Record
from sojourn.events.topics import LIFECYCLE

SECONDS_MAX: Final = 30.0  # for another process to start and to append ten times
FAR: Final = 2**62  # an offset that no log reaches

Place = tuple[str, int]
OpenLog = Callable[[], AbstractAsyncContextManager[Log]]
Restart = Callable[[], Awaitable[None]]


async def append_until_killed(log: Log, run: str) -> None:
    """Append numbered records to all partitions of lifecycle, in turn, and write down what is acknowledged."""
    partitions = await log.partitions(LIFECYCLE)
    number = 0
    while True:
        await log.append(
            [Append(LIFECYCLE, partition, None, f"{run}/{number}".encode()) for partition in range(partitions)]
        )
        os.write(1, f"{number}\n".encode())
        number += 1


async def read_all(log: Log, place: Place, start: int) -> list[Record]:
    """Read from an offset to the end, and check that no offset is missing."""
    topic, partition = place
    records: list[Record] = []
    while (batch := await log.read(topic, partition, start + len(records))).records:
        records += batch.records
    assert [record.offset for record in records] == list(range(start, start + len(records)))
    assert {(record.topic, record.partition) for record in records} <= {place}
    return records


async def ends(log: Log, topic: str) -> dict[Place, int]:
    return {(topic, partition): end for partition, end in (await log.end_offsets(topic)).items()}


def values(records: Iterable[Record]) -> list[bytes]:
    return [record.value for record in records]


async def seconds_of(step: Awaitable[None]) -> float:
    began = time.monotonic()
    await step
    return time.monotonic() - began


async def append_and_kill(appender: Sequence[str], run: str, log: Log) -> int:
    """Let another process append beside us, kill it in the middle, and return how much was acknowledged."""
    process = await asyncio.create_subprocess_exec(*appender, run, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    count = 0
    async with asyncio.timeout(SECONDS_MAX):
        while count < 10 and await process.stdout.readline():
            count += 1
            await log.append([Append(LIFECYCLE, partition, None, b"ours") for partition in (11, 0, 5)])
        process.kill()
        count += (await process.stdout.read()).count(b"\n")
        await process.wait()
    assert count >= 10, "the appender ended by itself"
    return count
