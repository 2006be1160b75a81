"""The projector's side of liveness: slots, pages of last-seen seconds, and what else heartbeats bring."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from sojourn.projections.facts import Key
from sojourn.projections.session import Loss, unpack
from sojourn.projections.statements import statement
from sojourn.projections.store import as_projector


class Detail(NamedTuple):
    """What the newest heartbeat of a session said beside that it lives."""

    client_ip: str | None
    idle_seconds: int | None
    round_trip_ms: int | None
    appended_at: datetime

    def after(self, earlier: "Detail | None") -> "Detail":
        """Return this with what it leaves out taken from an earlier one."""
        if earlier is None:
            return self
        return Detail(
            self.client_ip or earlier.client_ip,
            earlier.idle_seconds if self.idle_seconds is None else self.idle_seconds,
            earlier.round_trip_ms if self.round_trip_ms is None else self.round_trip_ms,
            self.appended_at,
        )


class OpenSession(NamedTuple):
    """An open session of a partition, with the append time of its `established`; `loss` is the newest, if any."""

    key: Key
    slot: int
    broker: str
    established_at: datetime
    loss: Loss | None


async def load_liveness(connection: AsyncConnection[Any], partition: int) -> tuple[list[OpenSession], dict[int, bytes]]:
    """Return the open sessions of a partition, and its pages."""
    async with as_projector(connection):
        rows = await connection.execute(statement("load_slots"), {"partition": partition})
        sessions = [
            OpenSession(
                (tenant, session_id), slot, broker, established_at, None if memory is None else unpack(memory).loss
            )
            async for tenant, session_id, slot, broker, established_at, memory in rows
        ]
        pages = await connection.execute(statement("load_pages"), {"partition": partition}, binary=True)
        return sessions, {page: seen async for page, seen in pages}


async def stage_liveness(
    connection: AsyncConnection[Any], pages: Sequence[tuple[int, bytes]], details: Mapping[Key, Detail], partition: int
) -> None:
    """Copy changed pages and details into temporary tables, within the caller's transaction and before its fence."""
    async with connection.cursor() as cursor:
        if pages:
            async with cursor.copy("COPY stage_page FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(("int4", "int4", "bytea"))
                for page, seen in pages:
                    await copy.write_row((partition, page, seen))
        if details:
            async with cursor.copy("COPY stage_detail FROM STDIN") as copy:
                for key, detail in details.items():
                    await copy.write_row(key + detail)


async def apply_liveness(
    connection: AsyncConnection[Any], pages: Sequence[tuple[int, bytes]], details: Mapping[Key, Detail], partition: int
) -> None:
    """Write the pages and details that were staged, in the same transaction."""
    if pages:
        await connection.execute(statement("apply_pages"))
    if details:
        await connection.execute(statement("apply_detail"), {"partition": partition})
