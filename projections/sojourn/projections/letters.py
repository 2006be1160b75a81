"""The projector's side of dead letters: the queues that it holds, and what becomes of the letters in them."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from sojourn.events.codec import encode
from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import DeadLetterResolved
from sojourn.projections.decided import Decision
from sojourn.projections.facts import Judged, Key
from sojourn.projections.fold import Place
from sojourn.projections.outbox import ANY_EPOCH
from sojourn.projections.parking import Letter, Parked, named_queue
from sojourn.projections.statements import statement
from sojourn.projections.store import as_projector


async def load_parked(connection: AsyncConnection[Any], partition: int) -> dict[Key, int]:
    """Return how many letters wait in the queue of each session of a partition."""
    async with as_projector(connection):
        rows = await connection.execute(statement("load_waiting"), {"partition": partition})
        return {(tenant, session_id): count async for tenant, session_id, count in rows}


async def load_letters(connection: AsyncConnection[Any], partition: int, piece: Sequence[Judged]) -> list[Letter]:
    """Return the letter that a resolution at the head of a piece names, and those of the queue that it touches."""
    head = piece[0] if piece else None
    if not (isinstance(head, Decision) and isinstance(head.event, DeadLetterResolved)):
        return []
    data = head.event.data
    async with as_projector(connection):
        named = await load_letter(connection, partition, Place(data.offset, data.appended_at))
        key = None if named is None else named_queue(named, data)
        if named is None or key is None:
            return [] if named is None else [named]
        session = {"partition": partition, "tenant": key[0], "session_id": key[1]}
        rows = await (await connection.execute(statement("load_queue"), session)).fetchall()
    return [named, *(_letter(partition, row) for row in rows)]


async def load_letter(connection: AsyncConnection[Any], partition: int, place: Place) -> Letter | None:
    """Return the dead letter at a place of lifecycle, within the caller's transaction."""
    values = {"partition": partition, "offset": place.offset, "appended_at": place.appended_at}
    row = await (await connection.execute(statement("load_letter"), values)).fetchone()
    return None if row is None else _letter(partition, row)


def _letter(partition: int, row: Sequence[Any]) -> Letter:
    offset, appended_at, reason, tenant, session_id, key, headers, value, value_bytes, came_at, waits, *resolved = row
    named = tuple((name, bytes.fromhex(text)) for name, text in headers)
    resolution, resolved_offset, resolved_appended_at, mended = resolved
    return Letter(
        Record(LIFECYCLE, partition, offset, appended_at, key, value, named),
        reason,
        tenant,
        session_id,
        came_at or appended_at,
        waits=bool(waits),
        is_cut=value_bytes > len(value),
        resolution=resolution,
        resolved=None if resolution is None else Place(resolved_offset, resolved_appended_at),
        mended=mended,
    )


async def write_parked(connection: AsyncConnection[Any], partition: int, parked: Parked) -> None:
    """Write which letters wait and what became of others, after the letters of the batch and in its transaction."""
    if parked.waiting:
        await connection.execute(
            statement("mark_waiting"),
            {
                "partition": partition,
                "offsets": [place.offset for place in parked.waiting],
                "times": [place.appended_at for place in parked.waiting],
                "came": list(parked.waiting.values()),
            },
        )
    for letter in parked.letters.values():
        await connection.execute(statement("resolve_letter"), _values(partition, letter))
    for item in parked.judged:
        if isinstance(item, Decision) and isinstance(item.event, DeadLetterResolved):
            await _discard_heartbeat(connection, item, item.event)


def _values(partition: int, letter: Letter) -> Mapping[str, Any]:
    assert letter.resolved is not None
    return {
        "partition": partition,
        "offset": letter.record.offset,
        "appended_at": letter.record.appended_at,
        "resolution": letter.resolution,
        "resolved_offset": letter.resolved.offset,
        "resolved_appended_at": letter.resolved.appended_at,
        "mended": letter.mended,
        "waits": letter.waits,
        "tenant": letter.tenant,
        "session_id": letter.session_id,
        "came_at": letter.came_at,
    }


async def _discard_heartbeat(connection: AsyncConnection[Any], decision: Decision, event: DeadLetterResolved) -> None:
    data, record = event.data, decision.record
    if data.topic != LIFECYCLE:
        place = {"topic": data.topic, "partition": data.partition, "offset": data.offset}
        resolved = {"resolved_offset": record.offset, "resolved_appended_at": record.appended_at}
        values = {**place, "appended_at": data.appended_at, **resolved}
        await connection.execute(statement("discard_heartbeat"), values)


async def resolve(
    connection: AsyncConnection[Any], event: DeadLetterResolved, tenant: str, origin: str, at: datetime
) -> None:
    """Write down who decides what about a dead letter, and let the owner of its partition append it: one transaction.

    `tenant` is whose act it is, which the letter itself may not tell.
    """
    data = event.data
    action = {
        "tenant": tenant,
        "action_id": uuid.uuid4(),
        "at": at,
        "actor": data.who,
        "action": f"dead_letter.{data.resolution}",
        "subject": f"{data.topic}@{data.partition}:{data.offset}@{data.appended_at.isoformat()}",
        "reason": data.reason,
        "origin": origin,
        "result": "allowed",
    }
    row = {"topic": LIFECYCLE, "partition": data.partition, "epoch": ANY_EPOCH, "key": None, "at": at}
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE sojourn_resolver; SET LOCAL search_path = sojourn")
        await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [tenant])
        await connection.execute(statement("insert_action"), action)
        await connection.execute(statement("insert_request"), row | {"value": encode(event)})
