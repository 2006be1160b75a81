"""The projector's side of brokers: what each partition knows of their signs of life."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from sojourn.events.fields import CommandKind
from sojourn.projections.statements import statement
from sojourn.projections.store import as_projector


class BrokerRow(NamedTuple):
    """What a partition's heartbeats tell of a broker; `skew_seconds` is by how much its clock is ahead of the log's."""

    source: str
    last_event_at: datetime | None = None
    last_appended_at: datetime | None = None
    last_alive_at: datetime | None = None
    skew_seconds: float | None = None
    alive_interval_seconds: int | None = None
    commands: list[CommandKind] | None = None
    misrouted_at: datetime | None = None


async def load_brokers(connection: AsyncConnection[Any], partition: int) -> list[BrokerRow]:
    """Return the brokers that a partition knows."""
    async with as_projector(connection):
        rows = await connection.execute(statement("load_brokers"), {"partition": partition})
        return [BrokerRow(*row) async for row in rows]


async def apply_brokers(connection: AsyncConnection[Any], rows: Iterable[BrokerRow], partition: int) -> None:
    """Write what changed, within the caller's transaction and after its fence."""
    for row in rows:
        await connection.execute(statement("apply_broker"), row._asdict() | {"partition": partition})


async def misrouting(connection: AsyncConnection[Any], since: datetime) -> set[str]:
    """Return the brokers whose heartbeats came to another partition than their sessions, in any partition."""
    async with as_projector(connection):
        rows = await connection.execute(statement("load_misrouting"), {"since": since})
        return {source async for (source,) in rows}
