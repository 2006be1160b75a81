"""One owned partition: its two topics, its liveness, and the commit order that makes their effect exactly-once."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import psycopg
import structlog
from msgspec.structs import replace
from psycopg import AsyncConnection

from sojourn.consumers.bisect import Piece, apply_batch, is_of_data, refused_of
from sojourn.consumers.commands import Deadlines, requests
from sojourn.consumers.heartbeats import apply_heartbeats
from sojourn.consumers.killpoints import reach
from sojourn.consumers.liveness import Flush, Liveness
from sojourn.consumers.measures import UNOBSERVED
from sojourn.consumers.relay import Relay
from sojourn.consumers.signs import Signs
from sojourn.consumers.sweep import Sweep, reopening
from sojourn.consumers.writers import Writer
from sojourn.events.log import Batch, Log, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.broker_store import BrokerRow, apply_brokers
from sojourn.projections.command_store import apply_commands, load_commands
from sojourn.projections.commands import command_key
from sojourn.projections.decided import Decided
from sojourn.projections.facts import DeadLetter, Fact, Key, judge_lifecycle
from sojourn.projections.fold import Changes, fold
from sojourn.projections.letters import load_letters, write_parked
from sojourn.projections.outbox import apply_outgoing, put_outgoing, stage_outgoing
from sojourn.projections.pages import Detail, apply_liveness, stage_liveness
from sojourn.projections.parking import Parked, park
from sojourn.projections.store import (
    Owned,
    advance,
    apply_changes,
    apply_dead_letters,
    as_projector,
    count_dispositions,
    ensure_months,
    insert_tenants,
    load_sessions,
    stage_changes,
    stage_dead_letters,
    tell_complete,
)

STRAYS_MAX: Final = 1000  # sessions looked up at once whose heartbeats came though they are not open
FLUSH_SECONDS: Final = 5.0  # how old last-seen in the tables may be; each flush is one transaction per partition
PENDING_DEAD_BYTES_MAX: Final = 8 << 20  # of dead heartbeats in memory, in each partition; more are flushed at once

_log = structlog.get_logger("sojourn.partition")


class Partition:
    """Applies batches of one partition in order; whoever catches an error from it must drop it and own anew."""

    def __init__(
        self,
        writer: Writer,
        owned: Owned,
        liveness: Liveness,
        signs: Signs,
        sweep: Sweep,
        deadlines: Deadlines,
        decided: Decided,
        partitions: int,
    ) -> None:
        self.number = owned.partition
        self.next_offsets = {topic: position.next_offset for topic, position in owned.positions.items()}
        self._writer, self._owned, self._liveness, self._partitions = writer, owned, liveness, partitions
        self._signs, self._sweep, self._deadlines, self._decided = signs, sweep, deadlines, decided
        self.queued: dict[Key, int] = {}  # how many letters wait in the queue of each session
        self._relay = Relay(writer, owned, liveness, sweep)
        self._complete_to: datetime | None = None
        self._flushed_offset = self.next_offsets[HEARTBEATS]
        self._flush_due = time.monotonic() + FLUSH_SECONDS
        self._last_heartbeat: Record | None = None
        self._beats: Counter[str] = Counter()
        self._dead: list[DeadLetter] = []
        self.commits = 0
        self.measures = UNOBSERVED
        self._tenants: set[str] = set()
        self._months: set[date] = set()

    async def apply_lifecycle(self, batch: Batch) -> None:
        """Apply a batch of lifecycle records: what one of them spoils is applied without it."""
        judged = judge_lifecycle(batch.records, self._partitions, self._decided)
        await apply_batch(batch, judged, self._apply)

    async def _apply(self, piece: Piece) -> None:
        """Apply consecutive records, which usually are the whole batch.

        1. Fold them, from the states read before; pure.
        2. Write rows, dead letters and the new position in one transaction. What it writes is copied into temporary
           tables first; then the fence moves the position from where this owner, in this epoch, left it, or raises
           `Fenced`; then the rows follow.
        3. Only after COMMIT change memory.
        """
        begun = self.measures.begin(piece.batch)
        async with self._writer.use() as connection:
            parked, changes = await self._fold(connection, piece)
            slots = await self._write(connection, piece.batch, parked, changes)
        self._settle(piece.batch, parked, changes, slots)
        self.measures.applied(piece.batch, changes, begun)

    async def _fold(self, connection: AsyncConnection[Any], piece: Piece) -> tuple[Parked, Changes]:
        letters = await load_letters(connection, self.number, piece.judged)
        parked = park(piece.judged, self.queued, self._decided, self._partitions, letters)
        facts = [item for item in parked.judged if isinstance(item, Fact)]
        keys = {fact.key for fact in facts}
        since = piece.batch.records[0].appended_at if keys else None
        states = await load_sessions(connection, self.number, keys, since) if since is not None else {}
        command_keys = {key for key in map(command_key, facts) if key is not None}
        commands = await load_commands(connection, self.number, command_keys) if command_keys else {}
        return parked, fold(states, parked.judged, commands)

    async def _write(
        self, connection: AsyncConnection[Any], batch: Batch, parked: Parked, changes: Changes
    ) -> Mapping[Key, int]:
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
        outgoing = requests(changes)
        reach("lifecycle.folded")
        async with as_projector(connection):
            await stage_changes(connection, changes, self._liveness.slots, slots)
            await stage_outgoing(connection, outgoing)
            reach("lifecycle.staged")
            await advance(connection, self._owned, LIFECYCLE, offsets, batch.records[-1] if batch.records else None)
            reach("lifecycle.fenced")
            await apply_changes(connection, changes)
            await write_parked(connection, self.number, parked)
            await apply_commands(connection, changes.commands)
            await apply_outgoing(connection, self._owned, outgoing)
            await insert_tenants(connection, self._first_of_tenants(changes))
            await count_dispositions(connection, LIFECYCLE, self.number, parked.counted(changes))
            reach("lifecycle.written")
        reach("lifecycle.committed")
        return slots

    def _settle(self, batch: Batch, parked: Parked, changes: Changes, slots: Mapping[Key, int]) -> None:
        self.commits += 1
        self.next_offsets[LIFECYCLE] = batch.next_offset
        self._decided = self._decided.after(changes.decisions)
        if parked.queued:
            self.queued = {key: count for key, count in (self.queued | parked.queued).items() if count}
        self._tenants.update(self._first_of_tenants(changes))
        opened, closed = {}, []
        for key, session in changes.sessions.items():
            slot = self._liveness.slots.get(key)
            if session.logout is None:
                assert session.login is not None
                alive_at = session.login.appended_at
                if slot is None:  # also one that was taken to have ended and is alive after all
                    slot, alive_at = slots[key], session.appended_at
                opened[key] = self._sweep.opened(key, slot, session.broker, alive_at, session.loss)
            elif slot is not None:
                closed.append(key)
        released = self._liveness.settle(opened, closed)
        self._sweep.closed(closed)
        # A decision that waits behind a dead letter is not void, or it would be taken again and again.
        entries = [entry for entry in changes.entries if entry.disposition != "parked"]
        self._sweep.settle(replace(changes, entries=entries), self._decided)
        self._deadlines.settle(changes)
        self._relay.is_due |= bool(changes.commands)
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
        begun = self.measures.begin(batch)
        counts, dead = apply_heartbeats(batch.records, self._liveness, self._signs, self._partitions, self._decided)
        self._beats.update(counts)
        self._dead += dead
        self.next_offsets[HEARTBEATS] = batch.next_offset
        self._last_heartbeat = batch.records[-1] if batch.records else self._last_heartbeat
        self.measures.taken(batch, begun)
        if sum(len(letter.record.value) for letter in self._dead) > PENDING_DEAD_BYTES_MAX:
            await self.flush()

    def skip_heartbeats(self, offset: int, now: datetime) -> None:
        """Jump to `offset` from heartbeats that the log does not hold, and count those that are lost."""
        self._beats["gap"] += max(0, offset - self.next_offsets[HEARTBEATS])
        self.next_offsets[HEARTBEATS] = offset
        self._sweep.hold_back(now)
        self.measures.skipped(self.number, offset)

    async def decide(self, now: datetime, clear_since: datetime, misrouting: Collection[str]) -> None:
        """Decide what is due at `now` about sessions, brokers and commands, and put it into the outbox.

        All that was appended before `now`, in both topics, must be applied. The log could be reached since
        `clear_since`; the heartbeats of the brokers `misrouting` come to other partitions.
        """
        self._sweep.see_clearly(clear_since)
        outgoing = self._sweep.decide(now, self.next_offsets[HEARTBEATS], misrouting) + self._deadlines.expired(now)
        strays = self._liveness.take_strays(STRAYS_MAX)
        if outgoing or strays:
            async with self._writer.use() as connection:
                if strays:
                    ended = await load_sessions(connection, self.number, strays, now)
                    outgoing += reopening(ended, strays, self.next_offsets[HEARTBEATS])
                if outgoing:
                    reach("decisions.decided")
                    await put_outgoing(connection, self._owned, outgoing)
                    reach("decisions.committed")
                    self._relay.is_due = True
        self._complete_to = now

    async def relay(self, log: Log, now: datetime, *, waiting: bool) -> None:
        """Append what the outbox holds for this partition, if there is anything; `waiting` says that others saw it."""
        if waiting or self._relay.is_due:
            await self._relay.run(log, now)

    @property
    def committed(self) -> dict[str, int]:
        """The next offset of each topic as PostgreSQL has it."""
        return {LIFECYCLE: self.next_offsets[LIFECYCLE], HEARTBEATS: self._flushed_offset}

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
        brokers, complete_to = self._signs.changed(), self._complete_to
        if flush.pages or beats or brokers or complete_to or offsets[0] != offsets[1]:
            begun = time.monotonic()
            try:
                await self._write_flush(flush, offsets, beats, brokers, complete_to)
            except psycopg.Error as error:
                if not (flush.details and is_of_data(error)):
                    raise
                sound = flush._replace(details=await self._sound_details(flush.details))
                await self._write_flush(sound, offsets, beats, brokers, complete_to)
            reach("heartbeats.committed")
            self.commits += 1
            self.measures.flushed(self.number, beats, self._dead, begun)
        self._liveness.flushed(flush)
        self._signs.written(brokers)
        self._complete_to = None
        self._flushed_offset = offsets[1]
        self._beats, self._dead, self._last_heartbeat = Counter(), [], None
        self._flush_due = time.monotonic() + FLUSH_SECONDS

    async def _write_flush(
        self,
        flush: Flush,
        offsets: tuple[int, int],
        beats: Counter[str],
        brokers: Sequence[BrokerRow],
        complete_to: datetime | None,
    ) -> None:
        async with self._writer.use() as connection, as_projector(connection):
            await stage_liveness(connection, flush.pages, flush.details, self.number)
            await stage_dead_letters(connection, self._dead)
            await advance(connection, self._owned, HEARTBEATS, offsets, self._last_heartbeat)
            reach("heartbeats.fenced")
            await apply_liveness(connection, flush.pages, flush.details, self.number)
            await apply_dead_letters(connection, self._dead)
            await apply_brokers(connection, brokers, self.number)
            await tell_complete(connection, self._owned, complete_to)
            await count_dispositions(connection, HEARTBEATS, self.number, beats)
            reach("heartbeats.written")

    async def _sound_details(self, details: Mapping[Key, Detail]) -> dict[Key, Detail]:
        """Return the details without those that the database refuses: that their sessions live counts all the same."""

        async def attempt(some: Mapping[Key, Detail]) -> None:
            async with self._writer.use() as connection, as_projector(connection):
                await stage_liveness(connection, [], some, self.number)
                await apply_liveness(connection, [], some, self.number)
                raise psycopg.Rollback

        refused = await refused_of(details, attempt)
        for (tenant, session_id), error in refused.items():
            _log.warning("heartbeat.refused", tenant=tenant, session=session_id, error=error.diag.message_primary)
        return {key: detail for key, detail in details.items() if key not in refused}
