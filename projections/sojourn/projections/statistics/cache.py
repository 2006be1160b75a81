"""The sessions of a snapshot as columns, most of them kept from one answer to the next."""

import asyncio
from itertools import pairwise
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import pyarrow as pa
from psycopg import AsyncConnection

from sojourn.events.errors import UsageError
from sojourn.projections.statistics import reading
from sojourn.projections.statistics.blocks import Block, block_start, read_blocks
from sojourn.projections.statistics.columns import EMPTY, Columns, Names, by_login, joined, without
from sojourn.projections.statistics.instants import DAY
from sojourn.projections.statistics.reading import Begun

ROWS_MAX: Final = 10_000_000  # of all tenants: 48 bytes each, half a gigabyte with the names
RECENT_ROWS_MAX: Final = 20_000  # read anew for each answer in 20 ms

_PART: Final = 7 * DAY  # what one statement reads: 10 MB of a tenant with five million sessions a year
_AHEAD: Final = DAY  # a logout is never later than this after its record; docs/contract.md


class Snapshot(NamedTuple):
    """The ended and the open sessions of one tenant at one instant, and what their numbers stand for."""

    as_of: int
    ended: Columns
    open: Columns
    names: Names


class _Kept(NamedTuple):
    """The ended sessions whose records were appended from `start` on and before `sealed`, as known then.

    Nothing can be added to them while `late` stays as it is, and what is corrected is so by a later record.
    """

    generation: str
    late: int
    start: int
    sealed: int
    columns: Columns
    names: Names

    def serves(self, begun: Begun, start: int) -> bool:
        """Tell whether a snapshot holds all of it, and nothing besides from `start` on to where it ends."""
        is_same = (self.generation, self.late) == (begun.generation, begun.late)
        return is_same and self.start <= start and self.sealed <= max(start, begun.sealable)


class StatisticsCache:
    """Keeps columns of the tenants that were asked about last; one for each process and database.

    What the snapshot of a transaction adds is read each time, so answers are as fresh as without it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        # A lock is there as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loading = asyncio.Lock()  # one tenant at a time: it takes twice the memory of what is kept, beside that

    async def read(self, connection: AsyncConnection[Any], since: int) -> Snapshot:
        """Return the open sessions, and the ended ones that may have lasted until `since`; inside `as_reader`.

        Raises `UsageError` for more sessions than memory is meant to hold.
        """
        begun = await reading.begin(connection)
        start = block_start(max(since - _AHEAD, 0))
        async with self._locks.setdefault(begun.tenant, asyncio.Lock()):
            kept = self._kept.pop(begun.tenant, None)
            if kept is None or not kept.serves(begun, start):
                async with self._loading:
                    kept = await _loaded(connection, begun, start)
            recent = await reading.ended(connection, kept.names, kept.sealed)
            if recent.rows > RECENT_ROWS_MAX and begun.sealable > kept.sealed:
                kept = await _extended(connection, kept, begun.sealable)
                recent = await reading.ended(connection, kept.names, kept.sealed)
            removed, _ = await reading.superseded(connection, kept.names, kept.start, kept.sealed)
            still_open = await reading.still_open(connection, kept.names)
            self._keep(begun.tenant, kept)
        ended = await asyncio.to_thread(without, joined([kept.columns, recent]), removed)
        return Snapshot(begun.as_of, ended, still_open, kept.names)

    def _keep(self, tenant: str, kept: _Kept) -> None:
        self._kept[tenant] = kept
        while sum(each.columns.rows for each in self._kept.values()) > ROWS_MAX and len(self._kept) > 1:
            self._kept.pop(next(iter(self._kept)))


async def _loaded(connection: AsyncConnection[Any], begun: Begun, start: int) -> _Kept:
    """Keep what was appended from `start` on: from blocks, and from rows where there are none."""
    kept = _Kept(begun.generation, begun.late, start, max(start, begun.sealable), EMPTY, Names())
    blocks: list[Block] = []
    async for block in read_blocks(connection, start, kept.sealed):
        blocks.append(block)
        _refuse_more(sum(each.added.columns.rows for each in blocks))
    parts, removed = await asyncio.to_thread(_of_blocks, blocks, kept)
    gaps = zip(
        [start, *(block.end for block in blocks)], [*(block.start for block in blocks), kept.sealed], strict=True
    )
    del blocks
    for since, until in gaps:
        if since < until:
            parts.append(await _read(connection, kept, since, until, begun.first_seen))
            _refuse_more(sum(part.rows for part in parts))
            removed.append((await reading.superseded(connection, kept.names, start, since, until))[0])
    columns = await asyncio.to_thread(lambda: by_login(without(joined(parts), joined(removed))))
    pa.default_memory_pool().release_unused()  # a hundred megabytes that blocks were unpacked in
    return kept._replace(columns=columns)


def _of_blocks(blocks: list[Block], kept: _Kept) -> tuple[list[Columns], list[Columns]]:
    """Return what blocks add and remove, but for corrections of what is older than what is kept."""
    packed = [each for block in blocks for each in (block.added, block.removed)]
    parts = kept.names.take([each.columns for each in packed], [each.texts for each in packed])
    removed = zip(parts[1::2], packed[1::2], strict=True)
    return parts[::2], [part.where(each.appended >= kept.start) for part, each in removed]


async def _extended(connection: AsyncConnection[Any], kept: _Kept, until: int) -> _Kept:
    """Keep what was appended before `until` too."""
    part = await _read(connection, kept, kept.sealed, until, 0)
    _refuse_more(kept.columns.rows + part.rows)
    removed, _ = await reading.superseded(connection, kept.names, kept.start, kept.sealed, until)
    columns = await asyncio.to_thread(lambda: by_login(without(joined([kept.columns, part]), removed)))
    return kept._replace(sealed=until, columns=columns)


async def _read(connection: AsyncConnection[Any], kept: _Kept, since: int, until: int, first: int) -> Columns:
    """Return the rows of a span; nothing was appended before `first`, but that is looked at."""
    parts: list[Columns] = []
    for low, high in pairwise([since, *range(max(first, since) + _PART, until, _PART), until]):
        parts.append(await reading.ended(connection, kept.names, low, high))
        _refuse_more(sum(part.rows for part in parts))
    return joined(parts)


def _refuse_more(rows: int) -> None:
    if rows > ROWS_MAX:
        raise UsageError(f"statistics are made of at most {ROWS_MAX} sessions; name a later start of the range")
