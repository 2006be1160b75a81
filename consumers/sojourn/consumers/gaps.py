"""Gaps between the lifecycle log and what was applied from it: finding one, and going on behind it once accepted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from psycopg import AsyncConnection

from sojourn.events.codec import Undecodable, decode, encode
from sojourn.events.decisions import gap_accepted
from sojourn.events.errors import SojournError
from sojourn.events.log import Append, Log, Record
from sojourn.events.modes import STRUCTURED_HEADERS, structured
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.places import (
    Place,
    applied,
    begin_positions,
    count_applied,
    known_partitions,
    move_position,
)
from sojourn.projections.store import Position, record_crc

PROBE_RECORDS_MAX: Final = 200  # so many in a row are never all events that no table of places holds
SCAN_RECORDS_MAX: Final = 2000  # as the projector's batches


class PartitionsChanged(SojournError):
    """the topics have another number of partitions than what was applied so far came from"""


class Gap(NamedTuple):
    """Where the log and what was applied part.

    `from_offset` is the first offset that is not applied, `to_offset` the first that will be read again: behind it
    where records were lost before they were applied, before it where the log changed.
    """

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    kind: Literal["lost", "changed"]
    detail: str


class Accepted(NamedTuple):
    """Where the event stands that accepts a gap, and whether an earlier attempt had appended it."""

    offset: int
    resumed: bool


async def find_gap(log: Log, connection: AsyncConnection[Any], partition: int, position: Position) -> Gap | None:
    """Return where the log and what was applied of a lifecycle partition part, or None when the reader can go on.

    The record that was applied last tells; when the log has dropped it since, as it may, the offsets alone do.
    """
    start, end = (await log.start_offsets(LIFECYCLE))[partition], (await log.end_offsets(LIFECYCLE))[partition]
    place = f"{LIFECYCLE}, partition {partition}"
    if position.next_offset < start:
        count = start - position.next_offset
        detail = (
            f"the log dropped records before they were applied: {place}, "
            f"offsets {position.next_offset} to {start - 1} ({count})"
        )
        return Gap(LIFECYCLE, partition, position.next_offset, start, "lost", detail)
    last = await _last_applied(log, partition, position, start, end)
    if last == "held" and position.next_offset <= end:
        return None
    before = min(position.next_offset, end)
    if last == "altered":  # nothing came in its place, so nothing is read again
        detail = f"the log holds another record than was applied: {place}, offset {position.record_offset}"
        return Gap(LIFECYCLE, partition, position.next_offset, before, "changed", detail)
    to_offset = await _parting(log, connection, partition, start, before)
    count = await count_applied(connection, partition, to_offset, position.next_offset)
    detail = (
        f"the log was replaced or truncated: {place}, holds nothing of what was applied from offsets {to_offset} to "
        f"{position.next_offset - 1} (records: {count}); what they said stays in the lists"
    )
    return Gap(LIFECYCLE, partition, position.next_offset, to_offset, "changed", detail)


async def _last_applied(
    log: Log, partition: int, position: Position, start: int, end: int
) -> Literal["held", "altered", "gone"]:
    """Tell whether the log holds the record that was applied last, or may have dropped it in its time."""
    if position.record_offset is None or position.record_offset < start:
        return "held"
    if position.record_offset >= end:
        return "gone"
    batch = await log.read(LIFECYCLE, partition, position.record_offset, records_max=1)
    for record in batch.records:
        if (record.offset, record.appended_at) == (position.record_offset, position.record_appended_at):
            return "held" if record_crc(record) == position.record_crc else "altered"
    return "gone"


async def _parting(log: Log, connection: AsyncConnection[Any], partition: int, start: int, before: int) -> int:
    """Return the first offset from which on the log holds no record that was applied, by binary search.

    A log that lost its end keeps what is before; one that was made anew holds nothing that was applied.
    """
    low, high = start, before
    while low < high:
        middle = (low + high) // 2
        records = await _some(log, partition, middle, high)
        known = await applied(connection, partition, [_place(record) for record in records]) if records else set()
        if known:
            low = max(known) + 1
        else:
            high = middle
    return low


async def _some(log: Log, partition: int, offset: int, before: int) -> Sequence[Record]:
    """Return the next records from `offset` on that stand before `before`; a batch may hold none of them yet."""
    while offset < before:
        records_max = min(PROBE_RECORDS_MAX, before - offset)
        batch = await log.read(LIFECYCLE, partition, offset, records_max=records_max)
        if batch.records or batch.next_offset <= offset:
            return [record for record in batch.records if record.offset < before]
        offset = batch.next_offset
    return ()


def _place(record: Record) -> Place:
    try:
        tenant = getattr(decode(structured(record.value, record.headers)), "tenant", None)
    except Undecodable:
        tenant = None
    return Place(record.offset, record.appended_at, tenant)


async def accept_gap(
    log: Log,
    connection: AsyncConnection[Any],
    gap: Gap,
    position: Position,
    *,
    reason: str,
    who: str,
    at: datetime,
) -> Accepted:
    """Write down that a gap is accepted and let its partition go on behind it; `position` is where it was found.

    1. Append `gap_accepted` to the partition and wait until the log has it. First, because the log is the record: a
       position that moved with nothing to say why could not be explained later.
    2. In one transaction move the position, forget the record that was applied last and raise the epoch, which fences
       whoever still believes to own the partition; only if the position is still where the gap was found.

    A crash between the two changes nothing yet. The gap is then found again with the same offsets, and the event of
    the first attempt is found in the log by its id instead of being appended again. Raises `PositionMoved`.
    """
    event = gap_accepted(gap.partition, gap.from_offset, gap.to_offset, reason=reason, who=who, at=at)
    offset = await _find_event(log, gap.partition, event.id, position.record_appended_at)
    resumed = offset is not None
    if offset is None:
        (offset,) = await log.append([Append(LIFECYCLE, gap.partition, None, encode(event), STRUCTURED_HEADERS)])
    await move_position(connection, gap.partition, position, gap.to_offset, f"sojourn log accept-gap, {who}")
    return Accepted(offset, resumed)


async def _find_event(log: Log, partition: int, event_id: str, since: datetime | None) -> int | None:
    """Return the offset of the event with this id, if one was appended since the last applied record."""
    offset, end = (await log.start_offsets(LIFECYCLE))[partition], (await log.end_offsets(LIFECYCLE))[partition]
    if since is not None:
        offset = await _first_since(log, partition, since, offset, end)
    wanted = event_id.encode()
    while offset < end:
        batch = await log.read(LIFECYCLE, partition, offset, records_max=SCAN_RECORDS_MAX)
        for record in batch.records:
            if wanted in record.value and _id(record) == event_id:
                return record.offset
        offset = batch.next_offset
    return None


def _id(record: Record) -> str | None:
    try:
        return decode(record.value).id
    except Undecodable:
        return None


async def _first_since(log: Log, partition: int, since: datetime, low: int, high: int) -> int:
    """Return an offset between the two before which every record is older; append times never fall."""
    while low < high:
        middle = (low + high) // 2
        records = await _some(log, partition, middle, high)
        if records and records[0].appended_at < since:
            low = records[0].offset + 1
        else:
            high = middle
    return low


async def check_partitions(log: Log, connection: AsyncConnection[Any]) -> int:
    """Return how many partitions both topics have; call it before a partition is acquired.

    A session's partition follows from their number, so that is fixed by the first start: the positions of all
    partitions begin here. Raises `PartitionsChanged` when it is another one now, or when the topics differ.
    """
    starts = {topic: await log.start_offsets(topic) for topic in (LIFECYCLE, HEARTBEATS)}
    count, beats = len(starts[LIFECYCLE]), len(starts[HEARTBEATS])
    known = await known_partitions(connection)
    if known not in (0, count):
        raise PartitionsChanged(
            f"{LIFECYCLE} has another number of partitions than what was applied came from, so sessions would change "
            f"their partition; make it anew with {known} (docs/operations.md), not with: {count}"
        )
    if count != beats:
        raise PartitionsChanged(
            f"{HEARTBEATS} needs as many partitions as {LIFECYCLE}; heartbeats are kept for hours only, so make it "
            f"anew with {count}, not with: {beats}"
        )
    if known == 0:
        await begin_positions(connection, starts)
    return count
