"""Where each partition of a worker stands: how far behind the log it is, and whether it moves."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import structlog

from sojourn.events.log import Batch
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

MOVING_SECONDS_MAX: Final = 30.0  # since a commit; a batch takes a tenth of a second, a restart of PostgreSQL ten
ANSWER_SECONDS_MAX: Final = 20.0  # since a server answered; each is asked every five, and a restart takes ten
SERVERS: Final = ("Kafka", "PostgreSQL")
BEHIND_SECONDS_MAX: Final = 30.0  # a partition that is older is worth a line in the log

_log = structlog.get_logger("sojourn.worker")

Place = tuple[str, int]  # topic, partition


class Lag(NamedTuple):
    """How far the log is ahead of one topic's partition; `seconds` is None until a record has been seen."""

    records: int
    seconds: float | None


class _Standing:
    """What is known of one assigned partition; instants are seconds since 1970, `committed` is monotonic."""

    def __init__(self) -> None:
        self.owned = self.stopped = False
        self.reason: str | None = None
        self.since, self.from_offsets = time.monotonic(), 0
        self.positions: dict[str, int] = {}
        self.in_hand: dict[str, float] = {}
        self.applied: dict[str, float] = {}
        self.clear: dict[str, float] = {}
        self.committed: float | None = None
        self.behind = True

    def fall_behind(self) -> None:
        self.behind, self.since, self.from_offsets = True, time.monotonic(), sum(self.positions.values())


