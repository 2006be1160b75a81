"""The demo's events stand in the embedded log, each session's in order, also across a stop."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from sojourn.events.codec import encode
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.simulator.demo import BACKFILL, PROGRESS_FILE, Progress, demo_events, run_demo
from sojourn.events.topics import LIFECYCLE
from tests.contract.log_steps import ends, read_all, values

ORIGIN = datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


async def test_a_demo_fills_the_embedded_log_and_goes_on_after_a_stop(database: Database, tmp_path: Path) -> None:
    async with await database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(database)
    since = ORIGIN + timedelta(days=13)
    now = since + timedelta(hours=6)
    (tmp_path / PROGRESS_FILE).write_bytes(msgspec.json.encode(Progress(ORIGIN, since)))
    for _ in range(2):
        stopping = asyncio.Event()
        until = now + timedelta(minutes=10)

        async def sleep(seconds: float, stopping: asyncio.Event = stopping, until: datetime = until) -> None:
            nonlocal now
            now += timedelta(seconds=seconds)
            if now >= until:
                stopping.set()

        await run_demo(log, tmp_path, lambda: now, sleep, stopping)

    partitions = [values(await read_all(log, place, 0)) for place in await ends(log, LIFECYCLE)]
    await log.close()

    expected = [encode(event) for event in demo_events(ORIGIN, since, now, now + BACKFILL)]
    order = {value: place for place, value in enumerate(expected)}
    assert Counter(value for partition in partitions for value in partition) == Counter(expected)
    assert all(
        [order[value] for value in partition] == sorted(map(order.__getitem__, partition)) for partition in partitions
    )
    assert len(expected) > 500
