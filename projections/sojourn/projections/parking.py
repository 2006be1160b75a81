"""Dead letters that hold their session's later events back, and what a resolution lets go: docs/why.md, "Parking".

A pure pass between judging and folding. A session whose record could not be applied has a queue: that record, and all
that came of the session since. A resolution applies the queue from its head on, up to the next record that is bad.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.codec import VALUE_BYTES_MAX, Undecodable, decode
from sojourn.events.decision_data import DeadLetterResolvedData
from sojourn.events.log import Record
from sojourn.events.modes import structured
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import BROKER_EVENTS, SOJOURN, DeadLetterResolved, SessionEvent, type_name
from sojourn.projections.decided import Decided, Decision
from sojourn.projections.facts import DeadLetter, Fact, Judged, Key, judge
from sojourn.projections.fold import Changes, Place

QUEUE_LETTERS_MAX: Final = 1000  # a session has a handful of events; what comes behind these is resolved by itself

# What is wrong with these is the place, the sender or the version, not what the session's other events build upon.
_HOLDS_NOTHING: Final = frozenset(
    {
        "conflict",
        "wrong_partition",
        "tenant_mismatch",
        "unbound_source",
        "wrong_source",
        "unknown_type",
        "wrong_letter",
    }
)
_MOMENT: Final = timedelta(microseconds=1)
_KINDS: Final = {type_name(kind): kind for kind in get_args(SessionEvent)}

Resolution = Literal["requeued", "discarded", "released"]


class Letter(Struct, frozen=True, gc=False):
    """A dead letter as its partition keeps it.

    `came_at` is when the log took the record first. While it `waits` it stands in its session's queue, also once it is
    resolved in the midst of that; `mended` are the bytes to apply instead of the record's own.
    """

    record: Record
    reason: str
    tenant: str | None
    session_id: str | None
    came_at: datetime
    waits: bool = False
    is_cut: bool = False
    resolution: Resolution | None = None
    resolved: Place | None = None
    mended: bytes | None = None

    @property
    def place(self) -> Place:
        """Where it stands: a record that was applied anew and refused again has its offset, and a later time."""
        return Place(self.record.offset, self.record.appended_at)

    @property
    def key(self) -> Key | None:
        """The session that it names."""
        return None if self.tenant is None or self.session_id is None else (self.tenant, self.session_id)

    @property
    def order(self) -> tuple[datetime, int]:
        """Its turn in the queue: as the log took the records first, also where a new log uses offsets again."""
        return self.came_at, self.record.offset


class Parked(Struct):
    """What the fold gets, and what becomes of letters.

    `waiting` places the dead letters among `judged` that now stand in a queue, with their `came_at`; `letters` are
    earlier ones as they are now. `queued` counts the queues that changed, `moved` the records that have another
    disposition than before.
    """

    judged: list[Judged]
    waiting: dict[Place, datetime]
    letters: dict[Place, Letter]
    queued: dict[Key, int]
    moved: Counter[str]

    def counted(self, changes: Changes) -> Counter[str]:
        """Return what the counts of dispositions change by: one that was let go has left another behind."""
        counted = Counter(changes.dispositions)
        counted.update(self.moved)
        return Counter({disposition: count for disposition, count in counted.items() if count})


def pieces(judged: Sequence[Judged]) -> list[Sequence[Judged]]:
    """Cut before each resolution, since it may name what the fold before it refuses."""
    starts = [index for index, item in enumerate(judged) if index > 0 and is_resolution(item)]
    return [judged[start:end] for start, end in zip([0, *starts], [*starts, len(judged)], strict=True)]


def is_resolution(item: Judged) -> bool:
    """Tell whether an operator decided something about a dead letter."""
    return isinstance(item, Decision) and isinstance(item.event, DeadLetterResolved)


def park(
    judged: Iterable[Judged],
    queued: Mapping[Key, int],
    decided: Decided,
    partitions: int,
    letters: Iterable[Letter] = (),
) -> Parked:
    """Hold back what waits behind a dead letter, and let go what a resolution frees.

    `judged` is one of the `pieces`; `queued` counts the letters in the queue of each session, and `letters` are those
    that a resolution at its head is about: see `named_queue`. `decided` is what holds before the piece.
    """
    parked = Parked([], {}, {}, {}, Counter())
    by_place = {letter.place: letter for letter in letters}
    for item in judged:
        if isinstance(item, Fact) and not queued and not parked.queued:  # nothing waits, as nearly always
            parked.judged.append(item)
        elif isinstance(item, Decision):
            if isinstance(item.event, DeadLetterResolved):
                _resolve(parked, item, item.event.data, by_place, _Rules(queued, decided, partitions))
            else:
                parked.judged.append(item)
                decided = decided if item.repeats else decided.after([item])
        else:
            _take(parked, item, queued, decided)
    return parked


def named_queue(letter: Letter, data: DeadLetterResolvedData) -> Key | None:
    """Return the session whose queue a resolution of this letter may touch."""
    if letter.waits:
        return letter.key
    if data.resolution == "discarded":
        return None
    record = _again(letter, letter.record.appended_at, data.value)
    try:
        event = decode(structured(record.value, record.headers))
    except Undecodable:
        return None
    tenant, session_id = getattr(event, "tenant", None), getattr(event, "subject", None)
    return None if tenant is None or session_id is None else (tenant, session_id)


def letter_of(letter: DeadLetter, came_at: datetime | None = None) -> Letter:
    """Return a dead letter as it is kept; `came_at` is given where it waits."""
    first = letter.fact.came_at if letter.fact is not None else letter.record.appended_at
    return Letter(
        letter.record,
        letter.reason,
        letter.tenant,
        letter.session_id,
        came_at or first,
        waits=came_at is not None,
        is_cut=len(letter.record.value) > VALUE_BYTES_MAX,
    )


class _Rules(Struct, frozen=True):
    """What a resolution is judged by."""

    queued: Mapping[Key, int]
    decided: Decided
    partitions: int


def _take(parked: Parked, item: Fact | DeadLetter, queued: Mapping[Key, int], decided: Decided) -> None:
    """Let an item through, or put it into its session's queue."""
    record = item.record
    if isinstance(item, Fact):
        key: Key | None = item.key
        count = parked.queued.get(item.key, queued.get(item.key, 0))
        if count == 0:
            parked.judged.append(item)
            return
        came_at = item.came_at
        detail = "it waits behind a dead letter of its session"
        if count >= QUEUE_LETTERS_MAX:
            detail += f", behind which {QUEUE_LETTERS_MAX} wait already: requeue it by itself after that"
        item = DeadLetter(record, "parked", detail, item.event.tenant, item.event.subject, item)
    else:
        key = _held_session(item, decided)
        came_at = record.appended_at if item.fact is None else item.fact.came_at
    parked.judged.append(item)
    if key is None:
        return
    count = parked.queued.get(key, queued.get(key, 0))
    if count < QUEUE_LETTERS_MAX:
        parked.queued[key] = count + 1
        parked.waiting[Place(record.offset, record.appended_at)] = came_at


