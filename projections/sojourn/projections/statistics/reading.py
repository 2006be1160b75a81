"""The rows of a tenant as columns, read from the history and the live list of one snapshot."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection

from sojourn.projections.statements import statement
from sojourn.projections.statistics.columns import Columns, Names, appended_of, joined
from sojourn.projections.statistics.instants import BEGINNING, HOUR, Ints, instant_of, micros

OPEN_ROWS_MAX: Final = 250_000  # of one statement: some 25 MB

_MARGIN: Final = HOUR  # by how far the log's clock may be set back and nothing be missed; as in sql/apply_stage.sql
_LATER: Final = BEGINNING + timedelta(days=36_525)


class Begun(NamedTuple):
    """Whose snapshot this is and of when.

    The history of before `sealable`, read by a `generation` of tables, is known whole, unless `late` says otherwise
    in a later snapshot. None of it was appended before `first_seen`.
    """

    tenant: str
    as_of: int
    generation: str
    late: int
    first_seen: int
    sealable: int


async def begin(connection: AsyncConnection[Any]) -> Begun:
    """Return what the snapshot of a transaction is of; inside `as_reader`."""
    cursor = await connection.execute(statement("statistics_begin"))
    row = await cursor.fetchone()
    assert row is not None
    tenant, as_of, generation, late, first_seen_at, complete_to = row
    sealable = 0 if complete_to is None else micros(complete_to) - _MARGIN
    return Begun(tenant, micros(as_of), generation, late, micros(first_seen_at), sealable)


async def ended(connection: AsyncConnection[Any], names: Names, since: int, until: int | None = None) -> Columns:
    """Return the ended revisions that were appended in a span of time, to no end unless one is named."""
    return await _columns(connection, names, "statistics_ended", _span(since, until))


async def superseded(
    connection: AsyncConnection[Any], names: Names, start: int, since: int, until: int | None = None
) -> tuple[Columns, Ints]:
    """Return the revisions that records of a span corrected, with when they were appended: from `start` on."""
    sent = await _sent(connection, "statistics_superseded", {"start": instant_of(start), **_span(since, until)})
    return names.decode(sent), appended_of(sent)


async def still_open(connection: AsyncConnection[Any], names: Names) -> Columns:
    """Return the open sessions."""
    parts: list[Columns] = []
    after = -1
    while True:
        values = {"after": instant_of(after), "rows": OPEN_ROWS_MAX}
        parts.append(await _columns(connection, names, "statistics_open", values))
        if parts[-1].rows < OPEN_ROWS_MAX:
            return joined(parts)
        after = int(parts[-1].login.max())


def _span(since: int, until: int | None) -> dict[str, datetime]:
    return {"since": instant_of(since), "until": _LATER if until is None else instant_of(until)}


async def _columns(connection: AsyncConnection[Any], names: Names, rows: str, values: dict[str, Any]) -> Columns:
    return await asyncio.to_thread(names.decode, await _sent(connection, rows, values))


async def _sent(connection: AsyncConnection[Any], rows: str, values: dict[str, Any]) -> Sequence[Any]:
    """Return the sessions that the statement `rows` selects, as sql/statistics_columns.sql has them."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute("WITH session AS (" + statement(rows) + ") " + statement("statistics_columns"), values)
        sent: Sequence[Any] | None = await cursor.fetchone()
    assert sent is not None
    return sent
