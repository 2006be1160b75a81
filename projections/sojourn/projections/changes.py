"""What changed of a tenant's sessions since a place in the log, for those who look at its lists."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from psycopg import AsyncConnection

from sojourn.events.topics import LIFECYCLE
from sojourn.projections.statements import statement

CLOCKS_MAX: Final = timedelta(hours=1)  # by how much append times of one partition may go back when a log moves
ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)

Kind = Literal["opened", "changed", "ended"]


class Place(NamedTuple):
    """The next offset to apply of one partition; `since` is not later than what comes there."""

    offset: int
    since: datetime


BEGIN: Final = Place(0, ALWAYS)


async def load_positions(connection: AsyncConnection[Any]) -> list[tuple[Any, ...]]:
    """Return what is another after each commit of a projector, as the auditor."""
    cursor = await connection.execute(
        "SELECT topic, partition, next_offset, complete_to FROM position ORDER BY topic, partition"
    )
    return await cursor.fetchall()


async def load_places(connection: AsyncConnection[Any]) -> dict[int, Place]:
    """Return up to where the lists of the connection's snapshot go."""
    cursor = await connection.execute(
        "SELECT partition, next_offset, record_appended_at FROM position WHERE topic = %s ORDER BY partition",
        [LIFECYCLE],
    )
    rows = await cursor.fetchall()
    return {row[0]: Place(row[1], ALWAYS if row[2] is None else row[2] - CLOCKS_MAX) for row in rows}


async def load_changes(
    connection: AsyncConnection[Any], tenant: str, after: Mapping[int, Place], limit: int
) -> dict[str, Kind] | None:
    """Return which sessions changed from these places on, as the tenant's reader; None for more than so many."""
    values = {
        "tenant": tenant,
        "partitions": list(after),
        "offsets": [place.offset for place in after.values()],
        "sinces": [place.since for place in after.values()],
        "limit": limit + 1,
    }
    cursor = await connection.execute(statement("load_changes"), values)
    changes: dict[str, Kind] = {}
    for session_id, revision, has_ended in await cursor.fetchall():
        kind: Kind = "ended" if has_ended else "opened" if revision == 1 else "changed"
        if kind == "changed" and changes.get(session_id) == "opened":
            kind = "opened"
        changes[session_id] = kind
        if len(changes) > limit:
            return None
    return changes
