"""Places of the lifecycle log against what was applied from them, and moving a position where the two part."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from sojourn.events.errors import SojournError
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.statements import statement
from sojourn.projections.store import Position, as_projector


class PositionMoved(SojournError):
    """the position is no longer where it was found"""


class Place(NamedTuple):
    """Where a record stands in its partition, and the tenant it names, if any."""

    offset: int
    appended_at: datetime
    tenant: str | None


async def lifecycle_position(connection: AsyncConnection[Any], partition: int) -> Position | None:
    """Return how far a partition is applied, without owning it; None when it never was."""
    async with as_projector(connection):
        cursor = await connection.execute(statement("read_position"), {"topic": LIFECYCLE, "partition": partition})
        row = await cursor.fetchone()
    return None if row is None else Position(*row)


async def applied(connection: AsyncConnection[Any], partition: int, places: Collection[Place]) -> set[int]:
    """Return the offsets of those lifecycle records that were applied or kept as dead letters."""
    async with as_projector(connection):
        cursor = await connection.execute(
            statement("find_applied"),
            {
                "topic": LIFECYCLE,
                "partition": partition,
                "offsets": [place.offset for place in places],
                "times": [place.appended_at for place in places],
                "tenants": [place.tenant for place in places],
            },
        )
        return {row[0] async for row in cursor}


async def count_applied(connection: AsyncConnection[Any], partition: int, start: int, end: int) -> int:
    """Return how many lifecycle records between two offsets were applied or kept as dead letters."""
    async with as_projector(connection):
        cursor = await connection.execute(
            statement("count_applied"), {"topic": LIFECYCLE, "partition": partition, "start": start, "end": end}
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def move_position(
    connection: AsyncConnection[Any], partition: int, found: Position, next_offset: int, owner: str
) -> None:
    """Take a partition from its owner and move its lifecycle position, in one transaction.

    Raises `PositionMoved`, and changes nothing, when the position is no longer the one that was `found`.
    """
    async with as_projector(connection):
        # In the order in which owners lock these rows.
        cursor = await connection.execute(statement("acquire_owner"), {"partition": partition, "owner": owner})
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute(statement("fence"), {"partition": partition, "epoch": row[0]})
        cursor = await connection.execute(
            statement("move_position"),
            {
                "topic": LIFECYCLE,
                "partition": partition,
                "found_offset": found.next_offset,
                "record_offset": found.record_offset,
                "record_appended_at": found.record_appended_at,
                "next_offset": next_offset,
            },
        )
        if cursor.rowcount != 1:
            raise PositionMoved(f"the position of {LIFECYCLE}, partition {partition}, moved meanwhile; look again")


async def known_partitions(connection: AsyncConnection[Any]) -> int:
    """Return how many lifecycle partitions have a position, 0 before the first start."""
    async with as_projector(connection):
        cursor = await connection.execute("SELECT count(*) FROM position WHERE topic = %s", (LIFECYCLE,))
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def begin_positions(connection: AsyncConnection[Any], starts: Mapping[str, Mapping[int, int]]) -> None:
    """Give every partition of each topic its first position; harmless when another process did so."""
    async with as_projector(connection):
        for topic, offsets in starts.items():
            await connection.execute(
                statement("begin_positions"),
                {"topic": topic, "partitions": list(offsets), "offsets": list(offsets.values())},
            )
