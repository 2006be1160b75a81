"""Folding the lifecycle log again from its start, up to a point in its time or to a position."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from sojourn.events.errors import SojournError
from sojourn.events.log import Log, Record
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.facts import Key, judge_lifecycle
from sojourn.projections.fold import fold
from sojourn.projections.session import Session

BATCH_RECORDS_MAX: Final = 2000  # as the projector's; the result depends on no batch boundary

Sink = Callable[[Iterable[tuple[Key, Session]]], None]


class ReplayImpossible(SojournError):
    """the log does not reach as far as the replay should"""


class Replayed(NamedTuple):
    """How far a replay went: the next offset of each partition, and the append time of the newest record."""

    positions: dict[int, int]
    newest_at: datetime | None
    records: int


async def replay(log: Log, to: datetime | Mapping[int, int], sink: Sink, progress: Callable[[int], None]) -> Replayed:
    """Fold every partition up to and including append time `to`, or up to the next offsets `to`.

    `sink` gets, once for each partition, all its sessions in their newest revision: open ones, and ended ones with or
    without login. `progress` gets the number of records read so far.
    Raises `ReplayImpossible` when the log starts after its first record or ends before the position.
    """
    ends = await log.end_offsets(LIFECYCLE)
    starts = await log.start_offsets(LIFECYCLE)
    _check(to, starts, ends)
    positions: dict[int, int] = {}
    newest_at: datetime | None = None
    count = 0
    for partition in sorted(ends):
        end = ends[partition] if isinstance(to, datetime) else to[partition]
        states: dict[Key, Session] = {}
        forgotten: list[tuple[Key, Session]] = []
        offset, reached = 0, False
        while offset < end and not reached:
            batch = await log.read(LIFECYCLE, partition, offset, records_max=min(BATCH_RECORDS_MAX, end - offset))
            records = [record for record in batch.records if not isinstance(to, datetime) or record.appended_at <= to]
            reached = len(records) < len(batch.records)
            _fold_into(states, forgotten, records, len(ends))
            offset = records[-1].offset + 1 if reached and records else offset if reached else batch.next_offset
            if records:
                newest_at = max(newest_at or records[-1].appended_at, records[-1].appended_at)
            count += len(records)
            progress(count)
        positions[partition] = offset
        sink([*forgotten, *states.items()])
    return Replayed(positions, newest_at, count)


def _fold_into(
    states: dict[Key, Session], forgotten: list[tuple[Key, Session]], records: list[Record], partitions: int
) -> None:
    """Fold records into the states; the earlier session of an id used again after 62 days goes to `forgotten`."""
    for entry in fold(states, [judge_lifecycle(record, partitions) for record in records]).entries:
        if entry.session is None:
            continue
        key = entry.fact.key
        if entry.revision == 1 and key in states:
            forgotten.append((key, states[key]))
        states[key] = entry.session


def _check(to: datetime | Mapping[int, int], starts: Mapping[int, int], ends: Mapping[int, int]) -> None:
    for partition, start in starts.items():
        if start > 0:
            raise ReplayImpossible(f"the log no longer holds the first {start} records of partition {partition}")
    if isinstance(to, datetime):
        return
    missing = sorted(ends.keys() - to.keys())
    unknown = sorted(to.keys() - ends.keys())
    if missing or unknown:
        raise ReplayImpossible(f"the position must name each of the {len(ends)} partitions once: {missing or unknown}")
    for partition, offset in to.items():
        if offset > ends[partition]:
            raise ReplayImpossible(f"partition {partition} ends at {ends[partition]}, before the position: {offset}")
