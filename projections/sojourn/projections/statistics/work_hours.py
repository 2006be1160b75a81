"""How long users worked: in all, by user, by day, and by user and day."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.events.errors import UsageError
from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.counted import Counted, answer
from sojourn.projections.statistics.instants import SECOND, Calendar, Ints, date_of, hour_runs, sums
from sojourn.projections.statistics.people import Identities, identities, last_names
from sojourn.projections.statistics.rules import Answer
from sojourn.projections.statistics.spans import Spans, by_day, by_user, distinct, parts_of, union

USERS_DEFAULT: Final = 50  # what people read
USERS_MAX: Final = 1000  # of a page; more are an export


class Day(Struct, frozen=True):
    """A local date: the sum of its users' seconds, and how many worked at all."""

    day: date
    seconds_min: float
    seconds_max: float
    users: int


class UserDay(Struct, frozen=True):
    """A user's seconds of a local date; dates without any are not listed."""

    day: date
    seconds_min: float
    seconds_max: float


class UserHours(Struct, frozen=True):
    """A user's seconds in the range, of how many sessions, and in how many days; `open` says that they grow on."""

    user_id: str
    user_name: str
    seconds_min: float
    seconds_max: float
    sessions: int
    open: bool
    days_worked: int
    days: list[UserDay]


class WorkHours(Answer, frozen=True, kw_only=True):
    """`users` is one page, those with most seconds first; all days of the range are listed, up to now."""

    seconds_min: float
    seconds_max: float
    users_total: int
    days: list[Day]
    users: list[UserHours]


class Page(NamedTuple):
    """Which users of the list: so many, behind the first `skip`."""

    users: int = USERS_DEFAULT
    skip: int = 0


async def work_hours(
    connection: AsyncConnection[Any],
    cache: StatisticsCache,
    filters: HistoryFilter,
    time_zone: str | None,
    page: Page | None = None,
) -> WorkHours:
    """Return work hours; inside `as_reader`. Raises `UsageError` for a page that is none."""
    asked = page or Page()
    if not 0 <= asked.users <= USERS_MAX or asked.skip < 0:
        raise UsageError(f"a page has 0 to {USERS_MAX} users behind those that it skips, not: {tuple(asked)}")
    return await answer(connection, cache, filters, time_zone, lambda counted: _made(counted, asked))


class _Rows(NamedTuple):
    """Sessions in the order of users and logins: as long as they lasted at least, and at most if that is longer."""

    user: Ints
    start: Ints
    ends: list[Ints]


class _Totals(NamedTuple):
    """Microseconds by user and by day, a row each for at least and at most; and who worked on which days at all."""

    by_user: Ints
    by_day: Ints
    days_of_user: Ints
    users_of_day: Ints


def _made(counted: Counted, page: Page) -> WorkHours:
    people = identities(counted.names.users)
    calendar = Calendar(hour_runs(counted.zone, counted.start, counted.end))
    rows = _rows(counted, people)
    totals = _totals(rows, calendar, len(people.ids))
    sessions = np.bincount(rows.user, minlength=len(people.ids))
    least, most = totals.by_user[0], totals.by_user[-1]
    users = sorted(np.flatnonzero(sessions).tolist(), key=lambda place: (-int(least[place]), people.ids[place]))
    shown = users[page.skip : page.skip + page.users]
    return WorkHours(
        **counted.facts("work_hours"),
        seconds_min=_seconds(least.sum()),
        seconds_max=_seconds(most.sum()),
        users_total=len(users),
        days=[
            Day(date_of(day), _seconds(first), _seconds(last), int(at_work))
            for day, first, last, at_work in zip(
                calendar.days, totals.by_day[0], totals.by_day[-1], totals.users_of_day, strict=True
            )
            if counted.end > counted.start
        ],
        users=_users(counted, people, shown, rows, calendar, totals, sessions),
    )


