"""Folding the lifecycle log again from its start, up to a point in its time or to a position."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sojourn.events.errors import SojournError
from sojourn.events.log import Log, Record
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import DeadLetterResolved
from sojourn.projections.commands import Command, CommandKey
from sojourn.projections.decided import NOTHING_DECIDED, Decision
from sojourn.projections.facts import Judged, Key, judge_lifecycle
from sojourn.projections.fold import Changes, Place, fold
from sojourn.projections.parking import Letter, Parked, letter_of, named_queue, park, pieces
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
        folding = Folding(len(ends))
        offset, reached = 0, False
        while offset < end and not reached:
            batch = await log.read(LIFECYCLE, partition, offset, records_max=min(BATCH_RECORDS_MAX, end - offset))
            records = [record for record in batch.records if not isinstance(to, datetime) or record.appended_at <= to]
            reached = len(records) < len(batch.records)
            folding.take(records)
            offset = records[-1].offset + 1 if reached and records else offset if reached else batch.next_offset
            if records:
                newest_at = max(newest_at or records[-1].appended_at, records[-1].appended_at)
            count += len(records)
            progress(count)
        positions[partition] = offset
        sink([*folding.forgotten, *folding.states.items()])
    return Replayed(positions, newest_at, count)


class Folding:
    """The sessions of one partition, and its dead letters, which a resolution may let go.

    `forgotten` are the earlier sessions of ids that were used again after 62 days.
    """

    def __init__(self, partitions: int) -> None:
        self.states: dict[Key, Session] = {}
        self.forgotten: list[tuple[Key, Session]] = []
        self._partitions, self._decided = partitions, NOTHING_DECIDED
        self._commands: dict[CommandKey, Command] = {}
        self.letters: dict[Place, Letter] = {}
        self._queued: dict[Key, int] = {}

    def take(self, records: Sequence[Record]) -> list[tuple[Parked, Changes]]:
        """Fold consecutive records, and return what each piece of them came to."""
        folded = []
        for piece in pieces(judge_lifecycle(records, self._partitions, self._decided)):
            parked = park(piece, self._queued, self._decided, self._partitions, self._about(piece))
            changes = fold(self.states, parked.judged, self._commands)
            self._settle(parked, changes)
            folded.append((parked, changes))
        return folded

    def _about(self, piece: Sequence[Judged]) -> list[Letter]:
        """Return the letter that a resolution at the head of a piece names, and those of the queue that it touches."""
        head = piece[0] if piece else None
        if not (isinstance(head, Decision) and isinstance(head.event, DeadLetterResolved)):
            return []
        named = self.letters.get(Place(head.event.data.offset, head.event.data.appended_at))
        if named is None:
            return []
        key = named_queue(named, head.event.data)
        queue = [letter for letter in self.letters.values() if letter.waits and letter.key == key]
        return [named, *queue]

    def _settle(self, parked: Parked, changes: Changes) -> None:
        for entry in changes.entries:
            if entry.session is None:
                continue
            key = entry.fact.key
            if entry.revision == 1 and key in self.states:
                self.forgotten.append((key, self.states[key]))
            self.states[key] = entry.session
        self._decided = self._decided.after(changes.decisions)
        self._commands |= changes.commands
        self.letters |= parked.letters
        for dead in changes.dead_letters:
            letter = letter_of(dead, parked.waiting.get(Place(dead.record.offset, dead.record.appended_at)))
            self.letters[letter.place] = letter
        self._queued |= parked.queued


def _check(to: datetime | Mapping[int, int], starts: Mapping[int, int], ends: Mapping[int, int]) -> None:
    for partition, start in starts.items():
        if start > 0:
            raise ReplayImpossible(
                f"a replay begins with the first record, and partition {partition} begins at {start}; `sojourn history "
                "--revisions` lists what was applied, `sojourn log read` what the log still holds"
            )
    if isinstance(to, datetime):
        return
    missing = sorted(ends.keys() - to.keys())
    unknown = sorted(to.keys() - ends.keys())
    if missing or unknown:
        raise ReplayImpossible(f"the position must name each of the {len(ends)} partitions once: {missing or unknown}")
    for partition, offset in to.items():
        if offset > ends[partition]:
            raise ReplayImpossible(f"partition {partition} ends at {ends[partition]}, before the position: {offset}")
