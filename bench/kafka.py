"""`python -m bench.kafka`: one run on real Kafka of everything that docs/performance.md shows of it, as Markdown."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.kafka_load import batched_beats, consume, fill, single_beats
from bench.kafka_restart import Restart, rolling_restart
from bench.kafka_workers import Scene
from bench.load import lifecycle
from bench.measure import Meter, Row, postmaster
from sojourn.console.opening import opened
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import create_topics
from sojourn.events.publisher import route
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from tests.kafka_server import KafkaServer

JOIN_MS: Final = 3000  # Kafka's own default for how long it waits for the first members of a group


RESTART_HEAD: Final = """\
| rolling restart of three workers | events a second | assignments to workers that ran on | longest without a commit \
| longest of one partition | lag zero after the last restart |
| --- | ---: | ---: | ---: | ---: | ---: |"""


class Sizes(NamedTuple):
    """How much is measured: events, heartbeats of one session a record, and of many."""

    lifecycle: int
    single: int
    batched: int
    restart_rate: int


FULL: Final = Sizes(lifecycle=200_000, single=2_000_000, batched=10_000_000, restart_rate=3000)
SMALL: Final = Sizes(lifecycle=30_000, single=100_000, batched=500_000, restart_rate=1000)


class Cluster(NamedTuple):
    """Kafka with filled topics, and where the data directories go."""

    folder: Path
    bootstrap_servers: str
    log: KafkaLog
    process: int


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """Start Kafka in a fresh folder, with Sojourn's topics."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="sojourn-bench-") as directory:
        Path(directory).chmod(0o755)  # noqa: ASYNC240 - root's PostgreSQL runs as another user, and must get in
        folder = Path(directory)
        server = KafkaServer(folder / "kafka", f"group.initial.rebalance.delay.ms={JOIN_MS}")
        server.start()
        try:
            settings = KafkaSettings(server.bootstrap_servers)
            await create_topics(settings)
            log = KafkaLog(settings)
            assert server._process is not None  # noqa: SLF001 - tests need no number of it
            yield Cluster(folder, server.bootstrap_servers, log, server._process.pid)  # noqa: SLF001
            await log.close()
        finally:
            server.stop()


@asynccontextmanager
async def scene(kafka: Cluster, name: str) -> AsyncIterator[Scene]:
    """Give a fresh database to a measurement."""
    async with opened(kafka.folder / name) as parts:
        meter = Meter(kafka.process, await postmaster(parts.database))
        yield Scene(kafka.bootstrap_servers, kafka.log, parts.database, kafka.folder / name, meter)


async def fill_lifecycle(kafka: Cluster, count: int) -> int:
    """Append the lifecycle events, each a record as brokers write them."""
    records: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in range(PARTITIONS_DEFAULT)}
    for value in lifecycle(count):
        (append,) = route(value, PARTITIONS_DEFAULT)
        assert append.key is not None
        records[append.partition].append((append.key, append.value))
    return await fill(kafka.bootstrap_servers, LIFECYCLE, records)


async def open_sessions(one: Scene) -> list[tuple[str, str]]:
    """Return the open sessions by their live rows."""
    async with await one.database.connect() as connection:
        cursor = await connection.execute("SELECT tenant, session_id FROM sojourn_v1.live_session")
        return [(row[0], row[1]) for row in await cursor.fetchall()]


