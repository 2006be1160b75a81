"""The sessions of a snapshot as columns, most of them kept from one answer to the next."""

import asyncio
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection

from sojourn.events.errors import UsageError
from sojourn.projections.statements import statement
from sojourn.projections.statistics.columns import EMPTY, Columns, Names, by_login, joined, without
from sojourn.projections.statistics.instants import BEGINNING, DAY, HOUR, instant_of, micros

ROWS_MAX: Final = 10_000_000  # of all tenants: 44 bytes each, half a gigabyte with the names
RECENT_ROWS_MAX: Final = 20_000  # read anew for each answer in 20 ms
OPEN_ROWS_MAX: Final = 250_000  # of one statement: some 25 MB

_BLOCK: Final = 7 * DAY  # what one statement reads: 10 MB of a tenant with five million sessions a year
_MARGIN: Final = HOUR  # by how far the log's clock may be set back and nothing be missed
_AHEAD: Final = DAY  # a logout is never later than this after its record; docs/contract.md
_LATER: Final = timedelta(days=36_525)


class Snapshot(NamedTuple):
    """The ended and the open sessions of one tenant at one instant, and what their numbers stand for."""

    as_of: int
    ended: Columns
    open: Columns
    names: Names


class _Kept(NamedTuple):
    """The ended sessions whose records were appended from `start` on and before `sealed`, as known then.

    Nothing can be added to them, and what is corrected is so by a later record.
    """

    generation: str
    start: int
    sealed: int
    columns: Columns
    names: Names


class StatisticsCache:
    """Keeps columns of the tenants that were asked about last; one for each process and database.

    What the snapshot of a transaction adds is read each time, so answers are as fresh as without it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, connection: AsyncConnection[Any], since: int) -> Snapshot:
        """Return the open sessions, and the ended ones that may have lasted until `since`; inside `as_reader`.

        Raises `UsageError` for more sessions than memory is meant to hold.
        """
        cursor = await connection.execute(statement("statistics_begin"))
        row = await cursor.fetchone()
        assert row is not None
        tenant, as_of, generation, first_seen_at, complete_to = row
        start = max(since - _AHEAD, 0)
        sealable = start if complete_to is None else max(start, micros(complete_to) - _MARGIN)
        async with self._locks[tenant]:
            kept = self._kept.pop(tenant, None)
            if kept is None or kept.generation != generation or start < kept.start or sealable < kept.sealed:
                kept = _Kept(generation, start, start, EMPTY, Names())
                kept = await self._seal(connection, kept, sealable, micros(first_seen_at))
            recent = await _read(connection, kept.names, "statistics_ended", _span(kept.sealed))
            if recent.rows > RECENT_ROWS_MAX and sealable > kept.sealed:
                kept = await self._seal(connection, kept, sealable, 0)
                recent = await _read(connection, kept.names, "statistics_ended", _span(kept.sealed))
            removed = await _superseded(connection, kept, _span(kept.sealed))
            still_open = await _open(connection, kept.names)
            self._keep(tenant, kept)
        ended = await asyncio.to_thread(without, joined([kept.columns, recent]), removed)
        return Snapshot(micros(as_of), ended, still_open, kept.names)

    async def _seal(self, connection: AsyncConnection[Any], kept: _Kept, until: int, first: int) -> _Kept:
        """Keep what was appended before `until` too; nothing was appended before `first`, but that is looked at."""
        parts = [kept.columns]
        edges = [kept.sealed, *range(max(first, kept.sealed) + _BLOCK, until, _BLOCK), until]
        for since, before in pairwise(edges):
            parts.append(await _read(connection, kept.names, "statistics_ended", _span(since, before)))
            if sum(part.rows for part in parts) > ROWS_MAX:
                raise UsageError(f"statistics are made of at most {ROWS_MAX} sessions; name a later start of the range")
        removed = await _superseded(connection, kept, _span(kept.sealed, until))
        columns = await asyncio.to_thread(lambda: by_login(without(joined(parts), removed)))
        return kept._replace(sealed=until, columns=columns)

    def _keep(self, tenant: str, kept: _Kept) -> None:
        self._kept[tenant] = kept
        while sum(each.columns.rows for each in self._kept.values()) > ROWS_MAX and len(self._kept) > 1:
            self._kept.pop(next(iter(self._kept)))


def _span(since: int, until: int | None = None) -> dict[str, Any]:
    """Return the parameters of what was appended in a span; without an end it takes in all there is."""
    return {"since": instant_of(since), "until": BEGINNING + _LATER if until is None else instant_of(until)}


async def _superseded(connection: AsyncConnection[Any], kept: _Kept, span: dict[str, Any]) -> Columns:
    return await _read(connection, kept.names, "statistics_superseded", {"start": instant_of(kept.start), **span})


async def _open(connection: AsyncConnection[Any], names: Names) -> Columns:
    parts: list[Columns] = []
    after = -1
    while True:
        values = {"after": instant_of(after), "rows": OPEN_ROWS_MAX}
        parts.append(await _read(connection, names, "statistics_open", values))
        if parts[-1].rows < OPEN_ROWS_MAX:
            return joined(parts)
        after = int(parts[-1].login.max())


async def _read(connection: AsyncConnection[Any], names: Names, rows: str, values: dict[str, Any]) -> Columns:
    """Return the sessions that the statement `rows` selects."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute("WITH session AS (" + statement(rows) + ") " + statement("statistics_columns"), values)
        sent = await cursor.fetchone()
    assert sent is not None
    return await asyncio.to_thread(names.decode, sent)