class _Head(Struct):
    """The attributes by which a record that could not be read still tells what it was to be."""

    type: Any = None
    source: Any = None


_head: Final = msgspec.json.Decoder(_Head)


def _held_session(letter: DeadLetter, decided: Decided) -> Key | None:
    """Return the session whose later events must wait for this letter."""
    if letter.reason in _HOLDS_NOTHING or letter.tenant is None or letter.session_id is None:
        return None
    try:
        head = _head.decode(structured(letter.record.value, letter.record.headers))
    except (msgspec.DecodeError, Undecodable, RecursionError, UnicodeDecodeError):
        return None
    kind = _KINDS.get(head.type) if isinstance(head.type, str) else None
    if kind is None or not _may_hold(kind, head.source, letter.tenant, decided):
        return None
    return letter.tenant, letter.session_id


def _may_hold(kind: type[SessionEvent], source: object, tenant: str, decided: Decided) -> bool:
    """Tell whether the source could have said this of the tenant: nobody else holds its sessions up."""
    if (source == SOJOURN) == issubclass(kind, BROKER_EVENTS):
        return False
    if source == SOJOURN or not decided.is_strict:
        return True
    if not isinstance(source, str) or source not in decided.tenants:
        return False
    tenants = decided.tenants[source]
    return tenants is None or tenant in tenants


