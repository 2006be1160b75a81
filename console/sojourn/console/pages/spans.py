"""The days of a range as pictures show them: joined to weeks or months where they are many, and some of them named."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import groupby
from typing import Final, Literal, NamedTuple

from sojourn.console.pages.figures import Figures

_DAYS_MAX: Final = 92  # a quarter: more columns are hair
_WEEKS_DAYS_MAX: Final = 731  # two years
_NAMED_DAYS_MAX: Final = 8  # so many weekdays find room
_CLOCK_SPAN_MAX: Final = timedelta(hours=36)  # within it hours tell more than days
_CLOCK_STEP_HOURS: Final = 3
_HOUR: Final = timedelta(hours=1)
_ONE_DAY: Final = timedelta(days=1)


Unit = Literal["day", "week", "month"]


class Span(NamedTuple):
    """Some consecutive days, by their places in the list, under one name; the label is empty for most."""

    first: date
    places: range
    name: str
    label: str


def unit_of(days: Sequence[date]) -> Unit:
    """Return what so many days are joined to."""
    if len(days) <= _DAYS_MAX:
        return "day"
    return "month" if len(days) > _WEEKS_DAYS_MAX else "week"


def joined(days: Sequence[date], figures: Figures) -> list[Span]:
    """Join days to spans of which there are not too many."""
    unit = unit_of(days)
    if unit == "day":
        return [
            Span(day, range(place, place + 1), figures.day(day), label(day, len(days), figures))
            for place, day in enumerate(days)
        ]
    by_month = unit == "month"
    spans: list[Span] = []
    for _, members in groupby(enumerate(days), lambda member: _start(member[1], by_month=by_month)):
        places = [place for place, _ in members]
        first, last = days[places[0]], days[places[-1]]
        is_new = by_month or not spans or first.month != spans[-1].first.month
        name = figures.month(first) if by_month else f"{figures.short_day(first)} – {figures.day(last)}"
        month = figures.short_month(first) if is_new else ""
        spans.append(Span(first, range(places[0], places[-1] + 1), name, month))
    return spans


def ticks(start: datetime, end: datetime, zone: tzinfo, figures: Figures) -> dict[float, str]:
    """Return instants of a range that are worth a name, as seconds since 1970, and their names in the zone."""
    if end - start <= _CLOCK_SPAN_MAX:
        return _hours(start, end, zone)
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    count = (last - first).days + 1
    named: dict[float, str] = {}
    for day in (first + timedelta(days=number) for number in range(count)):
        midnight = datetime.combine(day, time.min, zone).astimezone(UTC)
        name = label(day, count, figures) if count <= _DAYS_MAX else _first_of_month(day, figures)
        if name and start <= midnight <= end:
            named[midnight.timestamp()] = name
    return named


def _start(day: date, *, by_month: bool) -> date:
    return day.replace(day=1) if by_month else day - timedelta(days=day.weekday())


def label(day: date, count: int, figures: Figures) -> str:
    """Return the name of a day of so many; most of many have none."""
    if count <= _NAMED_DAYS_MAX:
        return figures.day_of_week(day)
    return figures.short_day(day) if day.weekday() == 0 else ""


def _first_of_month(day: date, figures: Figures) -> str:
    return figures.short_month(day) if day.day == 1 else ""


def _hours(start: datetime, end: datetime, zone: tzinfo) -> dict[float, str]:
    named: dict[float, str] = {}
    at = start.replace(minute=0, second=0, microsecond=0)
    while at <= end:
        local = at.astimezone(zone)
        for minutes in range(0, 60, 15):  # clocks differ from UTC by whole quarters of an hour
            quarter = local + timedelta(minutes=minutes)
            if quarter.minute == 0 and quarter.hour % _CLOCK_STEP_HOURS == 0:
                instant = at + timedelta(minutes=minutes)
                if start <= instant <= end:
                    named[instant.timestamp()] = f"{quarter:%H:%M}"
        at += _HOUR
    return named
