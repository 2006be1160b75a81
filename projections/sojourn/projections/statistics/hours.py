"""How many sessions are connected in each hour of the week."""

from typing import Any

import numpy as np
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.counted import Counted, answer
from sojourn.projections.statistics.instants import SECOND, Finder, Ints, hour_runs, parts, sums, weekdays
from sojourn.projections.statistics.rules import Answer


class WeekHour(Struct, frozen=True):
    """An hour of the week, Monday being 1: how much of it the range holds, and the sessions in it on average.

    The averages are None where the range holds nothing of it.
    """

    weekday: int
    hour: int
    seconds: float
    sessions_min: float | None
    sessions_max: float | None


class Hours(Answer, frozen=True, kw_only=True):
    """All 168 hours, Monday's first."""

    hours: list[WeekHour]


async def hours(
    connection: AsyncConnection[Any], cache: StatisticsCache, filters: HistoryFilter, time_zone: str | None
) -> Hours:
    """Return how many sessions were connected on average; inside `as_reader`."""
    return await answer(connection, cache, filters, time_zone, _made)


def _made(counted: Counted) -> Hours:
    runs = hour_runs(counted.zone, counted.start, counted.end)
    finder = Finder(runs.edges)
    place = weekdays(runs.days) * 24 + runs.hours
    lengths = sums(place, np.diff(runs.edges), 7 * 24)
    columns, uncertain = counted.columns, np.flatnonzero(counted.is_uncertain)
    least = sums(place, _connected(runs.edges, finder, *counted.spans(columns.ends_first)), 7 * 24)
    between = (counted.clipped(ends[uncertain]) for ends in (columns.ends_first, columns.ends_last))
    most = least + sums(place, _connected(runs.edges, finder, *between), 7 * 24)
    return Hours(
        **counted.facts("hours"),
        hours=[
            WeekHour(
                weekday=number // 24 + 1,
                hour=number % 24,
                seconds=length / SECOND,
                sessions_min=first / length if length else None,
                sessions_max=last / length if length else None,
            )
            for number, (length, first, last) in enumerate(
                zip(lengths.tolist(), least.tolist(), most.tolist(), strict=True)
            )
        ],
    )


def _connected(edges: Ints, finder: Finder, starts: Ints, ends: Ints) -> Ints:
    """Return the microseconds of all spans together in each run."""
    found = np.zeros(len(edges) - 1, np.int64)
    for part in parts(len(starts)):
        found += _of_part(edges, finder, starts[part], ends[part])
    return found


def _of_part(edges: Ints, finder: Finder, starts: Ints, ends: Ints) -> Ints:
    """Return the same of some spans.

    Those that began before a run and have not ended before it fill it; what begins in it lacks what came before, and
    what ends in it what comes after.
    """
    count = len(edges) - 1
    began, ended = finder.runs_of(starts), finder.runs_of(ends)
    lengths = np.diff(edges)
    begun, gone = np.bincount(began, minlength=count), np.bincount(ended, minlength=count)
    through = np.cumsum(begun) - np.cumsum(gone)
    # Of those that begin in a run it counts the rest from there; of those that end in it nothing after that.
    whole = (through - begun + gone) * lengths
    rest = sums(began, edges[1:][began] - starts, count) - sums(ended, edges[1:][ended] - ends, count)
    return whole + rest
