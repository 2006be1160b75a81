"""When each open session of one partition was last heard of, in memory, and which pages of that have to be written."""

from array import array
from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from sojourn.projections.facts import Key
from sojourn.projections.pages import Detail

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


class Liveness:
    """The slots of one partition's open sessions; seconds since 1970 by append time, 0 for a free slot."""

    def __init__(self, slots: dict[Key, int], pages: dict[int, bytes]) -> None:
        self.slots = slots
        count = 1 + max([*(slot // PAGE_SLOTS for slot in slots.values()), *pages, -1])
        self._seen = array("I", bytes(4 * PAGE_SLOTS * count))
        for page, seen in pages.items():
            self._seen[page * PAGE_SLOTS : (page + 1) * PAGE_SLOTS] = array(
                "I", np.frombuffer(seen, dtype=">u4").astype(np.uint32).tobytes()
            )
        used = set(slots.values())
        unused = [slot for slot in range(len(self._seen)) if slot not in used]
        self._free = [slot for slot in reversed(unused) if self._seen[slot] == 0]
        self._freed = [slot for slot in unused if self._seen[slot] != 0]
        self._dirty = {slot // PAGE_SLOTS for slot in self._freed}
        for slot in self._freed:
            self._seen[slot] = 0
        self._details: dict[Key, Detail] = {}
        self._held: OrderedDict[Key, Held] = OrderedDict()  # a dict would scan over what was dropped

    def reserve(self, opening: Collection[Key]) -> dict[Key, int]:
        """Return slots for sessions about to open, without taking them: that is `settle`'s, after COMMIT."""
        missing = len(opening) - len(self._free)
        if missing > 0:
            first = len(self._seen)
            pages = -(-missing // PAGE_SLOTS)
            self._seen.frombytes(bytes(4 * PAGE_SLOTS * pages))
            self._free[:0] = reversed(range(first, len(self._seen)))
        return dict(zip(opening, reversed(self._free), strict=False))

    def settle(self, opened: dict[Key, tuple[int, datetime]], closed: Iterable[Key]) -> int:
        """Take over what a committed batch opened (slot and append time) and closed.

        Returns how many heartbeats that were held for the opened sessions count after all.
        """
        del self._free[len(self._free) - len(opened) :]
        released = 0
        for key, (slot, appended_at) in opened.items():
            self.slots[key] = slot
            self._mark(slot, appended_at)
            held = self._held.pop(key, None)
            if held is not None:
                self.beat(key, held.appended_at, held.detail)
                released += held.beats
        for key in closed:
            slot = self.slots.pop(key)
            self._seen[slot] = 0
            self._dirty.add(slot // PAGE_SLOTS)
            self._freed.append(slot)
            self._details.pop(key, None)
        return released

    def beat(self, key: Key, appended_at: datetime, detail: Detail | None) -> bool:
        """Mark a session as alive; return False when it is not open here."""
        slot = self.slots.get(key)
        if slot is None:
            return False
        self._mark(slot, appended_at)
        if detail is not None:
            self._details[key] = detail.after(self._details.get(key))
        return True

    def hold(self, key: Key, appended_at: datetime, detail: Detail | None) -> int:
        """Keep the heartbeat of an unknown session for a while; return how many others had to go for it."""
        held = self._held.get(key)
        if held is not None:
            newest = detail.after(held.detail) if detail is not None else held.detail
            self._held[key] = Held(held.since, held.beats + 1, appended_at, newest)
            return 0
        self._held[key] = Held(appended_at, 1, appended_at, detail)
        return self._held.popitem(last=False)[1].beats if len(self._held) > HELD_MAX else 0

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
        seconds = int(appended_at.timestamp())
        if seconds > self._seen[slot]:
            self._seen[slot] = seconds
            self._dirty.add(slot // PAGE_SLOTS)
