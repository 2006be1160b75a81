"""Pages of the two lists: rows in an order that users choose, from the place where the page before ended."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from msgspec import Struct
from psycopg import AsyncConnection

from sojourn.events.errors import UsageError
from sojourn.projections import tables
from sojourn.projections.read import (
    CURRENT_COLUMNS,
    HISTORY_COLUMNS,
    Columns,
    CurrentFilter,
    HistoryFilter,
    Rows,
    by_bytes,
    current_rows,
    ended_rows,
    statement_of,
)
from sojourn.projections.search import narrowed

LONG: Final = timedelta(days=1)  # the index session_history_long has the sessions that lasted longer
RECENT: Final = (timedelta(days=3), timedelta(days=40))  # before a place; most pages are full by then; then all

_LAST: Final = datetime.max.replace(tzinfo=UTC) - LONG

_IN_ORDER: Final = frozenset({"login_at", "client_ip"})  # of the current ones: what an index has in its order
SORTED_MAX: Final = 10_000  # by all else, in some 50 ms; a million would take seconds

ROWS_MAX: Final = 500  # of one page; who wants more goes on with a cursor, or exports

Direction = Literal["ascending", "descending"]
CurrentOrder = Literal[
    "login_at",
    "duration_seconds",
    "user_name",
    "desktop_name",
    "terminal_type",
    "client_ip",
    "access",
    "state",
    "last_seen_at",
]
HistoryOrder = Literal["logout_at", "login_at", "online_seconds", "user_name", "desktop_name"]


class Place(Struct, frozen=True, array_like=True):
    """Between two rows of a list: right after the row of `key` and `tie`, or right before it where `is_before`."""

    key: str | float | None
    tie: tuple[str, int, int, str]
    is_before: bool = False


class Page(NamedTuple):
    """Rows by column, and where the pages beside this one begin, if there are any."""

    rows: list[dict[str, Any]]
    next: Place | None
    previous: Place | None


class Unpaged(NamedTuple):
    """A list before it is paged: its rows in no order, what sorts them, and what tells equal ones apart.

    The ties are a text, two numbers and an instant.
    """

    rows: Rows
    names: Sequence[str]
    key: sa.ColumnElement[Any]
    ties: Sequence[sa.ColumnElement[Any]]
    is_falling: bool
    has_nulls: bool = False
    complete: Callable[[sa.Subquery], Rows] | None = None  # where `rows` have keys only: returns what is shown of them


class TooManyToSort(UsageError):
    """too many sessions to sort them by this; narrow them down by a filter, or sort by time"""

    def __init__(self) -> None:
        super().__init__(
            f"more than {SORTED_MAX:,} sessions are too many to sort by this; narrow them down, or sort by time"
        )


async def current_page(
    connection: AsyncConnection[Any],
    filters: CurrentFilter,
    order: CurrentOrder,
    direction: Direction,
    after: Place | None,
    rows_max: int,
) -> Page:
    """Return a page of the open sessions with `CURRENT_COLUMNS`, as the tenant's reader; may raise `TooManyToSort`."""
    c = tables.current_session.c
    is_falling = direction == "descending"
    if order == "duration_seconds":  # who came first has been there longest
        order, is_falling = "login_at", not is_falling
    keys = current_rows(filters).with_only_columns(c.session_id, c.partition, maintain_column_froms=True)
    listed = Unpaged(keys, CURRENT_COLUMNS, _sortable(c[order]), _ties(c), is_falling, complete=_completed)
    parts = [await narrowed(connection, filters, c)]
    if order not in _IN_ORDER:
        await _refuse_many(connection, keys, parts)
    return await page_of(connection, listed, after, rows_max, parts)


async def _refuse_many(
    connection: AsyncConnection[Any], rows: Rows, parts: Sequence[Sequence[sa.ColumnElement[bool]]]
) -> None:
    if await count_up_to(connection, rows, parts, SORTED_MAX + 1) > SORTED_MAX:
        raise TooManyToSort