class Table:
    """The rows, printed as Markdown one by one as they are measured."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        print("| what | pieces | seconds | a second | core-seconds of each process | of others on the machine |")
        print("| --- | ---: | ---: | ---: | --- | ---: |", flush=True)

    def add(self, row: Row) -> None:
        """Keep and print a row."""
        self.rows.append(row)
        each = ", ".join(f"{process} {seconds:.1f}" for process, seconds in row.processors.items())
        print(
            f"| {row.name} | {row.pieces:,} | {row.seconds:.1f} | {row.rate:,.0f} | {each} | {row.others:.1f} |",
            flush=True,
        )


async def run(sizes: Sizes, table: Table) -> None:
    """Measure everything on one fresh Kafka; each row says who had how much processor time."""
    async with cluster() as kafka, AsyncExitStack() as stack:
        events = await fill_lifecycle(kafka, sizes.lifecycle)
        one = await stack.enter_async_context(scene(kafka, "one"))
        two = await stack.enter_async_context(scene(kafka, "two"))
        async with scene(kafka, "stock") as stock:
            table.add(await stock.stock("lifecycle: stock Faust agent, same SQL", events))
        table.add(await one.lifecycle("lifecycle: one worker", 1, events))
        table.add(await two.lifecycle("lifecycle: two workers", 2, events))
        keys = await open_sessions(one)
        starts, records = await kafka.log.end_offsets(HEARTBEATS), single_beats(keys)
        pieces = await fill(kafka.bootstrap_servers, HEARTBEATS, records, max(1, sizes.single // len(keys)))
        await beats(table, kafka, (one, two), "heartbeats, one a record", starts, pieces)
        starts, (records, a_round) = await kafka.log.end_offsets(HEARTBEATS), batched_beats(keys)
        rounds = max(1, sizes.batched // a_round)
        await fill(kafka.bootstrap_servers, HEARTBEATS, records, rounds)
        await beats(table, kafka, (one, two), "heartbeats, 100 a record", starts, rounds * a_round)
        print("", ratios(table.rows), "", RESTART_HEAD, sep="\n", flush=True)
        for name, named in (("dynamic members", False), ("named workers", True)):
            print(restart_row(await rolling_restart(two, name, sizes.restart_rate, named=named)), flush=True)


async def beats(
    table: Table, kafka: Cluster, scenes: tuple[Scene, Scene], kind: str, starts: dict[int, int], pieces: int
) -> None:
    """Measure what stands in the log from `starts` on: read, decoded, applied by one worker and by two."""
    meter, servers = Meter(kafka.process), kafka.bootstrap_servers
    table.add(await consume(meter, servers, f"{kind}: consume only", starts, pieces, decoding=False))
    table.add(await consume(meter, servers, f"{kind}: consume + decode", starts, pieces, decoding=True))
    table.add(await scenes[0].heartbeats(f"{kind}: one worker", 1, pieces))
    table.add(await scenes[1].heartbeats(f"{kind}: two workers", 2, pieces))


def restart_row(one: Restart) -> str:
    """Return a rolling restart as a row of Markdown."""
    return (
        f"| {one.name} | {one.rate:,.0f} | {one.assignments} | {one.silence_seconds:.1f} s "
        f"| {one.partition_seconds:.1f} s | {one.zero_seconds:.1f} s |"
    )


def ratios(rows: list[Row]) -> str:
    """Return what the issue aims at, with the aims."""
    rate = {row.name: row.rate for row in rows}

    def line(one: str, other: str, aim: str = "") -> str:
        return f"* {one}: {rate[one] / rate[other]:.2f} × {other.rpartition(': ')[2]}{aim}"

    kinds = ("heartbeats, one a record", "heartbeats, 100 a record")
    lines = [line(f"{kind}: one worker", f"{kind}: consume + decode", " (aim 0.7)") for kind in kinds]
    lines += [line(f"{kind}: two workers", f"{kind}: one worker", " (aim 1.5)") for kind in kinds]
    lines += [
        line("lifecycle: two workers", "lifecycle: one worker"),
        line("lifecycle: one worker", "lifecycle: stock Faust agent, same SQL"),
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables; `--small` is for trying it out."""
    os.environ.pop("SOJOURN_KAFKA_BOOTSTRAP_SERVERS", None)  # of the person who runs this
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that Kafka and the workers end as well
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} cores\n")
    asyncio.run(run(SMALL if "--small" in sys.argv else FULL, Table()))


if __name__ == "__main__":
    main()