def _rows(counted: Counted, people: Identities) -> _Rows:
    columns = counted.columns
    user, start = people.places[columns.user], counted.clipped(columns.login)
    order = by_user(user, start)
    ends = [columns.ends_first, columns.ends_last] if counted.is_uncertain.any() else [columns.ends_first]
    return _Rows(user[order], start[order], [counted.clipped(end)[order] for end in ends])


def _totals(rows: _Rows, calendar: Calendar, users: int) -> _Totals:
    days = len(calendar.days)
    totals = _Totals(*(np.zeros(shape, np.int64) for shape in ((2, users), (2, days), users, days)))
    for base, spans in _parts(rows, calendar, users):
        each = np.zeros(0, np.int64)
        for number, (pieces, day) in enumerate(spans):
            user, lengths = pieces.user - base, pieces.end - pieces.start
            of_users = sums(user, lengths, 0)
            totals.by_user[number:, base : base + len(of_users)] = of_users
            totals.by_day[number] += sums(day, lengths, days)
            each = distinct(user * days + day)
        of_users = np.bincount(each // days)
        totals.days_of_user[base : base + len(of_users)] = of_users
        totals.users_of_day[:] += np.bincount(each % days, minlength=days)
    if len(rows.ends) == 1:
        totals.by_day[1] = totals.by_day[0]
    return totals


def _parts(rows: _Rows, calendar: Calendar, users: int) -> Iterator[tuple[int, list[tuple[Spans, Ints]]]]:
    """Yield the lowest of some users, and these users' time in pieces with the day of each: at least, and at most."""
    first, last = int(calendar.runs.edges[0]), int(calendar.runs.edges[-1])
    width = last - first + 1
    for some in parts_of(rows.user, users, width):
        spans = [Spans(rows.user[some], rows.start[some], end[some]) for end in rows.ends]
        yield int(rows.user[some.start]), [by_day(union(each, first, width), calendar) for each in spans]


def _users(
    counted: Counted,
    people: Identities,
    shown: Sequence[int],
    rows: _Rows,
    calendar: Calendar,
    totals: _Totals,
    sessions: Ints,
) -> list[UserHours]:
    columns, named = counted.columns, counted.names.users
    names = last_names(named, columns.user, columns.login, people.places, shown)
    is_open = np.zeros(len(people.ids), dtype=bool)
    is_open[people.places[columns.user[counted.is_open]]] = True
    least, most = _tables(rows, calendar, shown, len(people.ids))
    return [
        UserHours(
            user_id=people.ids[place],
            user_name=names[place],
            seconds_min=_seconds(totals.by_user[0, place]),
            seconds_max=_seconds(totals.by_user[1, place]),
            sessions=int(sessions[place]),
            open=bool(is_open[place]),
            days_worked=int(totals.days_of_user[place]),
            days=[
                UserDay(date_of(calendar.days[day]), _seconds(least[row, day]), _seconds(most[row, day]))
                for day in np.flatnonzero(most[row]).tolist()
            ],
        )
        for row, place in enumerate(shown)
    ]


def _tables(rows: _Rows, calendar: Calendar, shown: Sequence[int], users: int) -> tuple[Ints, Ints]:
    """Return the microseconds of some users, a row each, by day; at least and at most."""
    row_of = np.full(users, -1)
    row_of[list(shown)] = np.arange(len(shown))
    some = np.flatnonzero(row_of[rows.user] >= 0)
    tables = np.zeros((2, len(shown), len(calendar.days)), np.int64)
    of_shown = rows._replace(user=rows.user[some], start=rows.start[some], ends=[end[some] for end in rows.ends])
    for _, spans in _parts(of_shown, calendar, users):
        for number, (pieces, day) in enumerate(spans):
            places = row_of[pieces.user] * len(calendar.days) + day
            tables[number] += sums(places, pieces.end - pieces.start, tables[0].size).reshape(tables[0].shape)
    return tables[0], tables[len(rows.ends) - 1]


def _seconds(microseconds: Any) -> float:
    return int(microseconds) / SECOND
