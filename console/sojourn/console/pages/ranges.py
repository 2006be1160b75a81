"""Ranges of time as people choose them: today, some days, a month, or from one instant to another, by one clock."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

DEFAULT: Final = "7d"  # the last working week is in it on every day
ANY: Final = "any"
BETWEEN: Final = "between"
CHOICES: Final = ("today", DEFAULT, "30d", "month", "last-month", BETWEEN, ANY)

_DAYS: Final = {"today": 1, DEFAULT: 7, "30d": 30}
_ONE_DAY: Final = timedelta(days=1)


class BadChoice(Exception):
    """What a query names and is none; the text is a message of the pages, and `field` the one to mend."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class Range(NamedTuple):
    """The instants [from, to) behind a choice; None where it has no end, or ends now."""

    choice: str
    from_at: datetime | None
    to_at: datetime | None


def chosen(query: Mapping[str, str], zone: tzinfo, now: datetime) -> Range:
    """Return the range that a query names: `range`, and `from`, `from_time`, `to`, `to_time` for one between two.

    Days begin at the midnight of the zone and include the last one. Raises `BadChoice`.
    """
    choice = query.get("range") or (BETWEEN if query.get("from") or query.get("to") else DEFAULT)
    if choice not in CHOICES:
        raise BadChoice("range", "There is no such range.")
    if choice == ANY:
        return Range(choice, None, None)
    if choice == BETWEEN:
        return _between(query, zone)
    today = now.astimezone(zone).date()
    this_month = today.replace(day=1)
    if choice == "last-month":
        last_month = (this_month - _ONE_DAY).replace(day=1)
        return Range(choice, _midnight(last_month, zone), _midnight(this_month, zone))
    first = this_month if choice == "month" else today - timedelta(days=_DAYS[choice] - 1)
    return Range(choice, _midnight(first, zone), None)


def _between(query: Mapping[str, str], zone: tzinfo) -> Range:
    from_at, to_at = (_instant(query, name, zone) for name in ("from", "to"))
    if from_at is not None and to_at is not None and to_at <= from_at:
        raise BadChoice("to", "The range ends before it begins.")
    return Range(BETWEEN, from_at, to_at)


def _instant(query: Mapping[str, str], name: str, zone: tzinfo) -> datetime | None:
    """Return the instant of a day and a time of it; without a time the day's beginning, or its end for `to`."""
    day_text, time_text = query.get(name, ""), query.get(f"{name}_time", "")
    if not day_text:
        if time_text:
            raise BadChoice(name, "Name the day as well as the time.")
        return None
    try:
        day = date.fromisoformat(day_text)
    except ValueError:
        raise BadChoice(name, "A day is written like 2026-11-24.") from None
    try:
        at = time.fromisoformat(time_text) if time_text else None
    except ValueError:
        at = None
    if time_text and (at is None or at.tzinfo is not None):
        raise BadChoice(f"{name}_time", "A time is written like 08:30.")
    try:
        if at is not None:
            return datetime.combine(day, at, zone).astimezone(UTC)
        return _midnight(day if name == "from" else day + _ONE_DAY, zone)
    except OverflowError:  # the years before 1 and after 9999
        raise BadChoice(name, "That day is too far away.") from None


def _midnight(day: date, zone: tzinfo) -> datetime:
    """Return when a day begins; where the clock jumps over midnight, the instant of the jump."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)
