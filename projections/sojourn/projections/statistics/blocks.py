"""Columns of the history that are kept in the database, by quarters of months: docs/why.md, "Statistics"."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import SerializationFailure

from sojourn.projections.statements import statement
from sojourn.projections.statistics.columns import Names, by_login, joined, without
from sojourn.projections.statistics.instants import DAY, instant_of, micros
from sojourn.projections.statistics.packed import Packed, pack, unpack
from sojourn.projections.statistics.reading import begin, ended, superseded

_READ_BLOCKS: Final = 4  # at once: some 6 MB of a tenant with five million sessions a year
_PART: Final = DAY  # what one statement reads of the history


class Block(NamedTuple):
    """What was appended in [start, end): the revisions that were added, and those of before that were corrected."""

    start: int
    end: int
    added: Packed
    removed: Packed


def block_start(at: int) -> int:
    """Return where the block begins that an instant lies in."""
    instant = instant_of(at)
    day = max(first for first in (1, 8, 15, 22) if first <= instant.day)
    return micros(instant.replace(day=day, hour=0, minute=0, second=0, microsecond=0))


async def read_blocks(connection: AsyncConnection[Any], start: int, until: int) -> AsyncIterator[Block]:
    """Yield the blocks of a span in their order, which says nothing of what lies between them; inside `as_reader`."""
    async with connection.cursor(name="sojourn_blocks", binary=True) as cursor:
        cursor.itersize = _READ_BLOCKS
        await cursor.execute(statement("statistics_blocks"), {"start": instant_of(start), "until": instant_of(until)})
        async for starts_at, ends_at, added, removed in cursor:
            parts = await asyncio.to_thread(lambda sent: [unpack(each) for each in sent], (added, removed))
            yield Block(micros(starts_at), micros(ends_at), *parts)


async def write_block(connection: AsyncConnection[Any], tenant: str) -> bool:
    """Keep the newest columns that are not; return False when there are none, or another process keeps them.

    It is one transaction, of one snapshot, in the rights of the console.
    """
    try:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await connection.execute("SET LOCAL ROLE sojourn_console; SET LOCAL search_path = sojourn")
            await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [tenant])
            await connection.execute("SET LOCAL TimeZone = 'UTC'")
            return await _write(connection)
    except SerializationFailure:
        return False


async def _write(connection: AsyncConnection[Any]) -> bool:
    until = instant_of((await begin(connection)).sealable)
    due = await (await connection.execute(statement("statistics_due"), {"until": until})).fetchone()
    if due is None:
        return False
    start, end = map(micros, due)
    names = Names()
    parts = [await ended(connection, names, at, min(at + _PART, end)) for at in range(start, end, _PART)]
    corrected, appended = await superseded(connection, names, 0, start, end)
    own = appended >= start

    def packed() -> tuple[bytes, bytes]:
        added = by_login(without(joined(parts), corrected.where(own)))
        return pack(added, names), pack(corrected.where(~own), names, appended[~own])

    added, removed = await asyncio.to_thread(packed)
    values = {"since": due[0], "until": due[1], "added": added, "removed": removed}
    await connection.execute(statement("write_statistics_block"), values)
    return True
