"""Instants as whole microseconds since 2000, as PostgreSQL sends them, and a zone's hours and days among them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from sojourn.events.errors import UsageError

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
NEVER: Final = int(np.iinfo(np.int64).max)  # how PostgreSQL sends infinity
UNKNOWN: Final = int(np.iinfo(np.int64).min)  # and -infinity

BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)  # the log's time takes the place of an event's before that

_BEGINNING_DAY: Final = BEGINNING.date().toordinal()
_BEGINNING_WEEKDAY: Final = BEGINNING.weekday()  # a Saturday

Ints = NDArray[np.int64]

_PART_ROWS: Final = 1 << 17  # a megabyte a column stays in the processor's cache, which halves the time


def parts(rows: int) -> Iterator[slice]:
    """Divide rows so that what is computed of a part takes no new memory from the system."""
    for at in range(0, rows, _PART_ROWS):
        yield slice(at, at + _PART_ROWS)


class Runs(NamedTuple):
    """Consecutive spans of time: `edges` holds the start of each and the end of the last.

    `local` is what the zone's clock shows when each starts, as microseconds since 2000-01-01 by that clock.
    """

    edges: Ints
    local: Ints

    @property
    def days(self) -> Ints:
        """The local date of each, counted from 2000-01-01."""
        return self.local // DAY

    @property
    def hours(self) -> Ints:
        """The hour of the local clock."""
        return self.local % DAY // HOUR

    def joined(self, marks: Ints) -> "Runs":
        """Join neighbours that have the same mark."""
        keep = np.append(True, marks[1:] != marks[:-1])
        return Runs(np.append(self.edges[:-1][keep], self.edges[-1]), self.local[keep])


def micros(instant: datetime) -> int:
    """Return an instant as whole microseconds."""
    return (instant - BEGINNING) // timedelta(microseconds=1)


def instant_of(at: int) -> datetime:
    """Return what `micros` took."""
    return BEGINNING + timedelta(microseconds=int(at))


def date_of(day: int) -> date:
    """Return a local date as `Runs` counts them."""
    return date.fromordinal(_BEGINNING_DAY + int(day))


def weekdays(days: Ints) -> Ints:
    """Return 0 for Mondays to 6 for Sundays."""
    return (days + _BEGINNING_WEEKDAY) % 7


def zone_of(name: str | None) -> ZoneInfo:
    """Return a tenant's time zone, UTC unless it is set; raises `UsageError` for what is no zone's name."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, OSError, ValueError):  # a name that is none, or a folder's, or leads out of it
        raise UsageError(f"a time zone is named like Europe/Berlin, unlike: {name!r}") from None


def hour_runs(zone: ZoneInfo, start: int, end: int) -> Runs:
    """Cut [start, end) wherever the local hour changes, by the clock or by a shift of it; give one run at least."""
    shifts = _shifts(zone, start // DAY, -(-end // DAY))
    cuts = [np.array([start])]
    for (since, offset), (until, _) in pairwise([*shifts, (NEVER, 0)]):
        first, last = max(start, since), min(end, until)
        if first < last:
            full = -(-(first + offset) // HOUR) * HOUR - offset
            cuts += [np.array([first]), np.arange(full, last, HOUR)]
    starts = np.unique(np.concatenate(cuts))
    begun, offsets = (np.array(column, dtype=np.int64) for column in zip(*shifts, strict=True))
    local = starts + offsets[np.searchsorted(begun, starts, "right") - 1]
    return Runs(np.append(starts, max(start, end)), local)


def day_runs(hours: Runs) -> Runs:
    """Join the runs of each local date."""
    return hours.joined(hours.days)


class Finder:
    """Finds in which run a time lies; one before the first or after the last counts to that.

    Searching for each of millions takes four times as long as looking up where its hour begins.
    """

    def __init__(self, edges: Ints) -> None:
        self._edges = edges
        self._last = len(edges) - 2
        slots = np.arange(edges[0], edges[-1] + HOUR, HOUR)
        self._table = np.clip(np.searchsorted(edges, slots, "right") - 1, 0, self._last)

    def runs_of(self, times: Ints) -> Ints:
        """Return the number of the run of each time."""
        found = np.empty(len(times), np.int64)
        for part in parts(len(times)):
            found[part] = self._runs_of(times[part])
        return found

    def _runs_of(self, times: Ints) -> Ints:
        found: Ints = self._table[np.clip((times - self._edges[0]) // HOUR, 0, len(self._table) - 1)]
        while True:
            late = (found < self._last) & (times >= self._edges[found + 1])
            if not late.any():
                return found
            found += late


class Calendar:
    """The local dates of some runs: their numbers, and in which of them a time lies."""

    def __init__(self, hours: Runs) -> None:
        self.runs = day_runs(hours)
        # A shift back over midnight gives a date several runs, one over a whole day none.
        numbers = sorted(set(self.runs.days.tolist()))
        self.days: Ints = np.array(numbers)
        self.places: Ints = np.searchsorted(self.days, self.runs.days)
        self.finder = Finder(self.runs.edges)

    def places_of(self, times: Ints) -> Ints:
        """Return which of `days` each time lies in."""
        return self.places[self.finder.runs_of(times)]


@lru_cache(maxsize=64)  # some tenants' zones with their usual ranges
def _shifts(zone: ZoneInfo, first_day: int, last_day: int) -> tuple[tuple[int, int], ...]:
    """Return by how much the zone's clock is ahead of UTC, each time with the instant from which on."""
    found = [(UNKNOWN, _offset(zone, first_day * DAY))]
    for at in range((first_day + 1) * DAY, (last_day + 1) * DAY, DAY):
        offset = _offset(zone, at)
        if offset != found[-1][1]:
            found.append((_shift(zone, at - DAY, at), offset))
    return tuple(found)


def _shift(zone: ZoneInfo, before: int, after: int) -> int:
    """Return the first second of the offset that holds at `after` and not yet at `before`."""
    offset = _offset(zone, after)
    while after - before > SECOND:
        middle = (before + after) // 2 // SECOND * SECOND
        before, after = (before, middle) if _offset(zone, middle) == offset else (middle, after)
    return after


def _offset(zone: ZoneInfo, at: int) -> int:
    offset = instant_of(at).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


def sums(places: NDArray[Any], amounts: Ints, size: int) -> Ints:
    """Return the exact sum of the amounts of each place; bincount adds floats, which are exact to 53 bits."""
    found = np.zeros(size, np.int64)
    for part in parts(len(places)):
        high = np.bincount(places[part], amounts[part] >> 20, minlength=size).astype(np.int64)
        low = np.bincount(places[part], amounts[part] & 0xFFFFF, minlength=size).astype(np.int64)
        if len(high) > len(found):  # a size of 0 is as many places as there are
            found = np.append(found, np.zeros(len(high) - len(found), np.int64))
        found[: len(high)] += (high << 20) + low
    return found
