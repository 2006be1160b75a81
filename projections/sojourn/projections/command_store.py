"""The projector's side of commands: reading those that a batch touches, writing what it changes."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import structs
from psycopg import AsyncConnection

from sojourn.projections.commands import Command, CommandKey
from sojourn.projections.statements import statement
from sojourn.projections.store import as_projector

_SEPARATOR = "\x1f"  # ids hold no control characters


class Pending(NamedTuple):
    """A command that nothing has concluded yet."""

    tenant: str
    command_id: str
    session_id: str
    expires_at: datetime


async def load_commands(
    connection: AsyncConnection[Any], partition: int, keys: Collection[CommandKey]
) -> dict[CommandKey, Command]:
    """Return the states of those `keys` that the partition knows."""
    async with as_projector(connection):
        cursor = await connection.execute(
            statement("load_commands"),
            {
                "tenants": _SEPARATOR.join(key[0] for key in keys),
                "command_ids": _SEPARATOR.join(key[1] for key in keys),
                "partition": partition,
            },
        )
        return {(row[0], row[1]): Command(*row[2:]) async for row in cursor}


async def load_pending(connection: AsyncConnection[Any], partition: int) -> list[Pending]:
    """Return the commands of a partition that nothing has concluded yet."""
    async with as_projector(connection):
        rows = await connection.execute(statement("load_pending"), {"partition": partition})
        return [Pending(*row) async for row in rows]


async def apply_commands(connection: AsyncConnection[Any], commands: Mapping[CommandKey, Command]) -> None:
    """Write commands as they are now, within the caller's transaction and after its fence."""
    for (tenant, command_id), command in commands.items():
        values = structs.asdict(command) | {"tenant": tenant, "command_id": command_id}
        await connection.execute(statement("apply_command"), values)
