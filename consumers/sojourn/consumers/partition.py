"""One owned partition: its two topics, its liveness, and the commit order that makes their effect exactly-once."""

import time
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from psycopg import AsyncConnection

from sojourn.consumers.heartbeats import apply_heartbeats
from sojourn.consumers.killpoints import reach
from sojourn.consumers.liveness import Liveness
from sojourn.consumers.writers import Writer
from sojourn.events.log import Batch, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.facts import DeadLetter, Fact, Key, judge_lifecycle
from sojourn.projections.fold import Changes, fold
from sojourn.projections.pages import write_liveness
from sojourn.projections.store import (
    Owned,
    advance,
    as_projector,
    count_dispositions,
    ensure_months,
    insert_tenants,
    load_sessions,
    write_changes,
    write_dead_letters,
)

FLUSH_SECONDS: Final = 5.0  # how old last-seen in the tables may be; each flush is one transaction per partition
PENDING_DEAD_BYTES_MAX: Final = 8 << 20  # of dead heartbeats in memory, in each partition; more are flushed at once


class Partition:
    """Applies batches of one partition in order; whoever catches an error from it must drop it and own anew."""

    def __init__(self, writer: Writer, owned: Owned, liveness: Liveness, partitions: int) -> None:
        self.number = owned.partition
        self.next_offsets = {topic: position.next_offset for topic, position in owned.positions.items()}
        self._writer, self._owned, self._liveness, self._partitions = writer, owned, liveness, partitions
        self._flushed_offset = self.next_offsets[HEARTBEATS]
        self._flush_due = time.monotonic() + FLUSH_SECONDS
        self._last_heartbeat: Record | None = None
        self._beats: Counter[str] = Counter()
        self._dead: list[DeadLetter] = []
        self.commits = 0
        self._tenants: set[str] = set()
        self._months: set[date] = set()

    async def apply_lifecycle(self, batch: Batch) -> Changes:
        """Apply a batch of lifecycle records.

        1. Fold the batch, from the states read before; pure.
        2. Write rows, dead letters and the new position in one transaction, which the fence opens: it moves the
           position from where this owner, in this epoch, left it, or raises `Fenced`.
        3. Only after COMMIT change memory.
        """
        async with self._writer.use() as connection:
            changes = await self._fold(connection, batch)
            slots = await self._write(connection, batch, changes)
        self._settle(batch, changes, slots)
        return changes

    async def _fold(self, connection: AsyncConnection[Any], batch: Batch) -> Changes:
        judged = [judge_lifecycle(record, self._partitions) for record in batch.records]
        keys = {item.key for item in judged if isinstance(item, Fact)}
        states = await load_sessions(connection, keys, batch.records[0].appended_at) if keys else {}
        return fold(states, judged)

    async def _write(self, connection: AsyncConnection[Any], batch: Batch, changes: Changes) -> Mapping[Key, int]:
        """Write one batch in one transaction; return the slots for the sessions that it opens."""
        months = {record.appended_at.date().replace(day=1) for record in batch.records} - self._months
        await ensure_months(connection, months)
        self._months |= months
        opening = [
            key
            for key, session in changes.sessions.items()
            if session.logout is None and key not in self._liveness.slots
        ]
        slots = self._liveness.reserve(opening)
        offsets = (self.next_offsets[LIFECYCLE], batch.next_offset)
        reach("lifecycle.folded")
        async with as_projector(connection):
            await advance(connection, self._owned, LIFECYCLE, offsets, batch.records[-1] if batch.records else None)
            reach("lifecycle.fenced")
            await write_changes(connection, changes, self._liveness.slots, slots)
            await insert_tenants(connection, self._first_of_tenants(changes))
            await count_dispositions(connection, LIFECYCLE, self.number, changes.dispositions)
            reach("lifecycle.written")
        reach("lifecycle.committed")
        return slots

    def _settle(self, batch: Batch, changes: Changes, slots: Mapping[Key, int]) -> None:
        self.commits += 1
        self.next_offsets[LIFECYCLE] = batch.next_offset
        self._tenants.update(self._first_of_tenants(changes))
        opened = {}
        for key, slot in slots.items():
            login = changes.sessions[key].login
            assert login is not None
            opened[key] = (slot, login.appended_at)
        closed = [
            key
            for key, session in changes.sessions.items()
            if session.logout is not None and key in self._liveness.slots
        ]
        released = self._liveness.settle(opened, closed)
        if released:
            self._beats["applied"] += released

    def _first_of_tenants(self, changes: Changes) -> dict[str, Record]:
        first: dict[str, Record] = {}
        for entry in changes.entries:
            if entry.session is not None and entry.fact.event.tenant not in self._tenants:
                first.setdefault(entry.fact.event.tenant, entry.fact.record)
        return first

    async def apply_heartbeats(self, batch: Batch) -> None:
        """Take a batch of heartbeats into memory; the next flush writes it."""
        counts, dead = apply_heartbeats(batch.records, self._liveness, self._partitions)
        self._beats.update(counts)
        self._dead += dead
        self.next_offsets[HEARTBEATS] = batch.next_offset
        self._last_heartbeat = batch.records[-1] if batch.records else self._last_heartbeat
        if sum(len(letter.record.value) for letter in self._dead) > PENDING_DEAD_BYTES_MAX:
            await self.flush()

    def skip_heartbeats(self, offset: int) -> None:
        """Jump to `offset` from heartbeats that the log does not hold, and count those that are lost."""
        self._beats["gap"] += max(0, offset - self.next_offsets[HEARTBEATS])
        self.next_offsets[HEARTBEATS] = offset

    def seconds_to_flush(self) -> float:
        """Return how long the next flush may wait."""
        return max(0.0, self._flush_due - time.monotonic())

    async def close(self) -> None:
        """Flush for the last time; heartbeats that still wait for their session are counted as unknown."""
        self._beats["unknown"] += self._liveness.expire(None)
        await self.flush()

    async def flush(self) -> None:
        """Write what heartbeats changed, with their position, in one transaction."""
        flush = self._liveness.flush()
        offsets = (self._flushed_offset, self.next_offsets[HEARTBEATS])
        beats = +self._beats
        if flush.pages or beats or offsets[0] != offsets[1]:
            async with self._writer.use() as connection, as_projector(connection):
                await advance(connection, self._owned, HEARTBEATS, offsets, self._last_heartbeat)
                reach("heartbeats.fenced")
                await write_liveness(connection, self.number, flush.pages, flush.details)
                await write_dead_letters(connection, self._dead)
                await count_dispositions(connection, HEARTBEATS, self.number, beats)
                reach("heartbeats.written")
            reach("heartbeats.committed")
            self.commits += 1
        self._liveness.flushed(flush)
        self._flushed_offset = offsets[1]
        self._beats, self._dead, self._last_heartbeat = Counter(), [], None
        self._flush_due = time.monotonic() + FLUSH_SECONDS
