"""What a test of the broker SDK stands on: a way to a log, the log to look into, and somebody who gives commands."""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import uuid4

from sojourn.events.broker.transport import Transport
from sojourn.events.codec import decode, encode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.decisions import disconnect_requested
from sojourn.events.errors import Unreachable
from sojourn.events.fields import CommandKind
from sojourn.events.log import Append, Batch, Log, Record
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from sojourn.events.types import (
    Desktop,
    DisconnectRequested,
    EstablishedData,
    Event,
    Terminal,
    User,
)

SOURCE: Final = "/brokers/eu-1"
SECONDS_MAX: Final = 60.0  # everything waited for takes a second on an idle machine
POLL_SECONDS: Final = 0.01  # what is waited for does not tell when it happens
DATA: Final = EstablishedData(
    User("u-1", "Ada"), Desktop("d-1", "CAD-1", "cad"), Terminal("browser", "Linux", "7", ""), "10.4.2.17", "blast"
)


class Way(NamedTuple):
    """A transport under test, the log behind it, and how somebody asks the broker for something."""

    open: Callable[[], Transport]
    log: Log
    request: Callable[[DisconnectRequested], Awaitable[None]]


class MemoryLog:
    """A log in memory; while `is_away` nothing is appended or read, and `answers_lost` appends are not told of."""

    def __init__(self) -> None:
        self._records = defaultdict[tuple[str, int], list[Record]](list)
        self.is_away = False
        self.answers_lost = 0

    async def partitions(self, topic: str) -> int:
        """See `Log`."""
        assert topic in (LIFECYCLE, HEARTBEATS, COMMANDS)
        self._demand()
        return PARTITIONS_DEFAULT

    async def append(self, appends: Sequence[Append]) -> list[int]:
        """See `Log`."""
        return self.put(appends, datetime.now(UTC))

    def put(self, appends: Sequence[Append], at: datetime) -> list[int]:
        """Append at an instant."""
        self._demand()
        offsets = []
        for append in appends:
            records = self._records[append.topic, append.partition]
            offsets.append(len(records))
            records.append(
                Record(append.topic, append.partition, len(records), at, append.key, append.value, append.headers)
            )
        if self.answers_lost:
            self.answers_lost -= 1
            raise Unreachable("the answer was lost")
        return offsets

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:
        """See `Log`."""
        self._demand()
        records = self._records[topic, partition][offset : offset + records_max]
        return Batch(topic, partition, tuple(records), offset + len(records))

    async def start_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return dict.fromkeys(range(await self.partitions(topic)), 0)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log`."""
        return {partition: len(self._records[topic, partition]) for partition in range(await self.partitions(topic))}

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:
        """See `Log`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not any(len(self._records[place]) > offset for place, offset in positions.items()):
                    self._demand()
                    await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """See `Log`."""

    def _demand(self) -> None:
        if self.is_away:
            raise Unreachable("the log is away")


def requested(
    command: str,
    session_id: str = "s-1",
    *,
    broker: str = SOURCE,
    kind: CommandKind = "disconnect",
    expires_in: timedelta = timedelta(minutes=10),
) -> DisconnectRequested:
    """Return the event by which an operator asks for something."""
    now = datetime.now(UTC)
    data = DisconnectRequestedData(command, kind, broker, "a test", "operator", now + expires_in, "good bye")
    return disconnect_requested("acme", session_id, data, now)


def command_id() -> str:
    return f"c-{uuid4()}"


async def give(log: Log, event: DisconnectRequested) -> None:
    """Append a command as Sojourn's relay does."""
    key = event.data.broker.encode()
    await log.append([Append(COMMANDS, zlib.crc32(key) % PARTITIONS_DEFAULT, key, encode(event))])


async def events_of(log: Log, topic: str = LIFECYCLE) -> list[Event]:
    """Return all events of a topic, one partition after the other."""
    return [decode(record.value) for record in await records_of(log, topic)]


async def records_of(log: Log, topic: str) -> list[Record]:
    """Return all records of a topic, one partition after the other."""
    records, starts = list[Record](), await log.start_offsets(topic)
    for partition, end in (await log.end_offsets(topic)).items():
        offset = starts[partition]
        while offset < end:
            batch = await log.read(topic, partition, offset)
            records += batch.records
            offset = batch.next_offset
    return records


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll for what does not tell when it happens."""
    async with asyncio.timeout(SECONDS_MAX):
        while not await condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(POLL_SECONDS)