async def count_up_to(
    connection: AsyncConnection[Any], rows: Rows, parts: Sequence[Sequence[sa.ColumnElement[bool]]], most: int
) -> int:
    """Return how many rows a list has in these parts of it, or `most`."""
    found = 0
    for part in parts:
        if found < most:
            some = rows.with_only_columns(sa.literal(1), maintain_column_froms=True).where(*part).limit(most - found)
            text, values = statement_of(sa.select(sa.func.count()).select_from(some.subquery()))
            row = await (await connection.execute(text, values)).fetchone()
            assert row is not None
            found += row[0]
    return found


def _completed(found: sa.Subquery) -> Rows:
    """Look up what is shown of the rows of a page: of all that might stand on it, that would be too much."""
    c = tables.current_session.c
    return current_rows(CurrentFilter()).where(c.session_id == found.c.session_id, c.partition == found.c.partition)


async def history_page(
    connection: AsyncConnection[Any],
    filters: HistoryFilter,
    order: HistoryOrder,
    direction: Direction,
    after: Place | None,
    rows_max: int,
) -> Page:
    """Return a page of the ended sessions with `HISTORY_COLUMNS`, as the tenant's reader; may raise `TooManyToSort`."""
    c = tables.ended_session.c
    listed = Unpaged(
        ended_rows(filters),
        HISTORY_COLUMNS,
        _sortable(c[order]),
        _ties(c),
        is_falling=direction == "descending",
        has_nulls=order != "logout_at",  # whose `established` never came has no login
    )
    narrow = await narrowed(connection, filters, c)
    parts = [[*narrow, *part] for part in ended_parts(filters)]
    if order != "logout_at":
        await _refuse_many(connection, listed.rows, parts)
    elif listed.is_falling and (after is None or not after.is_before):
        for recent in _recent(filters, after):
            page = await page_of(connection, listed, after, rows_max, [[*part, *recent] for part in parts])
            if page.next is not None:
                return page
    return await page_of(connection, listed, after, rows_max, parts)


def ended_parts(filters: HistoryFilter) -> list[list[sa.ColumnElement[bool]]]:
    """Split what lasted until a range, by whether it ended soon after: else all that came later would be looked at."""
    c = tables.ended_session.c
    since = [] if filters.from_at is None else [c.appended_at >= _month(filters.from_at)]
    if filters.to_at is None or filters.to_at > _LAST:
        return [since]
    soon = sa.literal(filters.to_at + LONG, tables.INSTANT)
    is_long = sa.literal_column("logout_at - login_at > interval '1 day'", sa.Boolean)
    begun = c.login_at < filters.to_at
    return [
        [*since, c.logout_at < soon, begun],
        [*since, c.logout_at < filters.to_at, c.login_at.is_(None)],
        [*since, c.logout_at >= soon, is_long, begun],
    ]


def _recent(filters: HistoryFilter, after: Place | None) -> Iterator[list[sa.ColumnElement[bool]]]:
    """Yield longer and longer times before a place: most pages are full with few of the months, and little to sort."""
    c = tables.ended_session.c
    places = [datetime.now(UTC)]
    if filters.to_at is not None and filters.to_at < _LAST:
        places.append(filters.to_at + LONG)
    if after is not None:
        places.append(datetime.fromisoformat(str(after.key)))
    for span in RECENT:
        since = _earlier(min(places), span)
        if filters.from_at is not None and since <= filters.from_at:
            return
        yield [c.logout_at >= since, c.appended_at >= _month(since)]


def _month(since: datetime) -> datetime:
    """Return the month of history that an end may stand in at the earliest: a logout is at most a day after its record.

    It is the whole month, which leaves the others out and is no reason to use the coarse index of append times.
    """
    return _earlier(since, timedelta(days=1)).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _earlier(instant: datetime, span: timedelta) -> datetime:
    """Return an instant before another, as far as the calendar goes."""
    return max(instant, datetime.min.replace(tzinfo=UTC) + span) - span


