"""When schedules run, and what they export: by the tenant's clock, over the days on which it is changed."""

from datetime import UTC, date, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from sojourn.console.jobs.periods import Every, due_at, first_day, next_day, period

BERLIN = ZoneInfo("Europe/Berlin")
HAVANA = ZoneInfo("America/Havana")  # its clocks change at midnight


@pytest.mark.parametrize(
    ("day", "time_of_day", "expected"),
    [
        (date(2026, 11, 24), "01:00", "2026-11-24T00:00:00+00:00"),
        (date(2026, 3, 29), "02:30", "2026-03-29T01:30:00+00:00"),  # the clocks skip it: it is 03:30 then
        (date(2026, 3, 29), "03:30", "2026-03-29T01:30:00+00:00"),
        (date(2026, 10, 25), "02:30", "2026-10-25T00:30:00+00:00"),  # it comes twice: the first
        (date(2026, 10, 25), "03:30", "2026-10-25T02:30:00+00:00"),
    ],
)
def test_a_skipped_time_moves_on_and_one_that_comes_twice_runs_once(day: date, time_of_day: str, expected: str) -> None:
    assert due_at(day, time_of_day, BERLIN).isoformat() == expected


@pytest.mark.parametrize(
    ("every", "now", "first", "following"),
    [
        ("day", "2026-11-24T00:59:00+01:00", date(2026, 11, 24), date(2026, 11, 25)),
        ("day", "2026-11-24T01:00:00+01:00", date(2026, 11, 25), date(2026, 11, 26)),
        ("week", "2026-11-25T12:00:00+01:00", date(2026, 11, 30), date(2026, 12, 7)),
        ("week", "2026-11-23T00:59:00+01:00", date(2026, 11, 23), date(2026, 11, 30)),
        ("month", "2026-11-25T12:00:00+01:00", date(2026, 12, 1), date(2027, 1, 1)),
        ("month", "2028-01-31T12:00:00+01:00", date(2028, 2, 1), date(2028, 3, 1)),
    ],
)
def test_a_schedule_begins_with_the_period_that_is_over_next(
    every: str, now: str, first: date, following: date
) -> None:
    kind = cast(Every, every)

    day = first_day(kind, "01:00", BERLIN, datetime.fromisoformat(now))

    assert (day, next_day(kind, day)) == (first, following)


@pytest.mark.parametrize(
    ("every", "day", "start", "end"),
    [
        ("day", date(2026, 3, 30), "2026-03-28T23:00:00+00:00", "2026-03-29T22:00:00+00:00"),  # 23 hours
        ("day", date(2026, 10, 26), "2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00"),  # 25 hours
        ("week", date(2026, 11, 23), "2026-11-15T23:00:00+00:00", "2026-11-22T23:00:00+00:00"),
        ("month", date(2026, 4, 1), "2026-02-28T23:00:00+00:00", "2026-03-31T22:00:00+00:00"),
    ],
)
def test_a_period_is_all_of_the_day_week_or_month_before(every: str, day: date, start: str, end: str) -> None:
    found = period(cast(Every, every), day, BERLIN)

    assert (found.from_at.isoformat(), found.to_at.isoformat()) == (start, end)


@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_periods_follow_each_other_without_a_gap_through_ten_years(every: str) -> None:
    kind = cast(Every, every)
    for zone in (BERLIN, HAVANA, ZoneInfo("Asia/Shanghai"), ZoneInfo("Australia/Lord_Howe"), UTC):
        day = first_day(kind, "00:00", zone, datetime(2026, 1, 1, 12, tzinfo=UTC))
        end = period(kind, day, zone).from_at
        due = due_at(day, "00:00", zone) - timedelta(days=1)
        while day.year < 2036:
            assert period(kind, day, zone).from_at == end
            assert due_at(day, "00:00", zone) > due
            end, due = period(kind, day, zone).to_at, due_at(day, "00:00", zone)
            assert end <= due
            day = next_day(kind, day)