class Progress:
    """Follows the partitions that the group gives to a worker; whatever is told of another one is passed over."""

    def __init__(self) -> None:
        self.known_ends: Callable[[], Mapping[Place, int]] = dict
        self.failure: str | None = None
        self.failing = asyncio.Event()
        self.loop_delay_seconds = 0.0
        self._standings: dict[int, _Standing] = {}
        self._ends: dict[Place, int] = {}
        self.joined = False
        self._answered = dict.fromkeys(SERVERS, 0.0)
        self._missed: dict[str, str] = {}

    @property
    def assigned(self) -> set[int]:
        """The partitions that the group gave."""
        return set(self._standings)

    @property
    def owned(self) -> set[int]:
        """Those of them that are owned."""
        return {number for number, standing in self._standings.items() if standing.owned}

    @property
    def stopped(self) -> set[int]:
        """Those of them that are stopped at a gap in the log."""
        return {number for number, standing in self._standings.items() if standing.stopped}

    def assign(self, numbers: Iterable[int]) -> None:
        """Take over an assignment."""
        self._standings = {number: self._standings.get(number) or _Standing() for number in numbers}
        self.joined, self._answered = True, dict.fromkeys(SERVERS, time.monotonic())

    def own(self, number: int, positions: Mapping[str, int]) -> None:
        """Note that a partition is owned and where it goes on."""
        standing = self._standings.get(number)
        if standing is not None:
            standing.owned, standing.stopped, standing.reason = True, False, None
            standing.positions, standing.in_hand = dict(positions), {}
            standing.fall_behind()

    def let_go(self, number: int) -> None:
        """Note that a partition is not owned any more, or not yet again."""
        standing = self._standings.get(number)
        if standing is not None:
            standing.owned = False

    def hinder(self, number: int, reason: str, *, stopped: bool = False) -> None:
        """Note why a partition does not go on."""
        standing = self._standings.get(number)
        if standing is not None:
            standing.reason, standing.stopped = reason, stopped

    def fail(self, reason: str) -> None:
        """Note that the worker ends, and why."""
        self.failure = reason
        self.failing.set()

    def begin(self, batch: Batch) -> None:
        """Note what is being applied: until it is, its first record is the oldest that is not."""
        standing = self._standings.get(batch.partition)
        if standing is not None and batch.records:
            standing.in_hand[batch.topic] = batch.records[0].appended_at.timestamp()

    def reach(self, batch: Batch) -> None:
        """Note that a batch is applied."""
        standing = self._standings.get(batch.partition)
        if standing is not None:
            standing.positions[batch.topic] = batch.next_offset
            standing.in_hand.pop(batch.topic, None)
            if batch.records:
                standing.applied[batch.topic] = batch.records[-1].appended_at.timestamp()

    def skip(self, place: Place, offset: int) -> None:
        """Note a jump over records that the log does not hold."""
        standing = self._standings.get(place[1])
        if standing is not None:
            standing.positions[place[0]] = offset

    def commit(self, number: int) -> None:
        """Note that something of a partition was committed just now."""
        standing = self._standings.get(number)
        if standing is not None:
            standing.committed = time.monotonic()

    def end(self, ends: Mapping[str, Mapping[int, int]]) -> None:
        """Take the ends of the log as Kafka tells them now."""
        self.answer("Kafka")
        self._ends = {(topic, number): end for topic, of_topic in ends.items() for number, end in of_topic.items()}

    def answer(self, server: str) -> None:
        """Note that a server answered just now."""
        self._answered[server] = time.monotonic()
        if self._missed.pop(server, None) is not None:
            _log.info("server.back", server=server)

    def miss(self, server: str, reason: str) -> None:
        """Note that a server does not answer, and why."""
        line = " ".join(reason.split())
        if server not in self._missed:
            _log.warning("server.away", server=server, reason=line)
        self._missed[server] = line

    def lags(self) -> dict[Place, Lag]:
        """Return how far behind each place is, where both its position and the log's end are known."""
        now, fetched, lags = time.time(), self.known_ends(), dict[Place, Lag]()
        for number, standing in self._standings.items():
            for topic, offset in standing.positions.items():
                ends = [known[topic, number] for known in (fetched, self._ends) if (topic, number) in known]
                if ends:
                    lags[topic, number] = _lag(standing, topic, max(ends) - offset, now)
        return lags

    def look(self) -> None:
        """Tell in the log which partitions have caught up and which fell behind."""
        lags = self.lags()
        for number, standing in self._standings.items():
            of_topics = [lags.get((topic, number)) for topic in (LIFECYCLE, HEARTBEATS)]
            known = [lag for lag in of_topics if lag is not None]
            records, seconds = sum(lag.records for lag in known), max((lag.seconds or 0.0 for lag in known), default=0)
            if standing.behind and standing.owned and len(known) == len(of_topics) and records == 0:
                standing.behind = False
                took = round(time.monotonic() - standing.since, 1)
                moved = sum(standing.positions.values()) - standing.from_offsets
                _log.info("partition.caught_up", partition=number, records=moved, seconds=took)
            elif not standing.behind and seconds > BEHIND_SECONDS_MAX:
                standing.fall_behind()
                _log.warning("partition.behind", partition=number, lag_records=records, lag_seconds=round(seconds, 1))

    def liveness(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether the process is worth keeping; who asks for it has seen that the event loop turns."""
        details: dict[str, Any] = {
            "status": "ok" if self.failure is None else "failing",
            "loop_delay_seconds": round(self.loop_delay_seconds, 3),
        }
        return self.failure is None, details | ({} if self.failure is None else {"reason": self.failure})

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether every partition that the group gave is owned and caught up or moving, with the details."""
        lags, now = self.lags(), time.monotonic()
        reason = self.failure or self._hindrance(now)
        partitions = {str(number): self._state(number, lags, now) for number in sorted(self._standings)}
        ready = reason is None and all(found["state"] in ("caught up", "moving") for found in partitions.values())
        details = {"status": "ready" if ready else "not ready", "partitions": partitions}
        return ready, details | ({} if reason is None else {"reason": reason})

    def _hindrance(self, now: float) -> str | None:
        """Return why no partition can be trusted to move."""
        if not self.joined:
            return "the group has assigned nothing yet"
        for server, answered in self._answered.items():
            if server in self._missed:
                return f"{server} does not answer: {self._missed[server]}"
            if now - answered > ANSWER_SECONDS_MAX:
                return f"{server} has not answered for {now - answered:.0f} s"
        return None

    def _state(self, number: int, lags: Mapping[Place, Lag], now: float) -> dict[str, Any]:
        standing = self._standings[number]
        known = {topic: lags[topic, number] for topic in (LIFECYCLE, HEARTBEATS) if (topic, number) in lags}
        if standing.stopped:
            state = "stopped"
        elif not standing.owned:
            state = "not owned"
        elif len(known) == len((LIFECYCLE, HEARTBEATS)) and not any(lag.records for lag in known.values()):
            state = "caught up"
        elif standing.committed is not None and now - standing.committed <= MOVING_SECONDS_MAX:
            state = "moving"
        else:
            state = "not moving"
        told = {} if standing.reason is None else {"reason": standing.reason}
        return {"state": state, **told, "lag_records": {topic: lag.records for topic, lag in known.items()}}


def _lag(standing: _Standing, topic: str, records: int, now: float) -> Lag:
    """Return the lag of one topic.

    The oldest record not applied is the first one in hand. Where none is, it came after the newest applied one and
    after the last time that none was missing.
    """
    if records <= 0:
        standing.clear[topic] = now
        return Lag(0, 0.0)
    after = [times[topic] for times in (standing.applied, standing.clear) if topic in times]
    since = standing.in_hand.get(topic, max(after, default=None))
    return Lag(records, None if since is None else max(0.0, now - since))
