"""`python -m bench.million`: a million live sessions with 30 s beats on Kafka, held for ten minutes; then more beats.

Kafka, PostgreSQL, one worker and the load share the machine. More sessions than that are stood for by more beats: what
ten million sessions beat in 30 s, a million beat in 3 s.
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.kafka import Cluster, cluster, scene
from bench.kafka_load import Keyed, fill
from bench.kafka_workers import Scene, until
from bench.measure import Reading
from sojourn.events.codec import encode
from sojourn.events.log import Append
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT, batch_key, session_key, session_partition
from sojourn.events.types import Alive, AliveData, Heartbeats, HeartbeatsData

TENANT: Final = "acme"
SOURCE: Final = "/brokers/eu-1"
BEAT_SECONDS: Final = 30.0
SESSIONS_A_RECORD: Final = 1000
FILL_SESSIONS: Final = 50_000  # held in memory at a time
LOOK_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 30.0  # of beats before the first look
FACTORS: Final = (2, 4, 8, 16, 32)
FACTOR_SECONDS: Final = 60.0
HEAD: Final = """\
| sessions, by their beats | held for | beats a second | worker, cores | PostgreSQL, cores | Kafka, cores \
| load, cores | worker's memory | longest lag | lost |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


class Sizes(NamedTuple):
    """How many sessions, for how long."""

    sessions: int
    seconds: float


FULL: Final = Sizes(1_000_000, 600.0)
SMALL: Final = Sizes(50_000, 60.0)


def established(number: int) -> Keyed:
    """Return the key and the value of one session's beginning."""
    session = f"s-{number:07}"
    data = {
        "user": {"id": f"u-{number % 400_000}", "name": "Ada Byron"},
        "desktop": {"id": f"d-{number:07}", "name": "CAD-204", "pool": "cad"},
        "terminal": {"type": "thin_client", "os": "Linux", "version": "7.1", "name": "TC-0042"},
        "client_ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "protocol": "blast",
    }
    event = {
        "specversion": "1.0",
        "id": f"{session}-1",
        "source": SOURCE,
        "type": "sojourn.session.established.v1",
        "time": datetime.now(UTC),
        "tenant": TENANT,
        "subject": session,
        "data": data,
    }
    return session_key(TENANT, session), msgspec.json.encode(event)


async def establish(kafka: Cluster, count: int) -> dict[int, list[str]]:
    """Append the beginnings of so many sessions; return their ids by partition."""
    places: dict[int, list[str]] = {number: [] for number in range(PARTITIONS_DEFAULT)}
    for start in range(0, count, FILL_SESSIONS):
        records: dict[int, list[Keyed]] = {number: [] for number in range(PARTITIONS_DEFAULT)}
        for number in range(start, min(count, start + FILL_SESSIONS)):
            session = f"s-{number:07}"
            place = session_partition(TENANT, session, PARTITIONS_DEFAULT)
            places[place].append(session)
            records[place].append(established(number))
        await fill(kafka.bootstrap_servers, LIFECYCLE, records)
    return places


class Beats:
    """Beats all sessions again and again, evenly over `seconds`, as a broker with batches does."""

    def __init__(self, kafka: Cluster, places: dict[int, list[str]]) -> None:
        self._log = kafka.log
        self._records = [
            (place, ids[start : start + SESSIONS_A_RECORD])
            for place, ids in places.items()
            for start in range(0, len(ids), SESSIONS_A_RECORD)
        ]
        self.seconds = BEAT_SECONDS
        self.told = 0

    async def run(self) -> None:
        """Beat until cancelled."""
        due = time.monotonic()
        for turn in itertools.count():
            await self._alive(turn)
            for records in self._portions():
                await self._log.append([self._append(turn, *record) for record in records])
                self.told += sum(len(ids) for _, ids in records)
                due += self.seconds * len(records) / len(self._records)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - self.seconds)

    def _portions(self) -> Iterator[list[tuple[int, list[str]]]]:
        """Return all records, twelve at a time: one for each partition, more or less."""
        for start in range(0, len(self._records), PARTITIONS_DEFAULT):
            yield self._records[start : start + PARTITIONS_DEFAULT]

    def _append(self, turn: int, place: int, ids: list[str]) -> Append:
        event = Heartbeats(
            specversion="1.0",
            id=f"beats-{turn}-{ids[0]}",
            source=SOURCE,
            time=datetime.now(UTC),
            tenant=TENANT,
            data=HeartbeatsData(ids),
        )
        return Append(HEARTBEATS, place, batch_key(SOURCE), encode(event))

    async def _alive(self, turn: int) -> None:
        data = AliveData(interval_seconds=int(BEAT_SECONDS))
        value = encode(Alive(specversion="1.0", id=f"a-{turn}", source=SOURCE, time=datetime.now(UTC), data=data))
        await self._log.append([Append(HEARTBEATS, place, None, value) for place in range(PARTITIONS_DEFAULT)])


