"""Statistics of columns that are kept in the database: the same numbers as without, whatever comes after a block."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.console.jobs.beside import beside
from sojourn.console.jobs.statistics import StatisticsBlocks
from sojourn.console.opening import opened
from sojourn.console.site.site import Site
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.settings import Settings
from sojourn.projections.read import HistoryFilter, as_reader
from sojourn.projections.statistics.blocks import write_block
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.work_hours import work_hours
from tests.integration.command import Command
from tests.integration.lived import SCENES, add, complete, correct, instants, lived, tell_late, write, write_ended
from tests.integration.rows import insert_tenant
from tests.integration.site_steps import WAIT_SECONDS_MAX
from tests.integration.test_console_command import console
from tests.integration.test_gaps import PARTITION, SESSIONS, append, begun, log
from tests.integration.test_parked_rows import apply_all
from tests.integration.test_statistics import DAY, HOUR, answers, assert_agrees, ended, sessions_and_seconds
from tests.model.statistics import Lived

__all__ = ["log"]  # a fixture

Connection = psycopg.AsyncConnection[Any]

JUNE: Final = 4  # blocks of a month

_tenants = count(1)


async def keep(connection: Connection, tenant: str = "acme") -> int:
    """Write all blocks that can be written, and return how many."""
    written = 0
    while await write_block(connection, tenant):
        written += 1
    return written


class Stage(NamedTuple):
    """What is applied until an instant is told to be complete; `wrong` is corrected in this stage or so many later.

    Then all blocks are written but those that begin on some days of the month.
    """

    sessions: list[Lived]
    wrong: list[tuple[Lived, int, timedelta]]
    complete_to: datetime
    unwritten: set[int]


@st.composite
def stages(draw: st.DrawFn, around: datetime) -> list[Stage]:
    """Return three stages; in the later ones there are records of long before, too."""
    told = sorted(draw(st.tuples(*[instants(around, 4)] * 3)))
    was_wrong = lived(around).filter(lambda session: session.logout is not None)
    some = st.tuples(was_wrong, st.integers(0, 2), st.integers(0, 5).map(timedelta))
    return [
        Stage(
            draw(st.lists(lived(around), max_size=6)),
            draw(st.lists(some, max_size=3)),
            complete_to,
            draw(st.just(set()) | st.sets(st.sampled_from((1, 8, 15, 22)))),
        )
        for complete_to in told
    ]


async def live_through(
    connection: Connection, tenant: str, some: list[Stage], after: Callable[[], Awaitable[Any]]
) -> None:
    """Write all stages, with blocks `after` each."""
    await insert_tenant(connection, tenant)
    to_correct: list[tuple[int, tuple[int, datetime], datetime]] = []
    for number, stage in enumerate(some):
        for session in stage.sessions:
            await add(connection, tenant, session)
        for session, stages_later, time_later in stage.wrong:
            place = await write_ended(connection, tenant, session)
            to_correct.append((min(number + stages_later, len(some) - 1), place, place[1] + time_later))
        for when, place, at in to_correct:
            if when == number:
                by = (place[0] + 1_000_000, at)
                await tell_late(connection, tenant, by)
                await correct(connection, tenant, place, by)
        await complete(connection, stage.complete_to)
        await keep(connection, tenant)
        await connection.execute(
            "DELETE FROM sojourn_v1.statistics_block WHERE extract(day FROM starts_at AT TIME ZONE 'UTC') = ANY (%s)",
            [list(stage.unwritten)],
        )
        await after()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_comes_after_a_block_every_statistic_agrees_with_looking_at_each_moment(
    migrated_database: Database, data: st.DataObject
) -> None:
    scene = data.draw(st.sampled_from(SCENES))
    some = data.draw(stages(scene.around))
    start, end = sorted(data.draw(st.tuples(instants(scene.around, 4), instants(scene.around, 4))))
    filters = HistoryFilter(from_at=data.draw(st.sampled_from((start, start, None))), to_at=end)
    tenant, zone = f"b-{next(_tenants)}", scene.zone
    cache = StatisticsCache()

    async def ask() -> list[dict[str, dict[str, Any]]]:
        async with await migrated_database.connect(autocommit=True) as connection:
            await live_through(
                connection, tenant, some, lambda: answers(migrated_database, cache, tenant, filters, zone, ["access"])
            )
        return [await answers(migrated_database, each, tenant, filters, zone) for each in (cache, StatisticsCache())]

    kept, anew = asyncio.run(ask())
    sessions = [session for stage in some for session in stage.sessions]
    assert_agrees(anew, sessions, filters, zone)
    assert_agrees(kept, sessions, filters, zone)


async def forget_rows(connection: Connection) -> None:
    """Take the rows away from under the blocks, in a way that nothing of Sojourn does."""
    await connection.execute("DELETE FROM sojourn_v1.session_history; DELETE FROM sojourn_v1.superseded")


async def seen(connection: Connection, since: datetime | None = DAY) -> tuple[int, float]:
    """Return how many sessions and seconds a process finds that knows nothing yet."""
    return await sessions_and_seconds(connection, StatisticsCache(), since)


async def test_a_block_is_read_in_place_of_its_rows(migrated: Connection) -> None:
    await write(migrated, "acme", [ended(DAY, 1), ended(DAY + 40 * HOUR, 2)])
    await complete(migrated, DAY + 60 * HOUR)

    written = await keep(migrated)
    await forget_rows(migrated)

    assert written == JUNE + 1, "and the beginning of July"
    assert await seen(migrated) == await seen(migrated, None) == (2, 10_800.0)
    assert await seen(migrated, DAY + 100 * HOUR) == (0, 0.0)


async def test_a_block_grows_once_a_day_and_not_beyond_what_is_complete(migrated: Connection) -> None:
    await write(migrated, "acme", [ended(DAY - 96 * HOUR, 1)])
    found = []
    for hours in (-70, -48, -46, -40, 1, 2, 300):
        await complete(migrated, DAY + hours * HOUR)
        found.append(await keep(migrated))
    ends = await (await migrated.execute("SELECT max(ends_at) FROM sojourn_v1.statistics_block")).fetchone()

    assert found == [4, 0, 1, 0, 1, 0, 1], "the last quarter of June goes on until it is over"
    assert ends == (DAY + 24 * HOUR,)


async def test_what_lies_between_and_behind_blocks_is_read_from_rows(migrated: Connection) -> None:
    await write(migrated, "acme", [ended(DAY - 240 * HOUR, 1), ended(DAY - 400 * HOUR, 2), ended(DAY + 13 * HOUR, 4)])
    await complete(migrated, DAY + 10 * HOUR)
    await keep(migrated)
    await complete(migrated, DAY + 20 * HOUR)
    await migrated.execute("DELETE FROM sojourn_v1.statistics_block WHERE starts_at = '2025-06-15 00:00+00'")

    assert await seen(migrated, None) == (3, 25_200.0)


async def test_a_block_may_correct_what_is_older_than_all_that_is_read(migrated: Connection) -> None:
    await insert_tenant(migrated, "acme")
    wrong = await write_ended(migrated, "acme", ended(DAY - 1000 * HOUR, 1))
    right = await write_ended(migrated, "acme", ended(DAY, 2))
    await correct(migrated, "acme", wrong, right)
    await complete(migrated, DAY + 30 * HOUR)
    await keep(migrated)
    await forget_rows(migrated)

    assert await seen(migrated) == await seen(migrated, None) == (1, 7200.0)


async def test_what_comes_late_makes_its_block_be_written_anew(migrated: Connection) -> None:
    await write(migrated, "acme", [ended(DAY, 1)])
    await complete(migrated, DAY + 60 * HOUR)
    await keep(migrated)
    await write_ended(migrated, "acme", ended(DAY + 2 * HOUR, 3))

    before = await seen(migrated)
    written = await keep(migrated)
    await forget_rows(migrated)

    assert (before, written) == ((2, 14_400.0), 1)
    assert await seen(migrated) == (2, 14_400.0)


@pytest.mark.parametrize(("ahead", "is_late"), [(timedelta(minutes=59), False), (timedelta(hours=2), True)])
async def test_the_projector_tells_what_comes_late(
    migrated_database: Database, migrated: Connection, log: EmbeddedLog, ahead: timedelta, *, is_late: bool
) -> None:
    await append(log, map(begun, SESSIONS[:5]))
    await migrated.execute(
        "INSERT INTO sojourn_v1.position (topic, partition, epoch, next_offset, committed_at, complete_to) "
        "VALUES ('sojourn.heartbeats', %s, 0, 0, now(), now() + %s)",
        [PARTITION, ahead],
    )

    await apply_all(migrated_database, log)

    places = 'SELECT tenant, appended_at, partition, "offset" FROM sojourn_v1.{} ORDER BY "offset"'
    history, late = [
        await (await migrated.execute(places.format(table).encode())).fetchall()
        for table in ("session_history", "late_record")
    ]
    assert len(history) == 5
    assert late == (history if is_late else [])


@pytest.mark.parametrize(
    "gone",
    [
        "DROP TABLE sojourn_v1.session_history_2025_06",
        "ALTER TABLE sojourn_v1.session_history DETACH PARTITION sojourn_v1.session_history_2025_06",
        "TRUNCATE sojourn_v1.session_history_2025_06",
    ],
)
async def test_a_month_that_is_not_kept_any_more_takes_its_blocks_with_it(migrated: Connection, gone: str) -> None:
    await write(migrated, "acme", [ended(DAY, 1), ended(DAY + 40 * HOUR, 2)])
    await complete(migrated, DAY + 60 * HOUR)
    await keep(migrated)

    await migrated.execute(gone.encode())

    assert await seen(migrated) == (1, 7200.0)


async def test_tenants_have_blocks_of_their_own(migrated: Connection) -> None:
    await write(migrated, "acme", [ended(DAY, 1)])
    await write(migrated, "globex", [ended(DAY, 5)] * 2)
    await complete(migrated, DAY + 60 * HOUR)

    await keep(migrated, "acme")
    of_one = await migrated.execute("SELECT DISTINCT tenant FROM sojourn_v1.statistics_block")
    found = await of_one.fetchall()
    await keep(migrated, "globex")
    await forget_rows(migrated)

    assert found == [("acme",)]
    assert await seen(migrated) == (1, 3600.0)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("sojourn_console", "INSERT INTO sojourn_v1.statistics_block VALUES ('other', now(), now(), '', 0, '', '')"),
        ("sojourn_console", "DELETE FROM sojourn_v1.statistics_block"),
        ("sojourn_reader", "UPDATE sojourn_v1.statistics_block SET added = ''"),
        ("sojourn_console", "INSERT INTO sojourn_v1.late_record VALUES ('acme', now(), 0, 0)"),
        ("sojourn_projector", "INSERT INTO sojourn_v1.statistics_block VALUES ('acme', now(), now(), '', 0, '', '')"),
    ],
)
async def test_only_the_console_writes_blocks_and_only_for_its_tenant(
    migrated: Connection, role: str, statement: str
) -> None:
    async with migrated.transaction(force_rollback=True):
        await migrated.execute(f"SET LOCAL ROLE {role}; SET LOCAL sojourn.tenant = 'acme'".encode())

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await migrated.execute(statement.encode())


async def test_two_consoles_write_the_same_block_at_once(migrated_database: Database, migrated: Connection) -> None:
    await write(migrated, "acme", [ended(DAY, 1)])
    await complete(migrated, DAY + 60 * HOUR)
    await keep(migrated)
    await write_ended(migrated, "acme", ended(DAY + 2 * HOUR, 3))

    async with await migrated_database.connect(autocommit=True) as other:
        found = await asyncio.gather(*(keep(connection) for connection in (migrated, other)))
    await forget_rows(migrated)

    assert 1 <= sum(found) <= 2
    assert await seen(migrated) == (2, 14_400.0)


_KILLED: Final = """
import asyncio, os, signal, sys
from psycopg import AsyncConnection
from sojourn.projections.statistics import blocks

