"""How many rows a list has, without looking at all of them."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.projections import tables
from sojourn.projections.listing import count_up_to, ended_parts
from sojourn.projections.read import (
    STATES,
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
    parts: Sequence[Sequence[sa.ColumnElement[bool]]] = [[]]
    if not isinstance(filters, CurrentFilter):
        c, rows, parts = tables.ended_session.c, ended_rows(filters), ended_parts(filters)
    elif filters == CurrentFilter(state=filters.state, broker=filters.broker):
        return await _counted(connection, filters)
    else:
        c, rows = tables.current_session.c, current_rows(filters)
    narrow = await narrowed(connection, filters, c)
    if not narrow and not (filters.user is None and filters.desktop is None and filters.search is None):
        return await _among_newest(connection, filters)
    found = await count_up_to(connection, rows, [[*narrow, *part] for part in parts], MATCHING_MAX + 1)
    return Matching(min(found, MATCHING_MAX), found > MATCHING_MAX)


async def _counted(connection: AsyncConnection[Any], filters: CurrentFilter) -> Matching:
    """Return what the projector has counted."""
    c = tables.current_count.c
    rows = sa.select(sa.cast(sa.func.coalesce(sa.func.sum(c.sessions), 0), sa.BigInteger))
    for column, wanted in ((c.state, filters.state), (c.broker, filters.broker)):
        rows = rows if wanted is None else rows.where(column == wanted)
    (count,) = await _one(connection, rows)
    return Matching(count, is_more=False)


async def _among_newest(connection: AsyncConnection[Any], filters: CurrentFilter | HistoryFilter) -> Matching:
    within: list[sa.ColumnElement[bool]] = []
    if isinstance(filters, CurrentFilter):
        c, key = tables.current_session.c, tables.current_session.c.login_at
        conditions = current_conditions(c, filters)
    else:
        c, key = tables.ended_session.c, tables.ended_session.c.logout_at
        conditions, within = history_conditions(c, filters), [*ended_since(c, filters)]
    newest = sa.select(sa.and_(sa.true(), *conditions).label("matches")).where(*within)
    looked_at = newest.order_by(key.desc()).limit(LOOKED_AT_MAX + 1).subquery()
    counts = sa.select(sa.func.count().filter(looked_at.c.matches), sa.func.count())
    found, looked = await _one(connection, counts.select_from(looked_at))
    return Matching(found, looked > LOOKED_AT_MAX)


async def _one(connection: AsyncConnection[Any], query: Rows) -> Any:
    text, values = statement_of(query)
    return await (await connection.execute(text, values)).fetchone()
