"""How many rows a list has, without looking at all of them."""

from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.projections import tables
from sojourn.projections.read import (
    Columns,
    CurrentFilter,
    HistoryFilter,
    Rows,
    current_conditions,
    current_rows,
    ended_rows,
    ended_since,
    history_conditions,
    statement_of,
)
from sojourn.projections.search import narrowed
from sojourn.projections.statements import statement

MATCHING_MAX: Final = 2000  # counted of a search; nobody reads further, and an export counts all
LOOKED_AT_MAX: Final = 5000  # of a list with another filter, in some 10 ms

STATES: Final = ("active", "lost", "unconfirmed")


class Matching(NamedTuple):
    """How many rows match; at least these where `is_more`."""

    rows: int
    is_more: bool


async def current_counts(connection: AsyncConnection[Any]) -> dict[str, int]:
    """Return how many sessions are open in each of `STATES`, as the tenant's reader."""
    cursor = await connection.execute(statement("count_current"))
    found = dict(await cursor.fetchall())
    return {state: found.get(state, 0) for state in STATES}


async def matching(connection: AsyncConnection[Any], filters: CurrentFilter | HistoryFilter) -> Matching:
    """Count the rows of a list with a filter, as the tenant's reader, as far as that is cheap.

    Where an index finds them it goes up to `MATCHING_MAX`, else through the `LOOKED_AT_MAX` newest rows.
    """
    view = tables.current_session if isinstance(filters, CurrentFilter) else tables.ended_session
    narrow = await narrowed(connection, filters, view.c)
    if narrow:
        rows = current_rows(filters) if isinstance(filters, CurrentFilter) else ended_rows(filters)
        some = rows.with_only_columns(sa.literal(1), maintain_column_froms=True).where(*narrow).limit(MATCHING_MAX + 1)
        (count,) = await _one(connection, sa.select(sa.func.count()).select_from(some.subquery()))
        return Matching(min(count, MATCHING_MAX), count > MATCHING_MAX)
    if isinstance(filters, CurrentFilter):
        looked_at = _newest(view.c, view.c.login_at)
        conditions = current_conditions(looked_at.c, filters)
    else:
        looked_at = _newest(view.c, view.c.logout_at, *ended_since(view.c, filters))
        conditions = history_conditions(looked_at.c, filters)
    counts = sa.select(sa.func.count().filter(sa.and_(sa.true(), *conditions)), sa.func.count())
    found, looked = await _one(connection, counts.select_from(looked_at))
    return Matching(found, looked > LOOKED_AT_MAX)


def _newest(c: Columns, key: sa.Column[Any], *within: sa.ColumnElement[bool]) -> sa.Subquery:
    return sa.select(*c).where(*within).order_by(key.desc()).limit(LOOKED_AT_MAX + 1).subquery()


async def _one(connection: AsyncConnection[Any], query: Rows) -> Any:
    text, values = statement_of(query)
    return await (await connection.execute(text, values)).fetchone()