def _sortable(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return by_bytes(column) if isinstance(column.type, sa.Text) else column


def _ties(c: Columns) -> Sequence[sa.ColumnElement[Any]]:
    return by_bytes(c.session_id), c.partition, c.offset, c.appended_at


def ties_by(key: sa.ColumnElement[Any], at: sa.ColumnElement[Any]) -> Sequence[sa.ColumnElement[Any]]:
    """Return the ties of rows that have a key and no place in the log; `at` is an instant that does not change."""
    return by_bytes(sa.cast(key, sa.Text)), sa.literal(0), sa.literal(0), at


async def page_of(
    connection: AsyncConnection[Any],
    listed: Unpaged,
    after: Place | None,
    rows_max: int,
    parts: Sequence[Sequence[sa.ColumnElement[bool]]] = ((),),
) -> Page:
    """Return a page of a list, beginning at a place, or where the list begins; `parts` of it are looked at apart."""
    is_backward = after is not None and after.is_before
    is_falling = listed.is_falling is not is_backward
    ties = [tie.label(f"tie_{number}") for number, tie in enumerate(listed.ties)]
    query = listed.rows.add_columns(listed.key.label("key"), *ties).limit(rows_max + 1)
    if after is not None:
        query = query.where(*_beyond(listed, after, is_falling=is_falling))
    way = sa.desc if is_falling else sa.asc
    query = query.order_by(way(listed.key), *(way(tie) for tie in listed.ties))
    found: list[Any] = []
    for part in parts:
        text, values = statement_of(_shown(listed, query.where(*part)))
        found += await (await connection.execute(text, values)).fetchall()
    if len(parts) > 1 or listed.complete is not None:
        keys_from = len(listed.names)
        found.sort(key=lambda row: (row[keys_from] is None, *row[keys_from:]), reverse=is_falling)
    has_more = len(found) > rows_max
    found = found[:rows_max]
    if is_backward:
        found.reverse()
    rows = [dict(zip(listed.names, row, strict=False)) for row in found]
    places = [_place(row[len(listed.names) :]) for row in found]
    if not places:
        return Page([], None, None)
    has_next = has_more or is_backward
    has_previous = has_more if is_backward else after is not None
    return Page(rows, places[-1] if has_next else None, _before(places[0]) if has_previous else None)


def _shown(listed: Unpaged, query: Rows) -> Rows:
    if listed.complete is None:
        return query
    found = query.subquery()
    return listed.complete(found).add_columns(found.c.key, *(column for column in found.c if column.name[:4] == "tie_"))


def _place(hidden: Sequence[Any]) -> Place:
    key, name, first, second, at = hidden
    shown = key.isoformat() if isinstance(key, datetime) else key
    return Place(shown, (name, first, second, at.isoformat()))


def _before(place: Place) -> Place:
    return Place(place.key, place.tie, is_before=True)


def _beyond(listed: Unpaged, place: Place, *, is_falling: bool) -> list[sa.ColumnElement[bool]]:
    """Keep the rows behind a place; nulls stand where PostgreSQL has them, at the end of what rises."""
    name, first, second, at = place.tie
    tie = sa.tuple_(*listed.ties)
    values = sa.tuple_(sa.literal(name), sa.literal(first), sa.literal(second), _instant(at))
    behind = tie < values if is_falling else tie > values
    if place.key is None:
        if is_falling:
            return [sa.or_(listed.key.is_not(None), sa.and_(listed.key.is_(None), behind))]
        return [listed.key.is_(None), behind]
    key = _instant(str(place.key)) if isinstance(listed.key.type, sa.TIMESTAMP) else sa.literal(place.key)
    if is_falling:
        return [listed.key <= key, sa.or_(listed.key < key, behind)]
    if listed.has_nulls:
        return [sa.or_(listed.key > key, sa.and_(listed.key == key, behind), listed.key.is_(None))]
    # The first of these lets an index begin at the place, which the second does not.
    return [listed.key >= key, sa.or_(listed.key > key, behind)]


def _instant(text: str) -> sa.ColumnElement[datetime]:
    return sa.literal(datetime.fromisoformat(text), tables.INSTANT)
