"""When a schedule is due, and which day, week or month it exports: by the tenant's clock, whose hour may come twice."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal, NamedTuple

Every = Literal["day", "week", "month"]

TIME_OF_DAY: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")

_WEEK: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)


class Period(NamedTuple):
    """What a run exports: [from, to)."""

    from_at: datetime
    to_at: datetime


def first_day(every: Every, time_of_day: str, zone: tzinfo, now: datetime) -> date:
    """Return the local day of the first run after now."""
    day = _begin(every, now.astimezone(zone).date())
    while due_at(day, time_of_day, zone) <= now:
        day = next_day(every, day)
    return day


def next_day(every: Every, day: date) -> date:
    """Return the local day of the run after that of `day`: days, Mondays, or firsts of a month."""
    match every:
        case "day":
            return day + _DAY
        case "week":
            return day + _WEEK
        case "month":
            return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def due_at(day: date, time_of_day: str, zone: tzinfo) -> datetime:
    """Return the instant of a run; a time that clocks skip moves on with them, of two the first counts."""
    return _instant(day, time.fromisoformat(time_of_day), zone)


def period(every: Every, day: date, zone: tzinfo) -> Period:
    """Return what the run of a day exports: all of the day, week or month before it."""
    end = _begin(every, day)
    start = _begin(every, end - _DAY)
    return Period(_instant(start, time(), zone), _instant(end, time(), zone))


def _begin(every: Every, day: date) -> date:
    match every:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


def _instant(day: date, clock: time, zone: tzinfo) -> datetime:
    # Between two offsets, fold=0 takes the one before: 02:30 that is skipped is then 03:30, and 02:30 twice the first.
    return datetime.combine(day, clock, tzinfo=zone).astimezone(UTC)
