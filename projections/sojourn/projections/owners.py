"""Holding a partition while its owner lives: a session advisory lock, besides the epoch that fences."""

import asyncio
import time
import zlib
from typing import Any, Final

from psycopg import AsyncConnection

from sojourn.events.errors import SojournError

_LOCK_SPACE: Final = 0x501A  # tells our advisory locks from others in the same database
_NAME_SPACE: Final = 0x501B  # and those of names from those of partitions
HOLD_SECONDS_MAX: Final = 15.0  # PostgreSQL notices within moments that a killed owner's connection is gone
_RETRY_SECONDS: Final = 0.1


class OwnedElsewhere(SojournError):
    """another process owns the partition"""


async def hold(connection: AsyncConnection[Any], partition: int) -> None:
    """Lock the partition for as long as the connection lives; holding it already is fine.

    Raises `OwnedElsewhere` with the owner's name when another process keeps it longer than `HOLD_SECONDS_MAX`.
    """
    if not await _lock_in_time(connection, _LOCK_SPACE, partition):
        query = "SELECT owner FROM sojourn.partition_owner WHERE partition = %s"
        owner = await (await connection.execute(query, (partition,))).fetchone()
        name = "unknown" if owner is None else owner[0]
        raise OwnedElsewhere(f"partition {partition} is owned by another process; stop that one first: {name}")


async def hold_name(connection: AsyncConnection[Any], name: str) -> None:
    """Hold a worker's name for as long as the connection lives; raises `OwnedElsewhere` when another worker has it.

    Two members of a Kafka group with one name would take each other's place for ever.
    """
    if not await _lock_in_time(connection, _NAME_SPACE, zlib.crc32(name.encode()) - 2**31):
        raise OwnedElsewhere(f"another worker that runs has this name; give each its own: {name!r}")


async def try_hold(connection: AsyncConnection[Any], partition: int) -> bool:
    """Lock the partition for as long as the connection lives, if nobody else has; return whether it is ours."""
    await release(connection, partition)  # a session lock counts how often it is taken
    return await _lock(connection, _LOCK_SPACE, partition)


async def release(connection: AsyncConnection[Any], partition: int) -> None:
    """Let go of the partition, if this connection holds it."""
    query = (
        "SELECT pg_advisory_unlock(%(space)s, %(partition)s) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND pid = pg_backend_pid() AND classid = %(space)s AND objid = %(partition)s AND objsubid = 2"
    )
    await connection.execute(query, {"space": _LOCK_SPACE, "partition": partition})


async def _lock_in_time(connection: AsyncConnection[Any], space: int, key: int) -> bool:
    deadline = time.monotonic() + HOLD_SECONDS_MAX
    while not await _lock(connection, space, key):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_RETRY_SECONDS)
    return True


async def _lock(connection: AsyncConnection[Any], space: int, key: int) -> bool:
    """Take a session advisory lock if nobody else has it; `key` is of 32 bits, with its sign."""
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (space, key))).fetchone()
    return row is not None and bool(row[0])


async def held(connection: AsyncConnection[Any]) -> set[int]:
    """Return the partitions that a living process holds."""
    cursor = await connection.execute(
        "SELECT objid::integer FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objsubid = 2"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (_LOCK_SPACE,),
    )
    return {row[0] async for row in cursor}
