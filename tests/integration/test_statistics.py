"""Statistics against looking at each moment (tests/model/statistics.py), on histories that Hypothesis makes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.events.embedded.database import Database
from sojourn.events.errors import UsageError
from sojourn.projections.read import HistoryFilter, as_reader, history_query, stream
from sojourn.projections.statistics import cache as cache_module
from sojourn.projections.statistics import reading as reading_module
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.concurrency import concurrency
from sojourn.projections.statistics.distribution import access, terminals
from sojourn.projections.statistics.durations import durations
from sojourn.projections.statistics.frequency import frequency
from sojourn.projections.statistics.hours import hours
from sojourn.projections.statistics.rules import RULES, Answer
from sojourn.projections.statistics.work_hours import Page, work_hours
from tests.integration.lived import SCENES, complete, correct, instants, lived, write, write_ended
from tests.integration.rows import insert_tenant
from tests.model.statistics import Lived, World

STATISTICS: Final[dict[str, Callable[..., Awaitable[Answer]]]] = {
    "work_hours": work_hours,
    "frequency": frequency,
    "terminals": terminals,
    "access": access,
    "concurrency": concurrency,
    "durations": durations,
    "hours": hours,
}

_tenants = count(1)


async def answers(
    database: Database,
    cache: StatisticsCache,
    tenant: str,
    filters: HistoryFilter,
    zone: str,
    wanted: Iterable[str] = STATISTICS,
) -> dict[str, dict[str, Any]]:
    """Return statistics as the API sends them."""
    async with await database.connect(autocommit=True) as connection:
        found = {}
        for name in wanted:
            async with as_reader(connection, tenant):
                found[name] = msgspec.to_builtins(await STATISTICS[name](connection, cache, filters, zone))
        return found


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Compare as the API sends it; times that are no whole seconds are sums of floats in the model."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), f"{where}: {found} is not {expected}"
        for place, value in enumerate(expected):
            assert_same(found[place], value, f"{where}[{place}]")
    elif isinstance(expected, float | int) and expected is not None:
        assert found == pytest.approx(expected, rel=1e-9, abs=2e-6), where
    else:
        assert found == (msgspec.to_builtins(expected) if isinstance(expected, datetime) else expected), where


def assert_agrees(found: dict[str, dict[str, Any]], sessions: list[Lived], filters: HistoryFilter, zone: str) -> None:
    for name, answer in found.items():
        as_of = datetime.fromisoformat(answer.pop("as_of"))
        assert answer.pop("rule") == {"key": name, "sentence": RULES[name]}
        world = World(sessions, filters.from_at, filters.to_at, as_of, zone)
        assert_same(answer, getattr(world, name)(), name)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_statistic_agrees_with_looking_at_each_moment(migrated_database: Database, data: st.DataObject) -> None:
    scene = data.draw(st.sampled_from(SCENES))
    sessions = data.draw(st.lists(lived(scene.around), min_size=data.draw(st.sampled_from((0, 1, 12))), max_size=20))
    corrected = data.draw(st.lists(lived(scene.around).filter(lambda session: session.logout is not None), max_size=2))
    start, end = sorted(data.draw(st.tuples(instants(scene.around, 4), instants(scene.around, 4))))
    filters = HistoryFilter(from_at=data.draw(st.sampled_from((start, start, None))), to_at=end)
    complete_to = data.draw(instants(scene.around, 4))
    tenant = f"t-{next(_tenants)}"

    async def ask() -> dict[str, dict[str, Any]]:
        async with await migrated_database.connect(autocommit=True) as connection:
            await write(connection, tenant, sessions)
            for session in corrected:
                place = await write_ended(connection, tenant, session)
                await correct(connection, tenant, place, (0, place[1]))
            await complete(connection, complete_to)
        return await answers(migrated_database, StatisticsCache(), tenant, filters, scene.zone)

    assert_agrees(asyncio.run(ask()), sessions, filters, scene.zone)


# What is kept from one answer to the next --------------------------------------------------------------------------


HOUR: Final = timedelta(hours=1)
DAY: Final = datetime(2025, 6, 30, tzinfo=UTC)


def ended(at: datetime, hours: float, **changes: Any) -> Lived:
    """Return a session that ended well, so many hours after it began."""
    named = ("u-1", "Ada", "d-1", "CAD 1", "thin_client", "Linux", "internal")
    end = at + hours * HOUR
    return Lived(*named, at, end, None, None, hours * 3600, "normal", "logoff")._replace(**changes)


async def sessions_and_seconds(
    connection: psycopg.AsyncConnection[Any], cache: StatisticsCache, since: datetime | None = DAY
) -> tuple[int, float]:
    async with as_reader(connection, "acme"):
        answer = await work_hours(connection, cache, HistoryFilter(from_at=since), "UTC")
    return answer.sessions, answer.seconds_min


async def test_an_answer_sees_what_came_after_the_one_before(migrated: psycopg.AsyncConnection[Any]) -> None:
    cache = StatisticsCache()
    await write(migrated, "acme", [ended(DAY, 1)])
    await complete(migrated, DAY + 12 * HOUR)

    first = await sessions_and_seconds(migrated, cache)
    await write_ended(migrated, "acme", ended(DAY + 9 * HOUR, 1), DAY + 12 * HOUR)
    second = await sessions_and_seconds(migrated, cache)

    assert (first, second) == ((1, 3600.0), (2, 7200.0))


async def test_what_is_complete_is_read_once(migrated: psycopg.AsyncConnection[Any]) -> None:
    cache = StatisticsCache()
    await write(migrated, "acme", [ended(DAY, 1), ended(DAY + 10 * HOUR, 1)])
    await complete(migrated, DAY + 12 * HOUR)

    first = await sessions_and_seconds(migrated, cache)
    await migrated.execute("DELETE FROM sojourn_v1.session_history")
    second = await sessions_and_seconds(migrated, cache)

    assert (first, second) == ((2, 7200.0), (1, 3600.0)), "all but what was appended in the last hour is kept"


async def test_a_later_record_corrects_what_is_kept(migrated: psycopg.AsyncConnection[Any]) -> None:
    cache = StatisticsCache()
    await insert_tenant(migrated, "acme")
    wrong = await write_ended(migrated, "acme", ended(DAY, 1))
    await write_ended(migrated, "acme", ended(DAY, 1), DAY + 2 * HOUR)
    await complete(migrated, DAY + 12 * HOUR)

    first = await sessions_and_seconds(migrated, cache)
    right = await write_ended(migrated, "acme", ended(DAY + 3 * HOUR, 2), DAY + 12 * HOUR)
    await correct(migrated, "acme", wrong, right)
    second = await sessions_and_seconds(migrated, cache)
    anew = await sessions_and_seconds(migrated, StatisticsCache())
    await complete(migrated, DAY + 24 * HOUR)
    third = await sessions_and_seconds(migrated, cache)

    assert first == (2, 3600.0)
    assert second == anew == third == (2, 10_800.0), "of two rows that say the same only one is corrected"


async def test_what_ended_long_before_the_range_may_be_corrected_within_it(
    migrated: psycopg.AsyncConnection[Any],
) -> None:
    await insert_tenant(migrated, "acme")
    wrong = await write_ended(migrated, "acme", ended(DAY - 1000 * HOUR, 1))
    right = await write_ended(migrated, "acme", ended(DAY, 2))
    await correct(migrated, "acme", wrong, right)
    await complete(migrated, DAY + 12 * HOUR)

    assert await sessions_and_seconds(migrated, StatisticsCache()) == (1, 7200.0)


async def test_much_that_is_recent_is_kept_once_it_is_complete(
    migrated: psycopg.AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "RECENT_ROWS_MAX", 1)
    cache = StatisticsCache()
    await write(migrated, "acme", [ended(DAY, 1)])
    await complete(migrated, DAY + 2 * HOUR)
    await sessions_and_seconds(migrated, cache)
    wrong = await write_ended(migrated, "acme", ended(DAY + 5 * HOUR, 1))
    right = await write_ended(migrated, "acme", ended(DAY + 5 * HOUR, 2))
    await correct(migrated, "acme", wrong, right)
    await complete(migrated, DAY + 12 * HOUR)

    first = await sessions_and_seconds(migrated, cache)
    await migrated.execute("DELETE FROM sojourn_v1.session_history")
    second = await sessions_and_seconds(migrated, cache)

    assert first == second == (2, 10_800.0)


async def test_a_longer_range_is_read_anew(migrated: psycopg.AsyncConnection[Any]) -> None:
    cache = StatisticsCache()
    await write(migrated, "acme", [ended(DAY - 50 * HOUR, 1), ended(DAY, 1)])
    await complete(migrated, DAY + 12 * HOUR)

    found = [await sessions_and_seconds(migrated, cache, since) for since in (DAY, DAY - 60 * HOUR, DAY, None)]

    assert found == [(1, 3600.0), (2, 7200.0), (1, 3600.0), (2, 7200.0)]


async def test_an_older_snapshot_does_not_see_what_a_newer_one_kept(migrated_database: Database) -> None:
    cache = StatisticsCache()
    async with (
        await migrated_database.connect(autocommit=True) as connection,
        await migrated_database.connect(autocommit=True) as older,
    ):
        await write(connection, "acme", [ended(DAY, 1)])
        await complete(connection, DAY + 12 * HOUR)
        async with as_reader(older, "acme"):
            await write_ended(connection, "acme", ended(DAY + 12 * HOUR, 1))
            await complete(connection, DAY + 24 * HOUR)
            newer = await sessions_and_seconds(connection, cache)

            answer = await work_hours(older, cache, HistoryFilter(from_at=DAY), "UTC")

    assert newer == (2, 7200.0)
    assert (answer.sessions, answer.seconds_min) == (1, 3600.0)


async def test_tables_that_take_the_place_of_others_are_read_anew(migrated: psycopg.AsyncConnection[Any]) -> None:
    cache = StatisticsCache()
    await write(migrated, "acme", [ended(DAY, 1)])
    await complete(migrated, DAY + 12 * HOUR)
    await sessions_and_seconds(migrated, cache)

    await migrated.execute(
        "DELETE FROM sojourn_v1.session_history; CREATE OR REPLACE VIEW sojourn.session_revision "
        "WITH (security_invoker = true) AS SELECT * FROM sojourn_v1.session_history WHERE revision > 0"
    )

    assert await sessions_and_seconds(migrated, cache) == (0, 0.0)


async def test_tenants_do_not_see_each_other_and_give_way_to_who_asked_last(
    migrated: psycopg.AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "ROWS_MAX", 3)
    cache = StatisticsCache()
    await complete(migrated, DAY + 12 * HOUR)
    await write(migrated, "acme", [ended(DAY, 1)] * 2)
    await write(migrated, "other", [ended(DAY, 5)] * 2)

    async with as_reader(migrated, "other"):
        others = await work_hours(migrated, cache, HistoryFilter(from_at=DAY), None)
    found = await sessions_and_seconds(migrated, cache)
    await migrated.execute("DELETE FROM sojourn_v1.session_history")
    async with as_reader(migrated, "other"):
        forgotten = await work_hours(migrated, cache, HistoryFilter(from_at=DAY), None)

    assert (others.sessions, others.seconds_min) == (2, 18_000.0)
    assert found == await sessions_and_seconds(migrated, cache) == (2, 3600.0)
    assert forgotten.sessions == 0
    assert not cache._locks, "nobody asks now"


async def test_more_sessions_than_memory_is_meant_to_hold_are_refused(
    migrated: psycopg.AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "ROWS_MAX", 1)
    await write(migrated, "acme", [ended(DAY, 1)] * 2)
    await complete(migrated, DAY + 12 * HOUR)

    with pytest.raises(UsageError, match="name a later start of the range"):
        await sessions_and_seconds(migrated, StatisticsCache())


async def test_open_sessions_come_in_pages(
    migrated: psycopg.AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "OPEN_ROWS_MAX", 2)
    still_open = [
        ended(DAY + number // 2 * HOUR, 1, logout=None, outcome=None, reason=None, online_seconds=None)
        for number in range(5)
    ]
    await write(migrated, "acme", still_open)

    async with as_reader(migrated, "acme"):
        answer = await work_hours(migrated, StatisticsCache(), HistoryFilter(from_at=DAY), None)

    assert (answer.sessions, answer.open) == (5, 5)


# What is asked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [
        HistoryFilter(user="u-1"),
        HistoryFilter(user="ÄDA"),
        HistoryFilter(user=""),
        HistoryFilter(desktop="cad 2"),
        HistoryFilter(terminal="mobile"),
        HistoryFilter(access="public"),
        HistoryFilter(outcome="abnormal"),
        HistoryFilter(reason="error"),
        HistoryFilter(broker="/brokers/eu-1"),
        HistoryFilter(broker="/brokers"),
        HistoryFilter(search="U-"),
        HistoryFilter(search="cad"),
        HistoryFilter(search="10.4"),
        HistoryFilter(search="0.4"),
        HistoryFilter(search="", access="internal"),
        HistoryFilter(user="ada", access="internal", from_at=DAY, to_at=DAY + 24 * HOUR),
    ],
)
async def test_a_filter_counts_the_sessions_that_the_list_shows(
    migrated: psycopg.AsyncConnection[Any], filters: HistoryFilter
) -> None:
    others = {"user": "u-2", "user_name": "Äda", "desktop": "d-2", "desktop_name": "CAD 2", "access": "public"}
    still_open = {"logout": None, "outcome": None, "reason": None, "online_seconds": None}
    sessions = [
        ended(DAY, 1),
        ended(DAY + HOUR, 1, **others),
        ended(DAY + 2 * HOUR, 1, terminal="mobile", outcome="abnormal", reason="error"),
        ended(DAY, 1, login=None, online_seconds=None),
        ended(DAY, 1, **still_open),
        ended(DAY, 1, **others, **still_open),
    ]
    await write(migrated, "acme", sessions)

    async with as_reader(migrated, "acme"):
        answer = await terminals(migrated, StatisticsCache(), filters, None)
        listed = [row async for row in stream(migrated, history_query(filters, with_open=True))]

    assert answer.sessions + answer.left_out["unknown_login"] == len(listed)


@pytest.mark.parametrize(
    ("statistic", "arguments", "message"),
    [
        (work_hours, {"time_zone": "Mars/Olympus"}, "a time zone is named like Europe/Berlin"),
        (work_hours, {"time_zone": "../etc/passwd"}, "a time zone is named like Europe/Berlin"),
        (work_hours, {"time_zone": "Europe"}, "a time zone is named like Europe/Berlin"),
        (work_hours, {"page": Page(1001)}, "a page has 0 to 1000 users"),
        (work_hours, {"page": Page(1, -1)}, "a page has 0 to 1000 users"),
        (frequency, {"top": -1}, "the most frequent are 0 to 1000"),
        (frequency, {"filters": HistoryFilter(user="\ud800")}, "this is no UTF-8"),
        (frequency, {"filters": HistoryFilter(search="\ud800")}, "this is no UTF-8"),
    ],
)
async def test_what_cannot_be_answered_says_why(
    migrated: psycopg.AsyncConnection[Any], statistic: Any, arguments: dict[str, Any], message: str
) -> None:
    await write(migrated, "acme", [])

    with pytest.raises(UsageError, match=message):
        async with as_reader(migrated, "acme"):
            await statistic(migrated, StatisticsCache(), **{"filters": HistoryFilter(), "time_zone": None, **arguments})


async def test_a_tenant_without_sessions_gets_empty_answers(migrated_database: Database) -> None:
    async with await migrated_database.connect(autocommit=True) as connection:
        await write(connection, "acme", [])

    found = await answers(migrated_database, StatisticsCache(), "acme", HistoryFilter(), "Europe/Berlin")

    assert_agrees(found, [], HistoryFilter(), "Europe/Berlin")
    assert {answer["sessions"] for answer in found.values()} == {0}
