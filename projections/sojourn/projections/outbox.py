"""What is to be appended to the log, kept in the transaction that decides it until the log has it."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from sojourn.events.topics import LIFECYCLE
from sojourn.projections.statements import statement
from sojourn.projections.store import Fenced, Owned, as_projector

ANY_EPOCH = 0  # of rows that no owner decided: requests of operators, which every owner may append


class Outgoing(NamedTuple):
    """What goes to the partition of a topic that belongs to the owner's partition."""

    topic: str
    key: bytes | None
    value: bytes


class Waiting(NamedTuple):
    """A row of the outbox; `epoch` is that of the owner who decided it, or `ANY_EPOCH`."""

    outbox_id: int
    topic: str
    epoch: int
    key: bytes | None
    value: bytes


async def stage_outgoing(connection: AsyncConnection[Any], outgoing: Sequence[Outgoing]) -> None:
    """Copy what is to be appended into a temporary table, within the caller's transaction and before its fence."""
    if outgoing:
        async with (
            connection.cursor() as cursor,
            cursor.copy("COPY stage_outbox (topic, key, value) FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.set_types(("text", "bytea", "bytea"))
            for one in outgoing:
                await copy.write_row(one)


async def apply_outgoing(connection: AsyncConnection[Any], owned: Owned, outgoing: Sequence[Outgoing]) -> None:
    """Put what was staged into the outbox, in the same transaction."""
    if outgoing:
        place = {"partition": owned.partition, "epoch": owned.epoch}
        await connection.execute(statement("apply_outbox"), place)


async def check_owner(connection: AsyncConnection[Any], owned: Owned) -> None:
    """Raise `Fenced` unless this epoch owns the partition until the end of the transaction."""
    place = {"partition": owned.partition, "topic": LIFECYCLE, "epoch": owned.epoch}
    cursor = await connection.execute(statement("check_epoch"), place)
    if cursor.rowcount != 1:
        raise Fenced(f"another process took over {LIFECYCLE}, partition {owned.partition}, from epoch {owned.epoch}")


async def put_outgoing(connection: AsyncConnection[Any], owned: Owned, outgoing: Sequence[Outgoing]) -> None:
    """Put decisions into the outbox in a transaction of their own; raises `Fenced`."""
    async with as_projector(connection):
        await stage_outgoing(connection, outgoing)
        await check_owner(connection, owned)
        await apply_outgoing(connection, owned, outgoing)


async def load_outbox(connection: AsyncConnection[Any], owned: Owned, rows_max: int) -> list[Waiting]:
    """Return what waits for a partition, the oldest first; raises `Fenced`."""
    async with as_projector(connection):
        await check_owner(connection, owned)
        rows = await connection.execute(statement("load_outbox"), {"partition": owned.partition, "rows": rows_max})
        return [Waiting(*row) async for row in rows]


async def delete_outbox(connection: AsyncConnection[Any], owned: Owned, ids: Collection[int]) -> None:
    """Forget rows that have been appended or dropped; raises `Fenced`, and then the next owner sees to them."""
    async with as_projector(connection):
        await check_owner(connection, owned)
        await connection.execute(statement("delete_outbox"), {"ids": list(ids)})


async def waiting_partitions(connection: AsyncConnection[Any]) -> set[int]:
    """Return the partitions for which something waits."""
    async with as_projector(connection):
        rows = await connection.execute(statement("waiting_partitions"))
        return {partition async for (partition,) in rows}
