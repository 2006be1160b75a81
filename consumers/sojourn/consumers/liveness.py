"""When each open session of one partition was last heard of, in memory, and which pages of that have to be written."""

from array import array
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from sojourn.projections.facts import Key
from sojourn.projections.pages import Detail
from sojourn.projections.session import Loss

PAGE_SLOTS: Final = 256  # 1 KiB a page: seven fit a disk page beside their successors, so that an update stays HOT
HELD_MAX: Final = 10_000  # heartbeats of sessions not yet known, per partition; more is a broker that lost its mind
HELD_FOR: Final = timedelta(minutes=1)  # an `established` that comes later than this was not merely overtaken


class Held(NamedTuple):
    """The newest of `beats` heartbeats of a session that is not known (yet), and when the first of them came."""

    since: datetime
    beats: int
    appended_at: datetime
    detail: Detail | None


class Flush(NamedTuple):
    """What has to be written, and the slots that are free once it is."""

    pages: list[tuple[int, bytes]]
    details: dict[Key, Detail]
    freed: list[int]


class Opened(NamedTuple):
    """How the liveness of an open session is judged, which was alive at `appended_at`.

    `limit` is its time-out, None for one that is lost; that one is taken to have ended at `ends`.
    """

    slot: int
    appended_at: datetime
    broker: int
    limit: int | None
    loss: Loss | None
    ends: int = 0


