"""Judging liveness: which sessions of a partition are lost, recovered or taken to have ended, which brokers are silent.

Whoever calls must have applied all that was appended before `now`; otherwise Sojourn itself would be what is late.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from sojourn.consumers.liveness import Liveness, Opened
from sojourn.consumers.signs import Broker, Signs
from sojourn.events.codec import encode
from sojourn.events.decisions import broker_returned, broker_silent, lost, lost_ended, recovered
from sojourn.events.topics import LIFECYCLE, session_key
from sojourn.events.types import BrokerReturned, BrokerSilent, LivenessDecision
from sojourn.projections.decided import Decided
from sojourn.projections.facts import Key
from sojourn.projections.fold import Changes
from sojourn.projections.outbox import Outgoing
from sojourn.projections.session import Loss, Session

TIMEOUT_SECONDS: Final = 90  # three missed beats of 30 s
GRACE_SECONDS: Final = 1800  # a laptop's lid is closed for a meeting and opened again
SILENT_BEATS: Final = 3  # missed `broker.alive` in a row
SURE_BEATS: Final = 1.5  # a broker heard of since then has missed none, so it would have beaten its sessions
RETURN_BEATS: Final = 2  # after so long without a sign its sessions' beats may be as late as that
SILENCE_EXCUSES_SECONDS: Final = 4 * 3600  # longer ones are no restart: nobody comes back to beat these sessions
DECISIONS_MAX: Final = 5000  # at once; the next sweep takes the others


class Sweep:
    """Decides about the sessions and brokers of one partition, for its owner since `since`.

    Nobody is judged before one time-out has passed since then, or since `hold_back`: what was not heard until then may
    not have been told.
    """

    def __init__(self, partition: int, liveness: Liveness, signs: Signs, since: datetime, decided: Decided) -> None:
        self._partition, self._liveness, self._signs = partition, liveness, signs
        self._since = int(since.timestamp())
        self._clear_since: datetime | None = None
        self._returned: dict[str, int] = {}
        self._losses: dict[Key, Loss] = {}
        self._disarmed: dict[Key, Opened] = {}
        self._told: set[str] = set()
        self._decided = decided

    def hold_back(self, now: datetime) -> None:
        """Judge nobody before one time-out has passed from `now` on: heartbeats were lost."""
        self._since = max(self._since, int(now.timestamp()))

    def see_clearly(self, since: datetime) -> None:
        """Hold back from when on nothing was in the way; a clock that was set back takes what it held back along."""
        if since != self._clear_since:
            seconds = int(since.timestamp())
            self._since = max(self._since, seconds) if self._clear_since is None else seconds
            self._clear_since = since

    def opened(self, key: Key, slot: int, broker: str, appended_at: datetime, loss: Loss | None) -> Opened:
        """Return how the liveness of an open session is to be judged."""
        number = self._signs.of(broker).number
        if loss is None or loss.over:
            self._losses.pop(key, None)
            return Opened(slot, appended_at, number, self._timeout(key[0], broker), None)
        self._losses[key] = loss
        return Opened(slot, appended_at, number, None, loss, int(loss.deadline.timestamp()) + self._grace(key[0]))

    def settle(self, changes: Changes, decided: Decided) -> None:
        """Take over what a committed batch decided, and judge again what a decision did not change after all."""
        if decided.settings != self._decided.settings:
            self._decided = decided
            self._judge_anew()
        self._decided = decided
        for decision in changes.decisions:
            if isinstance(decision.event, BrokerSilent | BrokerReturned):
                self._told.discard(decision.event.data.source)
        for entry in changes.entries:
            if isinstance(entry.fact.event, LivenessDecision):
                before = self._disarmed.pop(entry.fact.key, None)
                if before is not None and entry.session is None and entry.disposition != "duplicate":
                    self._arm_again(entry.fact.key, before)

    def closed(self, keys: Iterable[Key]) -> None:
        """Forget sessions that ended."""
        for key in keys:
            self._losses.pop(key, None)
            self._disarmed.pop(key, None)

    def dropped(self, event: LivenessDecision) -> None:
        """Judge a session again whose decision was not appended."""
        before = self._disarmed.pop((event.tenant, event.subject), None)
        if before is not None:
            self._arm_again((event.tenant, event.subject), before)

    def decide(self, now: datetime, heartbeat_offset: int, misrouting: Collection[str] = ()) -> list[Outgoing]:
        """Return the decisions that are due at `now`; each is returned once, until the log says what became of it."""
        seconds = int(now.timestamp())
        outgoing = list(self._of_brokers(seconds, heartbeat_offset))
        outgoing += self._recover(heartbeat_offset)
        floors = [self._floor(broker, seconds, misrouting) for broker in self._signs.brokers.values()]
        outgoing += self._end(seconds, floors)
        outgoing += self._lose(seconds, floors, heartbeat_offset)
        return outgoing

    def _lose(self, now: int, floors: Sequence[int], heartbeat_offset: int) -> Iterable[Outgoing]:
        for slot in self._liveness.overdue(now, floors)[:DECISIONS_MAX]:
            key = self._liveness.keys[slot]
            assert key is not None
            broker, timeout = self._liveness.judged(slot)
            seen_at = self._liveness.last_seen(key)
            assert seen_at is not None
            deadline = max(int(seen_at.timestamp()), floors[broker]) + timeout
            self._disarm(key, Opened(slot, seen_at, broker, timeout, None))
            until = datetime.fromtimestamp(deadline, UTC)
            yield _outgoing(key, lost(*key, seen_at, until, timeout, heartbeat_offset))

    def _recover(self, heartbeat_offset: int) -> Iterable[Outgoing]:
        for slot in self._liveness.recovered()[:DECISIONS_MAX]:
            key = self._liveness.keys[slot]
            assert key is not None
            seen_at = self._liveness.last_seen(key)
            assert seen_at is not None
            loss = self._still_lost(key, slot)
            yield _outgoing(key, recovered(*key, loss.id, seen_at, heartbeat_offset))

    @property
    def _sources(self) -> list[str]:
        return list(self._signs.brokers)  # in the order of their numbers

    def _end(self, now: int, floors: Sequence[int]) -> Iterable[Outgoing]:
        sources, taken = self._sources, 0
        for slot in self._liveness.ended(now):
            key = self._liveness.keys[slot]
            assert key is not None
            broker, _ = self._liveness.judged(slot)
            if taken == DECISIONS_MAX or now <= floors[broker] + self._timeout(key[0], sources[broker]):
                continue
            taken += 1
            loss = self._still_lost(key, slot)
            between = loss.last_seen_at, loss.deadline
            yield _outgoing(key, lost_ended(*key, loss.id, between, self._grace(key[0])))

    def _still_lost(self, key: Key, slot: int) -> Loss:
        loss = self._losses[key]
        broker, _ = self._liveness.judged(slot)
        ends = int(loss.deadline.timestamp()) + self._grace(key[0])
        self._disarm(key, Opened(slot, loss.last_seen_at, broker, None, loss, ends))
        return loss

    def _floor(self, broker: Broker, now: int, misrouting: Collection[str]) -> int:
        """Return from when on a broker's sessions are judged; `now` for not at all."""
        since = max(self._since, self._returned.get(broker.source, 0))
        if broker.source in misrouting:
            return now
        if not broker.can_be_silent or broker.last_appended_at is None:
            return since
        heard = max(int(broker.last_appended_at.timestamp()), self._since)
        quiet = now - heard
        if quiet > SILENCE_EXCUSES_SECONDS:
            return max(since, heard + SILENCE_EXCUSES_SECONDS)
        if quiet > RETURN_BEATS * broker.alive_seconds:  # whoever comes back gets a time-out to beat all its sessions
            self._returned[broker.source] = now
        is_sure = quiet <= SURE_BEATS * broker.alive_seconds and broker.source not in self._decided.silent
        return since if is_sure else now

    def _of_brokers(self, now: int, heartbeat_offset: int) -> Iterable[Outgoing]:
        for source, broker in self._signs.brokers.items():
            heard_at, silence = broker.last_appended_at, self._decided.silent.get(source)
            if not broker.can_be_silent or heard_at is None or source in self._told:
                continue
            deadline = max(int(heard_at.timestamp()), self._since) + SILENT_BEATS * broker.alive_seconds
            if silence is None and deadline < now:
                self._told.add(source)
                until = datetime.fromtimestamp(deadline, UTC)
                event = broker_silent(source, self._partition, heard_at, until, heartbeat_offset)
                yield Outgoing(LIFECYCLE, None, encode(event))
            elif silence is not None and heard_at > silence.since:
                self._told.add(source)
                self._returned[source] = int(heard_at.timestamp())
                yield Outgoing(LIFECYCLE, None, encode(broker_returned(source, silence.id, heard_at, heartbeat_offset)))

    def _timeout(self, tenant: str, broker: str) -> int:
        setting = self._decided.settings.get(tenant)
        if setting is None:
            return TIMEOUT_SECONDS
        return setting.timeouts.get(broker) or setting.heartbeat_timeout_seconds or TIMEOUT_SECONDS

    def _grace(self, tenant: str) -> int:
        setting = self._decided.settings.get(tenant)
        return GRACE_SECONDS if setting is None or setting.lost_grace_seconds is None else setting.lost_grace_seconds

    def _judge_anew(self) -> None:
        """Judge all sessions by the settings that hold now."""
        sources = self._sources
        for key, slot in self._liveness.slots.items():
            if key in self._disarmed:
                continue
            number, _ = self._liveness.judged(slot)
            seen_at = self._liveness.last_seen(key)
            assert seen_at is not None
            self._liveness.arm(self.opened(key, slot, sources[number], seen_at, self._losses.get(key)))

    def _disarm(self, key: Key, before: Opened) -> None:
        self._disarmed[key] = before
        self._liveness.disarm(before.slot)

    def _arm_again(self, key: Key, before: Opened) -> None:
        if self._liveness.slots.get(key) == before.slot and before.loss == self._losses.get(key):
            self._liveness.arm(before)


def reopening(sessions: dict[Key, Session], beats: dict[Key, datetime], heartbeat_offset: int) -> list[Outgoing]:
    """Return the decisions that reopen sessions which were taken to have ended and of which heartbeats came since."""
    outgoing = []
    for key, session in sessions.items():
        loss, logout = session.loss, session.logout
        if session.phase == "lost_ended" and loss is not None and logout is not None and beats[key] > logout.at:
            outgoing.append(_outgoing(key, recovered(*key, loss.id, beats[key], heartbeat_offset)))
    return outgoing


def _outgoing(key: Key, event: LivenessDecision) -> Outgoing:
    return Outgoing(LIFECYCLE, session_key(*key), encode(event))
