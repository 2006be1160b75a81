"""Holding a partition while its owner lives: a session advisory lock, besides the epoch that fences."""

import asyncio
import time
from typing import Any, Final

from psycopg import AsyncConnection

from sojourn.events.errors import SojournError

_LOCK_SPACE: Final = 0x501A  # tells our advisory locks from others in the same database
HOLD_SECONDS_MAX: Final = 15.0  # PostgreSQL notices within moments that a killed owner's connection is gone
_RETRY_SECONDS: Final = 0.1


class OwnedElsewhere(SojournError):
    """another process owns the partition"""


async def hold(connection: AsyncConnection[Any], partition: int) -> None:
    """Lock the partition for as long as the connection lives; holding it already is fine.

    Raises `OwnedElsewhere` with the owner's name when another process keeps it longer than `HOLD_SECONDS_MAX`.
    """
    deadline = time.monotonic() + HOLD_SECONDS_MAX
    while True:
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_LOCK_SPACE, partition))
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            query = "SELECT owner FROM sojourn.partition_owner WHERE partition = %s"
            cursor = await connection.execute(query, (partition,))
            owner = await cursor.fetchone()
            name = "unknown" if owner is None else owner[0]
            raise OwnedElsewhere(f"partition {partition} is owned by another process; stop that one first: {name}")
        await asyncio.sleep(_RETRY_SECONDS)


async def held(connection: AsyncConnection[Any]) -> set[int]:
    """Return the partitions that a living process holds."""
    cursor = await connection.execute(
        "SELECT objid::integer FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objsubid = 2"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (_LOCK_SPACE,),
    )
    return {row[0] async for row in cursor}