def _resolve(
    parked: Parked,
    decision: Decision,
    data: DeadLetterResolvedData,
    letters: Mapping[Place, Letter],
    rules: _Rules,
) -> None:
    """Apply what an operator decided about a letter, or make a letter of the decision."""
    if data.topic != LIFECYCLE and data.resolution == "discarded" and data.partition == decision.record.partition:
        parked.judged.append(decision)  # which letters heartbeats left, the lifecycle log does not know
        return
    letter = letters.get(Place(data.offset, data.appended_at))
    mended = data.value if data.resolution == "requeued" else None
    if letter is not None and (letter.resolution, letter.mended) == (data.resolution, mended):
        parked.judged.append(replace(decision, repeats=True))
        return
    refusal = refused_resolution(letter, data, decision.record, rules.decided, rules.partitions)
    key = None if letter is None else named_queue(letter, data)
    count = 0 if key is None else rules.queued.get(key, 0)
    if refusal is None and letter is not None and not letter.waits and count >= QUEUE_LETTERS_MAX:
        refusal = f"its session waits for a dead letter, and {QUEUE_LETTERS_MAX} events with it: resolve that first"
    if refusal is not None or letter is None:
        parked.judged.append(DeadLetter(decision.record, "wrong_letter", refusal or "", None, None))
        return
    parked.judged.append(decision)
    at = Place(decision.record.offset, decision.record.appended_at)
    letter = replace(letter, resolution=data.resolution, resolved=at, mended=mended)
    queue = sorted((one for one in letters.values() if one.waits and one.key == key), key=_order)
    if letter.waits and key is not None:
        parked.letters[letter.place] = letter
        _run(parked, key, [letter if one.place == letter.place else one for one in queue], at, rules)
    elif queue and key is not None and queue[0].order < letter.order:
        parked.letters[letter.place] = replace(letter, tenant=key[0], session_id=key[1], waits=True)
        parked.queued[key] = count + 1
    else:
        _leave(parked, letter, at, rules)


def refused_resolution(
    letter: Letter | None, data: DeadLetterResolvedData, record: Record, decided: Decided, partitions: int
) -> str | None:
    """Tell why a resolution, appended as `record`, cannot be applied to what it names."""
    place = f"{data.topic.removeprefix('sojourn.')}@{data.partition}:{data.offset}"
    if data.topic != LIFECYCLE and data.resolution == "requeued":
        return f"heartbeats are not requeued, for a late one proves nothing: {place}"
    if letter is None or data.topic != LIFECYCLE or data.partition != record.partition:
        return f"there is no such dead letter in this partition: {place}, appended {data.appended_at.isoformat()}"
    if letter.resolution is not None:
        return f"it was {letter.resolution} before: {place}"
    if data.resolution == "discarded":
        return None
    if letter.is_cut and data.value is None:
        return f"it is too large to be requeued as it is: {place}"
    again = judge(_again(letter, record.appended_at, data.value), partitions, decided, letter.came_at)
    match again:
        case DeadLetter(reason=reason, detail=detail):
            return f"it would be refused again, {reason}: {detail}"
        case Decision():
            return f"it is no event of a session: {place}"
        case Fact(event=event):
            if event.tenant != (letter.tenant or event.tenant) or event.subject != (letter.session_id or event.subject):
                named = f"{letter.tenant or 'any'}/{letter.session_id or 'any'}"
                return f"it is about another session than the letter, {named}: {event.tenant}/{event.subject}"
    return None


def _order(letter: Letter) -> tuple[datetime, int]:
    return letter.order


def _run(parked: Parked, key: Key, queue: Sequence[Letter], at: Place, rules: _Rules) -> None:
    """Let go what stands at the head of a queue, up to the next letter that is bad."""
    count = rules.queued.get(key, 0)
    for letter in queue:
        if letter.resolution is None and letter.reason != "parked":
            break
        released = letter if letter.resolution else replace(letter, resolution="released", resolved=at)
        count -= 1
        if _leave(parked, released, at, rules) == key:
            count += 1
            break
    parked.queued[key] = count


def _leave(parked: Parked, letter: Letter, at: Place, rules: _Rules) -> Key | None:
    """Apply a resolved letter, or leave it at that; return the session that waits because it is bad again."""
    parked.letters[letter.place] = replace(letter, waits=False)
    before = letter.reason if letter.reason in {"parked", "conflict"} else "dead_letter"
    if letter.resolution == "discarded":
        if before == "parked":
            parked.moved.update({"parked": -1, "dead_letter": 1})
        return None
    parked.moved[before] -= 1
    item = judge(_again(letter, at.appended_at, letter.mended), rules.partitions, rules.decided, letter.came_at)
    parked.judged.append(item)
    key = _held_session(item, rules.decided) if isinstance(item, DeadLetter) else None
    if key is not None:
        parked.waiting[Place(item.record.offset, item.record.appended_at)] = letter.came_at
    return key


def _again(letter: Letter, appended_at: datetime, mended: bytes | None) -> Record:
    """Return the record as it is applied anew: in its old place, at a later time than before."""
    later = max(appended_at, letter.record.appended_at + _MOMENT)
    if mended is None:
        return letter.record._replace(appended_at=later)
    return letter.record._replace(appended_at=later, value=mended, headers=())