class Look(NamedTuple):
    """What was seen at one moment: clocks, beats told, the worker's memory in bytes."""

    clocks: Reading
    told: int
    memory: int


def look(one: Scene, beats: Beats) -> Look:
    """Read the clocks and the worker's resident memory."""
    status = Path(f"/proc/{one.workers[0].number}/status").read_text()
    kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return Look(one.read(), beats.told, kilobytes * 1024)


async def hold(one: Scene, beats: Beats, sessions: int, seconds: float) -> None:
    """Let the beats go on for so long, and print what that took."""
    first, lags, memories = look(one, beats), [0.0], [0]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(min(LOOK_SECONDS, max(0.1, end - time.monotonic())))
        lags.append(await lag_seconds(one))
        memories.append(look(one, beats).memory)
    last = look(one, beats)
    passed = last.clocks.at - first.clocks.at
    cores = {name: (last.clocks.seconds[name] - first.clocks.seconds[name]) / passed for name in last.clocks.seconds}
    stands_for = int(sessions * BEAT_SECONDS / beats.seconds)
    print(
        f"| {stands_for:,} | {passed:.0f} s | {(last.told - first.told) / passed:,.0f} | {cores['worker 1']:.2f} "
        f"| {cores['PostgreSQL']:.2f} | {cores['Kafka']:.2f} | {cores['bench']:.2f} "
        f"| {min(memories[1:]) / 1e6:,.0f} to {max(memories) / 1e6:,.0f} MB | {max(lags):.1f} s | {await lost(one)} |",
        flush=True,
    )


async def lag_seconds(one: Scene) -> float:
    """Return how long ago everything was applied that had been appended; it is told every five seconds."""
    async with await one.database.connect(autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT extract(epoch FROM clock_timestamp() - min(complete_to))::float8 FROM sojourn_v1.position"
        )
        row = await cursor.fetchone()
    return float("inf") if row is None or row[0] is None else float(row[0])


async def lost(one: Scene) -> int:
    """Return how many sessions are lost; all are beaten, so none should be."""
    async with await one.database.connect(autocommit=True) as connection:
        cursor = await connection.execute("SELECT count(*) FROM sojourn_v1.live_session WHERE state <> 'active'")
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def beating(beats: Beats) -> AsyncIterator[None]:
    """Beat while the block runs; a failure of the beats ends it."""
    task = asyncio.create_task(beats.run())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def run(sizes: Sizes) -> None:
    """Establish the sessions, hold them, then beat faster and faster until the lag grows."""
    async with cluster() as kafka, scene(kafka, "million") as one:
        places = await establish(kafka, sizes.sessions)
        beats = Beats(kafka, places)
        one.start(1)
        try:
            async with beating(beats):
                await one.given()
                await until(applied(one), "the sessions are open", one.workers)
                await asyncio.sleep(SETTLE_SECONDS)
                print(HEAD, flush=True)
                await hold(one, beats, sizes.sessions, sizes.seconds)
                for factor in FACTORS:
                    beats.seconds = BEAT_SECONDS / factor
                    await hold(one, beats, sizes.sessions, FACTOR_SECONDS)
            await one.workers[0].stop()
        finally:
            one.kill()


def applied(one: Scene) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether all that stands in lifecycle is applied."""

    async def is_so() -> bool:
        ends, positions = await one.log.end_offsets(LIFECYCLE), await one.positions(LIFECYCLE)
        return all(positions.get(partition, 0) >= end for partition, end in ends.items())

    return is_so


def main() -> None:
    """Print the table; `--small` is for trying it out."""
    os.environ.pop("SOJOURN_KAFKA_BOOTSTRAP_SERVERS", None)  # of the person who runs this
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that Kafka and the worker end as well
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} cores\n")
    asyncio.run(run(SMALL if "--small" in sys.argv else FULL))


if __name__ == "__main__":
    main()
