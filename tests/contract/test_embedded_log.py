"""The embedded log against the contract of all logs, and what only it does; its faults are in tests/fault.

Run as a program, it appends until it is killed.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.log import READ_BYTES_MAX, SCHEMA_VERSION, EmbeddedLog, RecordsMissing, install
from sojourn.events.embedded.log_append import APPEND_BYTES_MAX, TooMuch
from sojourn.events.embedded.log_connections import CONNECTIONS_MAX, NotInstalled, statement
from sojourn.events.embedded.log_tables import TABLES
from sojourn.events.errors import OffsetOutOfRange, SojournError
from sojourn.events.log import Append, Log
from sojourn.events.settings import Settings
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.conftest import open_folder
from tests.contract.log_contract import LogContract
from tests.contract.log_steps import FAR, OpenLog, Restart, append_until_killed, ends, read_all, seconds_of, values
from tests.contract.log_waiting_contract import FOREVER, WAKE_SECONDS_MAX
from tests.integration.server_processes import answer, kill_server, user_process

ROOT = Path(__file__).parents[2]
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def shared() -> Iterator[Settings]:
    """Name a database that another process keeps running for all tests that may share one."""
    with open_folder() as folder:
        with user_process(folder / "data") as process:
            assert answer(process) == "ready"
            yield Settings(folder / "data")
        kill_server(folder / "data")


@pytest.fixture
async def server(shared: Settings) -> AsyncIterator[Database]:
    database = await open_database(shared)
    async with await database.connect() as connection:
        await install(connection)
    yield database
    await database.close()


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(database)
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def log(server: Database) -> AsyncIterator[EmbeddedLog]:
    async with opened(server) as log:
        yield log


class TestEmbeddedLog(LogContract):
    @pytest.fixture
    def open_log(self, server: Database) -> OpenLog:
        @asynccontextmanager
        async def open_one() -> AsyncIterator[Log]:
            async with opened(server) as log:
                yield log

        return open_one

    @pytest.fixture
    def restart(self, shared: Settings) -> Restart:
        async def crash() -> None:
            await asyncio.to_thread(kill_server, shared.data_dir)

        return crash

    @pytest.fixture
    def appender(self, shared: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
        return [sys.executable, "-m", __name__, str(shared.data_dir)]


async def test_several_processes_may_install_at_once_and_again(database: Database) -> None:
    async def install_once() -> None:
        async with await database.connect() as connection:
            await install(connection)

    await asyncio.gather(*(install_once() for _ in range(4)))
    await install_once()

    async with opened(database) as log:
        for topic in TABLES:
            assert await log.end_offsets(topic) == dict.fromkeys(range(12), 0)


async def test_a_log_of_a_newer_version_is_left_alone_with_a_clear_error(database: Database) -> None:
    async with await database.connect() as connection:
        await install(connection)
        await connection.execute("INSERT INTO sojourn_log.schema_version VALUES (%s)", [SCHEMA_VERSION + 1])

        with pytest.raises(SojournError, match=r"^a newer sojourn made this log; [^\n]*: 2$"):
            await install(connection)


async def test_a_database_without_a_log_is_an_error_that_says_what_to_do(database: Database) -> None:
    async with opened(database) as log:
        for call in (
            log.partitions(LIFECYCLE),
            log.read(LIFECYCLE, 0, 0),
            log.append([Append(LIFECYCLE, 0, None, b"x")]),
            log.wait({(LIFECYCLE, 0): 0}, 30),
            log.drop_heartbeats_before(datetime.now(UTC)),
        ):
            with pytest.raises(NotInstalled, match="db upgrade"):
                await call


async def test_a_read_stops_before_it_takes_too_many_bytes(log: EmbeddedLog) -> None:
    size = READ_BYTES_MAX // 4
    first, *_, huge, after = await log.append(
        [
            *[Append(LIFECYCLE, 0, None, os.urandom(size))] * 5,
            Append(LIFECYCLE, 0, None, os.urandom(READ_BYTES_MAX + 1)),
            Append(LIFECYCLE, 0, None, b"after", (("padding", b"x"),)),
        ]
    )

    batches = []
    offset = first
    while (batch := await log.read(LIFECYCLE, 0, offset)).records:
        batches.append([record.offset for record in batch.records])
        offset = batch.next_offset

    assert batches == [[first, first + 1, first + 2, first + 3], [first + 4, huge], [after]]


async def test_an_append_that_is_too_large_for_one_message_is_refused(log: EmbeddedLog) -> None:
    value = bytes(1 << 20)
    before = await log.end_offsets(LIFECYCLE)

    with pytest.raises(TooMuch, match=f"{APPEND_BYTES_MAX} bytes at most: {APPEND_BYTES_MAX + (1 << 20)}$"):
        await log.append([Append(LIFECYCLE, 0, None, value)] * (APPEND_BYTES_MAX // len(value) + 1))

    assert await log.end_offsets(LIFECYCLE) == before


async def test_a_hole_that_somebody_made_is_an_error_and_not_skipped(log: EmbeddedLog, server: Database) -> None:
    offsets = await log.append([Append(LIFECYCLE, 9, None, b"%d" % number) for number in range(4)])

    async with await server.connect() as connection:
        await connection.execute(
            'DELETE FROM sojourn_log.lifecycle WHERE partition = 9 AND "offset" = %s', [offsets[1]]
        )

    for offset in offsets[:2]:
        with pytest.raises(RecordsMissing, match=f"partition 9, at or after offset {offset}$"):
            await log.read(LIFECYCLE, 9, offset)
    assert values((await log.read(LIFECYCLE, 9, offsets[2])).records) == [b"2", b"3"]


async def test_any_number_of_calls_share_a_few_connections(log: EmbeddedLog, server: Database) -> None:
    async def count() -> int:
        async with await server.connect() as connection:
            found = await connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")
            return int((await found.fetchone() or (0,))[0])

    before = await count()
    await asyncio.gather(*(log.append([Append(LIFECYCLE, 0, None, b"x")]) for _ in range(40)))

    assert before < await count() <= before + CONNECTIONS_MAX


async def test_appenders_to_the_same_partitions_never_deadlock(server: Database) -> None:
    """PostgreSQL would break a deadlock after a second, and the append would be made again: nobody would notice."""
    places = [(topic, partition) for topic in TABLES for partition in range(12)]

    async def append(order: list[tuple[str, int]]) -> None:
        async with opened(server) as log:
            for _ in range(30):
                await log.append([Append(*place, None, b"x") for place in order])

    await asyncio.gather(*(append(order) for order in (places, places[::-1], places[20:] + places[:20]) * 2))

    async with await server.connect() as connection:
        found = await connection.execute("SELECT sum(deadlocks) FROM pg_stat_database")
        assert await found.fetchone() == (0,)


async def test_an_old_notification_does_not_hide_what_a_poll_has_found(log: EmbeddedLog) -> None:
    first, second = await log.append([Append(LIFECYCLE, 10, None, b"x")] * 2)
    await log.wait({(LIFECYCLE, 10): second}, FOREVER)

    log._ends._take(f"{LIFECYCLE} 10:{first + 1}")

    assert await seconds_of(log.wait({(LIFECYCLE, 10): second}, FOREVER)) < WAKE_SECONDS_MAX


async def test_closing_the_log_lets_go_of_who_waits(server: Database) -> None:
    async with opened(server) as log:
        waiting = asyncio.create_task(log.wait({(LIFECYCLE, 0): FAR}, FOREVER))
        await log.wait({(LIFECYCLE, 0): FAR}, 0.2)

    await asyncio.wait_for(waiting, WAKE_SECONDS_MAX)


@pytest.mark.parametrize("topic", TABLES)
async def test_reading_walks_the_keys_however_new_the_tables_are(
    log: EmbeddedLog, server: Database, topic: str
) -> None:
    await log.append([Append(topic, number % 12, None, b"") for number in range(24_000)])
    bounds = {"partition": 1, "offset": 0, "records_max": 2000, "bytes_max": READ_BYTES_MAX}

    async with await server.connect() as connection:
        await connection.execute(statement("prepare_connection"), {"idle_ms": "0"})
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        query = f"EXPLAIN (COSTS OFF) {statement('read', TABLES[topic])}"
        plan = [row[0] for row in await (await connection.execute(query.encode(), bounds)).fetchall()]

    assert any("Index Scan" in line for line in plan)
    assert not [line for line in plan if re.search(r"Seq Scan|Bitmap|> +(Incremental )?Sort", line)]


async def test_old_heartbeats_are_dropped_by_the_hour_and_starts_move(log: EmbeddedLog, server: Database) -> None:
    now = datetime.now(UTC)
    start = await ends(log, HEARTBEATS)
    await log.append([Append(*place, None, b"old") for place in start] * 2)
    await _set_clock_back(server, 5, now + 4 * HOUR)
    await log.append([Append(HEARTBEATS, 5, None, b"new")] * 3)

    assert await log.drop_heartbeats_before(now - HOUR) == 0
    assert await log.start_offsets(HEARTBEATS) != {partition: end + 2 for (_, partition), end in start.items()}
    dropped = await log.drop_heartbeats_before(now + 3 * HOUR)

    assert dropped >= 1
    assert await log.start_offsets(HEARTBEATS) == {partition: end + 2 for (_, partition), end in start.items()}
    assert values(await read_all(log, (HEARTBEATS, 5), start[HEARTBEATS, 5] + 2)) == [b"new"] * 3
    with pytest.raises(OffsetOutOfRange):
        await log.read(HEARTBEATS, 5, start[HEARTBEATS, 5] + 1)
    assert (await log.read(HEARTBEATS, 4, start[HEARTBEATS, 4] + 2)).records == ()
    assert await log.append([Append(HEARTBEATS, 4, None, b"next")]) == [start[HEARTBEATS, 4] + 2]


async def test_append_times_do_not_fall_when_the_clock_is_set_back(log: EmbeddedLog, server: Database) -> None:
    future = datetime.now(UTC) + 30 * HOUR
    await _set_clock_back(server, 6, future)

    first = (await log.append([Append(HEARTBEATS, 6, None, b"x")]))[0]
    await log.append([Append(HEARTBEATS, 6, None, b"y")])

    assert [record.appended_at for record in await read_all(log, (HEARTBEATS, 6), first)] == [future, future]


async def test_missing_segments_are_made_by_many_appenders_at_once(server: Database) -> None:
    async with AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(opened(server)) for _ in range(4)]
        for _ in range(5):  # from the second round on all connections are open
            await logs[0].drop_heartbeats_before(datetime.now(UTC) + 100 * HOUR)
            start = await ends(logs[0], HEARTBEATS)

            await asyncio.gather(*(log.append([Append(*place, None, b"x")]) for place in start for log in logs))

            for place, offset in start.items():
                assert len(await read_all(logs[0], place, offset)) == len(logs)


async def test_a_missing_segment_is_made_beside_a_reader_and_an_appender_that_wait(
    log: EmbeddedLog, server: Database
) -> None:
    await log.append([Append(HEARTBEATS, 0, None, b"x"), Append(HEARTBEATS, 1, None, b"x")])
    await _set_clock_back(server, 8, datetime.now(UTC) + 200 * HOUR)

    async with await server.connect() as reader, await server.connect() as writer:
        await reader.execute("SELECT count(*) FROM sojourn_log.heartbeats")
        await writer.execute("INSERT INTO sojourn_log.heartbeats SELECT -1, 0, clock_timestamp(), NULL, ''")
        began = time.monotonic()
        await log.append([Append(HEARTBEATS, 8, None, b"x")])
        await writer.rollback()

    assert time.monotonic() - began < 5.0


async def test_dropping_gives_way_to_a_reader_who_stays(log: EmbeddedLog, server: Database) -> None:
    everything = datetime.now(UTC) + 300 * HOUR
    await log.append([Append(HEARTBEATS, 0, None, b"x")])
    before = await log.start_offsets(HEARTBEATS)

    async with await server.connect() as reader:
        await reader.execute("SELECT count(*) FROM sojourn_log.heartbeats")
        dropping = asyncio.create_task(log.drop_heartbeats_before(everything))
        await asyncio.wait_for(log.append([Append(HEARTBEATS, 0, None, b"y")]), 20)

        assert await dropping == 0
        assert await log.start_offsets(HEARTBEATS) == before

    assert await log.drop_heartbeats_before(everything) >= 1


async def test_readers_and_appenders_go_on_while_segments_are_dropped(server: Database) -> None:
    async with opened(server) as log, opened(server) as other:
        start = await ends(log, HEARTBEATS)
        done = asyncio.Event()

        async def append(to: EmbeddedLog) -> int:
            rounds = 0
            while not done.is_set():
                await to.append([Append(*place, None, b"x") for place in start])
                rounds += 1
            return rounds

        async def follow(place: tuple[str, int]) -> int:
            offset = start[place]
            while not done.is_set():
                try:
                    batch = await log.read(*place, offset)
                    assert [record.offset for record in batch.records] == list(range(offset, batch.next_offset))
                    offset = batch.next_offset
                except OffsetOutOfRange as error:
                    offset = max(offset + 1, error.start)
            return offset

        async def drop() -> int:
            dropped = 0
            for _ in range(12):
                end = (await other.end_offsets(HEARTBEATS))[0]
                await other.wait({(HEARTBEATS, 0): end + 4}, 30)
                dropped += await other.drop_heartbeats_before(datetime.now(UTC) + 400 * HOUR)
            done.set()
            return dropped

        ours, theirs, dropped, *_ = await asyncio.gather(append(log), append(other), drop(), *map(follow, start))

        assert dropped >= 12
        assert await ends(log, HEARTBEATS) == {place: offset + ours + theirs for place, offset in start.items()}


async def _set_clock_back(server: Database, partition: int, last: datetime) -> None:
    """Let the last append of a partition have been at `last`, as if the clock had been ahead then."""
    async with await server.connect() as connection:
        await connection.execute(
            "UPDATE sojourn_log.log_head SET last_appended_at = %s WHERE topic = %s AND partition = %s",
            [last, HEARTBEATS, partition],
        )


async def _append(data_dir: Path, run: str) -> None:
    log = EmbeddedLog(await open_database(Settings(data_dir)))
    await append_until_killed(log, run)


if __name__ == "__main__":
    asyncio.run(_append(Path(sys.argv[1]), sys.argv[2]))
