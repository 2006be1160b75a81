"""How many sessions were connected at the same time."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.counted import Counted, answer
from sojourn.projections.statistics.instants import MINUTE, Ints, Runs, day_runs, hour_runs, instant_of, parts
from sojourn.projections.statistics.rules import Answer

BUCKETS_MAX: Final = 400  # a picture 800 points wide shows each

_MINUTES: Final = (1, 5, 15, 30)  # divide an hour
_HOURS: Final = (1, 3, 6)  # divide a day
_DAYS: Final = (1, 7, 28, 364)  # a hundred years of the last


class Peak(Struct, frozen=True):
    """The most sessions at one time, and when they were first so many; never if there was none."""

    sessions: int
    at: datetime | None


class Bucket(Struct, frozen=True):
    """The most sessions at one time between `at` and the next bucket's."""

    at: datetime
    peak_min: int
    peak_max: int


class Concurrency(Answer, frozen=True, kw_only=True):
    """`bucket` says how long each bucket is by the zone's clock, like `15 min` or `7 d`; the outer ones are cut."""

    peak_min: Peak
    peak_max: Peak
    bucket: str
    buckets: list[Bucket]


async def concurrency(
    connection: AsyncConnection[Any], cache: StatisticsCache, filters: HistoryFilter, time_zone: str | None
) -> Concurrency:
    """Return exact peaks, of the range and of each bucket; inside `as_reader`."""
    return await answer(connection, cache, filters, time_zone, _made)


def _made(counted: Counted) -> Concurrency:
    name, edges = _buckets(hour_runs(counted.zone, counted.start, counted.end))
    columns = counted.columns
    least = _steps(*counted.spans(columns.ends_first))
    most = _steps(*counted.spans(columns.ends_last)) if counted.is_uncertain.any() else least
    filled = edges[:-1] if counted.end > counted.start else edges[:0]
    return Concurrency(
        **counted.facts("concurrency"),
        peak_min=least.peak(),
        peak_max=most.peak(),
        bucket=name,
        buckets=[
            Bucket(instant_of(at), int(first), int(last))
            for at, first, last in zip(filled, least.peaks(filled), most.peaks(filled), strict=True)
        ],
    )


class _Steps(NamedTuple):
    """The instants at which sessions begin and end, in order, and how many there are at each beginning.

    Of those that begin at one instant only the last has the count; the others have less.
    """

    starts: Ints
    ends: Ints
    counts: Ints

    def peak(self) -> Peak:
        """Return the first of the highest counts."""
        if not len(self.counts):
            return Peak(0, None)
        highest = int(self.counts.argmax())
        return Peak(int(self.counts[highest]), instant_of(self.starts[highest]))

    def peaks(self, edges: Ints) -> Ints:
        """Return the highest count from each edge on until the next: the one at the edge, or a later beginning's."""
        begun = np.searchsorted(self.starts, edges, "right")
        highest = begun - np.searchsorted(self.ends, edges, "right")
        next_begun = np.append(np.searchsorted(self.starts, edges[1:], "left"), len(self.starts))
        filled = np.flatnonzero(next_begun > begun)
        if len(filled):
            spans = np.stack((begun[filled], next_begun[filled]), axis=1).ravel()
            later = np.maximum.reduceat(np.append(self.counts, 0), spans)[::2]
            highest[filled] = np.maximum(highest[filled], later)
        return highest


def _steps(starts: Ints, ends: Ints) -> _Steps:
    """Count by ends: one that ends at an instant is gone when another begins then."""
    filled = ends > starts
    if not filled.all():
        starts, ends = starts[filled], ends[filled]
    # Both come nearly in order: a stable sort merges them.
    starts, ends = np.sort(starts, kind="stable"), np.sort(ends, kind="stable")
    counts = np.arange(1, len(starts) + 1)
    for part in parts(len(starts)):
        counts[part] -= np.searchsorted(ends, starts[part], "right")
    return _Steps(starts, ends, counts)


def _buckets(hours: Runs) -> tuple[str, Ints]:
    """Return the shortest buckets of which there are not too many, and where they begin; the end is the last."""
    return next((name, edges) for name, edges in _divisions(hours) if len(edges) - 1 <= BUCKETS_MAX)


def _divisions(hours: Runs) -> Iterator[tuple[str, Ints]]:
    """Yield longer and longer buckets, but none of which there are plainly too many."""
    for minutes in _MINUTES:
        if (hours.edges[-1] - hours.edges[0]) // (minutes * MINUTE) <= BUCKETS_MAX:
            yield f"{minutes} min", _within_hours(hours, minutes * MINUTE)
    for count in _HOURS:
        yield f"{count} h", hours.joined(hours.days * 24 + hours.hours // count).edges
    days = day_runs(hours)
    for count in _DAYS:
        yield f"{count} d", days.joined((days.days - days.days[0]) // count).edges


def _within_hours(hours: Runs, step: int) -> Ints:
    """Cut each hour where its clock shows a multiple of the step."""
    cuts = [hours.edges[:1], hours.edges[-1:]]
    for at, until, local in zip(hours.edges, hours.edges[1:], hours.local, strict=False):
        cuts.append(np.arange(at + -local % step, until, step))
    return np.unique(np.concatenate(cuts))
