"""From the embedded log to the tables: lifecycle events to live and history, heartbeats to pages."""

import asyncio
from datetime import UTC, datetime

from bench.load import heartbeats, lifecycle
from bench.measure import Stopwatch
from sojourn.console.opening import Opened
from sojourn.consumers.host import Host
from sojourn.events.publisher import Publisher
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

PUBLISH = 2000
BEATS_A_RECORD = 100


async def lifecycle_to_tables(watch: Stopwatch, parts: Opened, count: int) -> None:
    """Publish first, then project what stands in the log, and copy the same rows as the limit."""
    values = list(lifecycle(count))
    publisher = Publisher(parts.log)
    with watch.measure("lifecycle: publish to the embedded log", count):
        for start in range(0, count, PUBLISH):
            await publisher.publish(values[start : start + PUBLISH])
    with watch.measure("lifecycle: log to live + history", count):
        await project(parts, LIFECYCLE)
    await copy_in(watch, parts, count)


async def copy_in(watch: Stopwatch, parts: Opened, count: int) -> None:
    """Measure the limit: the rows of history, copied in one piece into a logged table without any index."""
    async with await parts.database.connect() as connection, connection.cursor() as cursor:
        async with cursor.copy("COPY (SELECT * FROM sojourn_v1.session_history) TO STDOUT (FORMAT binary)") as copy:
            chunks = [bytes(chunk) async for chunk in copy]
        await cursor.execute("CREATE TABLE bare (LIKE sojourn_v1.session_history)")
        await connection.commit()
        with watch.measure("limit: COPY the same rows into one table, no index", count):
            async with cursor.copy("COPY bare FROM STDIN (FORMAT binary)") as copy:
                for chunk in chunks:
                    await copy.write(chunk)
            await connection.commit()
        await cursor.execute("DROP TABLE bare")
        await connection.commit()


async def heartbeats_to_pages(watch: Stopwatch, parts: Opened, rounds: int) -> None:
    """Let every open session beat some times, then project; the pages are durable when it ends."""
    async with await parts.database.connect() as connection:
        cursor = await connection.execute("SELECT tenant, session_id FROM sojourn_v1.live_session")
        keys = [(row[0], row[1]) for row in await cursor.fetchall()]
    publisher = Publisher(parts.log)
    beats = list(heartbeats(keys, datetime.now(UTC), BEATS_A_RECORD))
    for _ in range(rounds):
        await publisher.publish(beats)
    with watch.measure("heartbeats: log to durable pages", len(keys) * rounds):
        await project(parts, HEARTBEATS)


async def project(parts: Opened, topic: str) -> None:
    """Run the host until all that stands in the log now is applied, and committed."""
    host, stopping = Host(parts.database, parts.log, "bench"), asyncio.Event()
    running = asyncio.create_task(host.run(stopping))
    ends = await parts.log.end_offsets(topic)
    while not running.done():
        offsets = {number: partition.next_offsets[topic] for number, partition in host.partitions.items()}
        if offsets == ends:
            break
        await asyncio.sleep(0.01)
    stopping.set()
    await running