written = blocks._write

async def killed(connection):
    await written(connection)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    blocks._write = killed
    async with await AsyncConnection.connect(sys.argv[1], autocommit=True) as connection:
        await blocks.write_block(connection, "acme")

asyncio.run(main())
"""


async def test_a_console_that_is_killed_in_the_middle_leaves_no_part_of_a_block(
    migrated_database: Database, migrated: Connection
) -> None:
    await write(migrated, "acme", [ended(DAY, 1)])
    await complete(migrated, DAY + 60 * HOUR)

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, migrated_database.dsn)
    await process.wait()
    left = await (await migrated.execute("SELECT FROM sojourn_v1.statistics_block")).fetchall()
    found = await seen(migrated)
    written = await keep(migrated)
    await forget_rows(migrated)

    assert process.returncode == -signal.SIGKILL
    assert (left, found, written) == ([], (1, 3600.0), JUNE)
    assert await seen(migrated) == found


async def test_every_console_keeps_blocks_of_all_tenants(
    migrated_database: Database, migrated: Connection, tmp_path: Path
) -> None:
    await write(migrated, "acme", [ended(DAY, 1)])
    await write(migrated, "globex", [ended(DAY, 5)])
    await complete(migrated, DAY + 60 * HOUR)

    kept = asyncio.Event()

    class Told(StatisticsBlocks):
        async def round(self) -> None:
            await super().round()
            kept.set()

    site = Site(migrated_database, EmbeddedLog(migrated_database), tmp_path)
    async with beside(Told(site).run), asyncio.timeout(WAIT_SECONDS_MAX):
        await kept.wait()
    await forget_rows(migrated)

    assert await seen(migrated) == (1, 3600.0)
    async with as_reader(migrated, "globex"):
        others = await work_hours(migrated, StatisticsCache(), HistoryFilter(from_at=DAY), "UTC")
    assert others.seconds_min == 18_000.0


async def test_a_console_that_is_started_keeps_blocks(settings: Settings) -> None:
    async with opened(settings.data_dir) as parts, await parts.database.connect(autocommit=True) as connection:
        await write(connection, "acme", [ended(DAY, 1)])
        await complete(connection, DAY + 60 * HOUR)

        with console(Command(settings.data_dir)):
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while await count_blocks(connection) < JUNE:  # noqa: ASYNC110 - another process writes them
                    await asyncio.sleep(0.05)


async def count_blocks(connection: Connection) -> int:
    row = await (await connection.execute("SELECT count(*) FROM sojourn_v1.statistics_block")).fetchone()
    assert row is not None
    return int(row[0])
