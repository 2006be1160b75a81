"""The queries over one tenant's commands: which there are, how each stands, and every step of one."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.projections import tables
from sojourn.projections.commands import State
from sojourn.projections.read import Rows
from sojourn.projections.statements import statement

COMMAND_COLUMNS: Final = (
    "tenant",
    "command_id",
    "session_id",
    "kind",
    "state",
    "broker",
    "reason",
    "message",
    "requested_by",
    "requested_at",
    "expires_at",
    "delivered_at",
    "acknowledged_at",
    "concluded_at",
    "detail",
    "partition",
    "offset",
    "appended_at",
)


class Step(NamedTuple):
    """One event about a command, with its place in the log and what became of it."""

    event_type: str
    appended_at: datetime
    partition: int
    offset: int
    source: str
    disposition: str
    detail: str | None


class Standing(NamedTuple):
    """How a command stands."""

    command_id: str
    state: State
    concluded_at: datetime | None
    detail: str | None


def commands_query(session_id: str | None = None, state: State | None = None, command_id: str | None = None) -> Rows:
    """Return `COMMAND_COLUMNS` of the commands, the oldest first."""
    c = tables.commands.c
    wanted = {"session_id": session_id, "state": state, "command_id": command_id}
    return (
        sa.select(*(c[name] for name in COMMAND_COLUMNS))
        .where(*(c[name] == value for name, value in wanted.items() if value is not None))
        .order_by(c.requested_at, sa.collate(c.command_id, "C"))
    )


async def load_steps(connection: AsyncConnection[Any], tenant: str, command_id: str) -> list[Step]:
    """Return what moved a command, in the order of the log, as the tenant's reader."""
    return (await load_steps_of(connection, tenant, [command_id])).get(command_id, [])


async def load_steps_of(
    connection: AsyncConnection[Any], tenant: str, command_ids: Collection[str]
) -> dict[str, list[Step]]:
    """Return what moved each of these commands, as `load_steps` does; one that nothing moved is left out."""
    steps: dict[str, list[Step]] = {}
    cursor = await connection.execute(statement("load_steps"), {"tenant": tenant, "command_ids": list(command_ids)})
    for command_id, *step in await cursor.fetchall():
        steps.setdefault(command_id, []).append(Step(*step))
    return steps


async def load_standings(
    connection: AsyncConnection[Any], tenant: str, command_ids: Collection[str]
) -> dict[str, Standing]:
    """Return how these commands stand, as the tenant's reader; one that the log does not show yet is left out."""
    cursor = await connection.execute(statement("load_standings"), {"tenant": tenant, "command_ids": list(command_ids)})
    return {row[0]: Standing(*row) for row in await cursor.fetchall()}