class Liveness:
    """The slots of one partition's open sessions; seconds since 1970 by append time, 0 for a free slot.

    Beside it, by slot: the number of the session's broker; after how many seconds without a heartbeat it is lost (0 for
    one that is not to be judged); for one that is lost, when it was last seen before (or else 0) and when it is taken
    to have ended.
    """

    def __init__(self, slots: dict[Key, int], pages: dict[int, bytes]) -> None:
        self.slots = slots
        count = 1 + max([*(slot // PAGE_SLOTS for slot in slots.values()), *pages, -1])
        self._seen = array("I", bytes(4 * PAGE_SLOTS * count))
        for page, seen in pages.items():
            self._seen[page * PAGE_SLOTS : (page + 1) * PAGE_SLOTS] = array(
                "I", np.frombuffer(seen, dtype=">u4").astype(np.uint32).tobytes()
            )
        self._brokers, self._limits, self._lost, self._ends = (array("I", bytes(4 * len(self._seen))) for _ in range(4))
        self.keys: list[Key | None] = [None] * len(self._seen)
        for key, slot in slots.items():
            self.keys[slot] = key
        used = set(slots.values())
        unused = [slot for slot in range(len(self._seen)) if slot not in used]
        self._free = [slot for slot in reversed(unused) if self._seen[slot] == 0]
        self._freed = [slot for slot in unused if self._seen[slot] != 0]
        self._dirty = {slot // PAGE_SLOTS for slot in self._freed}
        for slot in self._freed:
            self._seen[slot] = 0
        self._details: dict[Key, Detail] = {}
        self._marked_at: datetime | None = None
        self._marked_seconds = 0
        self._held: OrderedDict[Key, Held] = OrderedDict()  # a dict would scan over what was dropped
        self._strays: set[Key] = set()

    def reserve(self, opening: Collection[Key]) -> dict[Key, int]:
        """Return slots for sessions about to open, without taking them: that is `settle`'s, after COMMIT."""
        missing = len(opening) - len(self._free)
        if missing > 0:
            first = len(self._seen)
            pages = -(-missing // PAGE_SLOTS)
            for column in (self._seen, self._brokers, self._limits, self._lost, self._ends):
                column.frombytes(bytes(4 * PAGE_SLOTS * pages))
            self.keys += [None] * (PAGE_SLOTS * pages)
            self._free[:0] = reversed(range(first, len(self._seen)))
        return dict(zip(opening, reversed(self._free), strict=False))

    def settle(self, opened: Mapping[Key, Opened], closed: Iterable[Key]) -> int:
        """Take over what a committed batch opened, or changed of what is open, and what it closed.

        Returns how many heartbeats that were held for the opened sessions count after all.
        """
        new = [(key, one) for key, one in opened.items() if key not in self.slots]
        del self._free[len(self._free) - len(new) :]
        released = 0
        for key, one in new:
            self.slots[key] = one.slot
            self.keys[one.slot] = key
        for one in opened.values():
            self.arm(one)
        for key, _ in new:
            self._strays.discard(key)
            held = self._held.pop(key, None)
            if held is not None:
                self.beat(key, held.appended_at, held.detail)
                released += held.beats
        for key in closed:
            slot = self.slots.pop(key)
            self.keys[slot] = None
            self._seen[slot] = self._limits[slot] = self._lost[slot] = 0
            self._dirty.add(slot // PAGE_SLOTS)
            self._freed.append(slot)
            self._details.pop(key, None)
        return released

    def arm(self, one: Opened) -> None:
        """Judge a session's liveness from now on as the log says that it stands."""
        slot, loss = one.slot, one.loss
        self._mark(slot, one.appended_at)
        self._brokers[slot] = one.broker
        self._limits[slot] = one.limit or 0
        self._lost[slot] = 0 if loss is None else int(loss.last_seen_at.timestamp())
        self._ends[slot] = one.ends

    def disarm(self, slot: int) -> None:
        """Judge a session no more until the log says what became of the decision about it."""
        self._limits[slot] = self._lost[slot] = 0

    def judged(self, slot: int) -> tuple[int, int]:
        """Return the number of a session's broker, and after how many seconds without a heartbeat it is lost."""
        return self._brokers[slot], self._limits[slot]

    def last_seen(self, key: Key) -> datetime | None:
        """Return when an open session was last seen, in whole seconds of append time."""
        slot = self.slots.get(key)
        return None if slot is None else datetime.fromtimestamp(self._seen[slot], UTC)

    def overdue(self, now: int, floors: Sequence[int]) -> list[int]:
        """Return the slots of sessions that nothing was heard of for their time-out.

        The time counts from `floors` by broker, where that is later: what holds a judgement back. Append times are kept
        in whole seconds, rounded down, so that one second more has to pass.
        """
        seen, limits, brokers = self._column(self._seen), self._column(self._limits), self._column(self._brokers)
        judged = np.flatnonzero((limits != 0) & (seen + limits < now))
        if not judged.size:
            return []
        since = np.maximum(seen[judged], np.array(floors, dtype=np.uint32)[brokers[judged]])
        return [int(slot) for slot in judged[since + limits[judged] < now]]

    def recovered(self) -> list[int]:
        """Return the slots of lost sessions that have been heard of since."""
        seen, lost = self._column(self._seen), self._column(self._lost)
        return [int(slot) for slot in np.flatnonzero((lost != 0) & (seen > lost))]

    def ended(self, now: int) -> list[int]:
        """Return the slots of sessions that have been lost for their grace period."""
        lost, ends = self._column(self._lost), self._column(self._ends)
        return [int(slot) for slot in np.flatnonzero((lost != 0) & (ends <= now))]

    def _column(self, column: "array[int]") -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
        return np.frombuffer(column, dtype=np.uint32)

    def take_strays(self, keys_max: int) -> dict[Key, datetime]:
        """Return sessions that are not open here and whose heartbeats came, each once while it is held."""
        taken: dict[Key, datetime] = {}
        while self._strays and len(taken) < keys_max:
            key = self._strays.pop()
            if key in self._held:
                taken[key] = self._held[key].appended_at
        return taken

    def beat(self, key: Key, appended_at: datetime, detail: Detail | None) -> bool:
        """Mark a session as alive; return False when it is not open here."""
        slot = self.slots.get(key)
        if slot is None:
            return False
        self._mark(slot, appended_at)
        if detail is not None:
            self._details[key] = detail.after(self._details.get(key))
        return True

    def beat_all(self, keys: Iterable[Key], appended_at: datetime) -> list[Key]:
        """Mark sessions as alive; return those that are not open here."""
        slots, seen, seconds, strays = self.slots, self._seen, int(appended_at.timestamp()), []
        for key in keys:
            slot = slots.get(key)
            if slot is None:
                strays.append(key)
            elif seconds > seen[slot]:
                seen[slot] = seconds
                self._dirty.add(slot // PAGE_SLOTS)
        return strays

    def hold(self, key: Key, appended_at: datetime, detail: Detail | None) -> int:
        """Keep the heartbeat of an unknown session for a while; return how many others had to go for it."""
        held = self._held.get(key)
        if held is not None:
            newest = detail.after(held.detail) if detail is not None else held.detail
            self._held[key] = Held(held.since, held.beats + 1, appended_at, newest)
            return 0
        self._held[key] = Held(appended_at, 1, appended_at, detail)
        self._strays.add(key)
        if len(self._held) <= HELD_MAX:
            return 0
        oldest, dropped = self._held.popitem(last=False)
        self._strays.discard(oldest)
        return dropped.beats

    def expire(self, now: datetime | None) -> int:
        """Drop the heartbeats held for too long at `now`, or all for None; return how many."""
        dropped = 0
        while self._held:
            key, held = self._held.popitem(last=False)
            if now is not None and held.since > now - HELD_FOR:
                self._held[key] = held
                self._held.move_to_end(key, last=False)
                break
            dropped += held.beats
            self._strays.discard(key)
        return dropped

    def flush(self) -> Flush:
        """Return what has to be written now; `flushed` says that it was committed."""
        pages = []
        for page in sorted(self._dirty):
            words = np.frombuffer(self._seen, dtype=np.uint32, count=PAGE_SLOTS, offset=4 * PAGE_SLOTS * page)
            pages.append((page, words.astype(">u4").tobytes()))
        flush = Flush(pages, self._details, self._freed)
        self._dirty, self._details, self._freed = set(), {}, []
        return flush

    def flushed(self, flush: Flush) -> None:
        """Let slots be used again whose zero is committed."""
        self._free.extend(flush.freed)

    def _mark(self, slot: int, appended_at: datetime) -> None:
        if appended_at is not self._marked_at:  # neighbours in the log share their time: see the worker's transport
            self._marked_at, self._marked_seconds = appended_at, int(appended_at.timestamp())
        if self._marked_seconds > self._seen[slot]:
            self._seen[slot] = self._marked_seconds
            self._dirty.add(slot // PAGE_SLOTS)
