"""The example of docs/statistics.md, number by number."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import pytest

from sojourn.projections.read import HistoryFilter, as_reader
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.concurrency import Peak, concurrency
from sojourn.projections.statistics.durations import durations
from sojourn.projections.statistics.frequency import frequency
from sojourn.projections.statistics.hours import hours
from sojourn.projections.statistics.work_hours import work_hours
from tests.integration.lived import write
from tests.model.statistics import Lived

BERLIN: Final = "Europe/Berlin"
SATURDAY: Final = datetime(2025, 10, 24, 22, tzinfo=UTC)  # its midnight in Berlin
SUNDAY: Final = SATURDAY + timedelta(hours=24)
TWO_DAYS: Final = HistoryFilter(from_at=SATURDAY, to_at=SUNDAY + timedelta(hours=25))
HOUR_SECONDS: Final = 3600


def on_sunday(hour: float) -> datetime:
    """Return when the clock shows an hour after three o'clock."""
    return SUNDAY + timedelta(hours=hour + 1)


def lived(user: str, login: datetime | None, logout: datetime, online: float | None, **changes: Any) -> Lived:
    named = (f"u-{user}", user.title(), "d-1", "CAD 1", "thin_client", "Linux", "internal")
    return Lived(*named, login, logout, None, None, online, "normal", "logoff")._replace(**changes)


@pytest.fixture
async def example(migrated: psycopg.AsyncConnection[Any]) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Read the tenant of the example."""
    lost = {"ended_after": on_sunday(10), "ended_before": on_sunday(10 + 5 / 60), "outcome": "abnormal"}
    sessions = [
        lived("ada", SATURDAY + timedelta(hours=22), on_sunday(6), 9.0 * HOUR_SECONDS),
        lived("ada", on_sunday(5), on_sunday(7), 2.0 * HOUR_SECONDS),
        lived("bob", on_sunday(8), on_sunday(10), 2.0 * HOUR_SECONDS, **lost),
        lived("nobody", None, on_sunday(12), None),
    ]
    await write(migrated, "acme", sessions)
    async with as_reader(migrated, "acme"):
        yield migrated


async def test_parallel_sessions_count_once_and_a_day_of_25_hours_has_one_more(
    example: psycopg.AsyncConnection[Any],
) -> None:
    answer = await work_hours(example, StatisticsCache(), TWO_DAYS, BERLIN)

    ada, bob = answer.users
    assert [(str(day.day), day.seconds_min / HOUR_SECONDS) for day in ada.days] == [
        ("2025-10-25", 2),
        ("2025-10-26", 8),
    ]
    assert (bob.user_name, bob.seconds_min, bob.seconds_max) == ("Bob", 7200, 7500)
    assert (answer.seconds_min, answer.seconds_max) == (12 * HOUR_SECONDS, 12 * HOUR_SECONDS + 300)
    assert [(str(day.day), day.users) for day in answer.days] == [("2025-10-25", 1), ("2025-10-26", 2)]
    assert (answer.sessions, answer.uncertain, answer.left_out) == (3, 1, {"unknown_login": 1})


async def test_a_login_counts_on_its_local_date(example: psycopg.AsyncConnection[Any]) -> None:
    answer = await frequency(example, StatisticsCache(), TWO_DAYS, BERLIN)

    assert [(user.name, user.sessions, user.days) for user in answer.users] == [("Ada", 2, 2), ("Bob", 1, 1)]
    assert [(day.sessions, day.users) for day in answer.days] == [(1, 1), (2, 2)]


async def test_the_peak_is_told_with_its_first_instant(example: psycopg.AsyncConnection[Any]) -> None:
    answer = await concurrency(example, StatisticsCache(), TWO_DAYS, BERLIN)

    assert answer.peak_min == answer.peak_max == Peak(2, on_sunday(5))
    assert (answer.bucket, len(answer.buckets)) == ("15 min", 4 * 49)


async def test_percentiles_are_durations_of_sessions(example: psycopg.AsyncConnection[Any]) -> None:
    answer = await durations(example, StatisticsCache(), TWO_DAYS, BERLIN)

    assert (answer.median_seconds, answer.p90_seconds, answer.seconds_max) == (7200, 32_400, 32_400)


async def test_an_hour_that_the_clock_shows_twice_is_one_hour_of_two(example: psycopg.AsyncConnection[Any]) -> None:
    answer = await hours(example, StatisticsCache(), TWO_DAYS, BERLIN)

    (second,) = (hour for hour in answer.hours if (hour.weekday, hour.hour) == (7, 2))
    assert (second.seconds, second.sessions_min) == (7200, 1.0)
