"""How often users logged in and desktops were used."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, Final

import numpy as np
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.events.errors import UsageError
from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.columns import Codes, Named
from sojourn.projections.statistics.counted import Counted, answer
from sojourn.projections.statistics.instants import Calendar, Ints, date_of, hour_runs, instant_of
from sojourn.projections.statistics.people import identities, last_names
from sojourn.projections.statistics.rules import Answer
from sojourn.projections.statistics.spans import distinct

TOP_DEFAULT: Final = 20  # a picture of them can still be read
TOP_MAX: Final = 1000  # more are an export


class Frequent(Struct, frozen=True):
    """A user or a desktop: how many sessions began, on how many local dates, and when the last did."""

    id: str
    name: str
    sessions: int
    days: int
    last_login_at: datetime


class DaySessions(Struct, frozen=True):
    """How many sessions began on a local date, and of how many users."""

    day: date
    sessions: int
    users: int


class Frequency(Answer, frozen=True, kw_only=True):
    """The most frequent first, then by id; the totals are of all of them."""

    users_total: int
    desktops_total: int
    users: list[Frequent]
    desktops: list[Frequent]
    days: list[DaySessions]


async def frequency(
    connection: AsyncConnection[Any],
    cache: StatisticsCache,
    filters: HistoryFilter,
    time_zone: str | None,
    top: int = TOP_DEFAULT,
) -> Frequency:
    """Return the `top` users and desktops, and logins by day; inside `as_reader`."""
    if not 0 <= top <= TOP_MAX:
        raise UsageError(f"the most frequent are 0 to {TOP_MAX}, not: {top}")
    return await answer(connection, cache, filters, time_zone, partial(_made, top=top))


def _made(counted: Counted, top: int) -> Frequency:
    began = counted.columns.login >= counted.start
    columns = counted.columns if began.all() else counted.columns.where(began)
    calendar = Calendar(hour_runs(counted.zone, counted.start, counted.end))
    days, day = calendar.days, calendar.places_of(columns.login)
    users = identities(counted.names.users)
    user = users.places[columns.user] if columns.rows else day
    sessions = np.bincount(day, minlength=len(days))
    pairs = distinct(day * max(1, len(users.ids)) + user)
    at_work = np.bincount(pairs // max(1, len(users.ids)), minlength=len(days))
    people, machines = (
        _frequent(named, column, columns.login, day, top)
        for named, column in ((counted.names.users, columns.user), (counted.names.desktops, columns.desktop))
    )
    return Frequency(
        **counted.facts("frequency", began, began_before=int((~began).sum())),
        users_total=people[0],
        desktops_total=machines[0],
        users=people[1],
        desktops=machines[1],
        days=[
            DaySessions(date_of(number), int(count), int(different))
            for number, count, different in zip(days, sessions, at_work, strict=True)
            if counted.end > counted.start
        ],
    )


def _frequent(named: Sequence[Named], column: Codes, login: Ints, day: Ints, top: int) -> tuple[int, list[Frequent]]:
    """Return how many there are, and those with most sessions."""
    ids, places = identities(named)
    if not len(column):
        return 0, []
    sessions = np.bincount(places[column], minlength=len(ids))
    ranked = sorted(np.flatnonzero(sessions).tolist(), key=lambda place: (-int(sessions[place]), ids[place]))
    shown = ranked[:top]
    is_shown = np.zeros(len(ids), dtype=bool)
    is_shown[shown] = True
    rows = np.flatnonzero(is_shown[places][column])
    place = places[column[rows]]
    last = np.full(len(ids), np.iinfo(np.int64).min)
    np.maximum.at(last, place, login[rows])
    width = int(day.max()) + 1
    dates = np.bincount(distinct(place * width + day[rows]) // width, minlength=len(ids))
    names = last_names(named, column, login, places, shown)
    return len(ranked), [
        Frequent(ids[one], names[one], int(sessions[one]), int(dates[one]), instant_of(last[one])) for one in shown
    ]
