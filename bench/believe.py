"""`python -m bench.believe`: days of injected time, the simulator's truth against the list; docs/believe.md's table."""

import asyncio
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, field

from bench.rehearsal import Clock, MemoryLog, Worker
from sojourn.consumers.sweep import GRACE_SECONDS, SILENCE_EXCUSES_SECONDS, SILENT_BEATS, SURE_BEATS, TIMEOUT_SECONDS
from sojourn.events.codec import decode, encode
from sojourn.events.embedded.database import Database, open_database
from sojourn.events.publisher import route
from sojourn.events.settings import Settings
from sojourn.events.simulator.day import Session
from sojourn.events.simulator.faults import Faults, Outage, deliveries
from sojourn.events.simulator.plan import Plan, instant_at, milliseconds, plan_simulation
from sojourn.events.simulator.stream import ALIVE_EVERY, Beats, events
from sojourn.events.simulator.world import SECOND
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import Destroyed, Established, Event, Heartbeats, Lost, LostEnded, Recovered
from sojourn.projections import schema

STEP = 500  # milliseconds between two looks, as in consumers/sight.py
TIMEOUT = TIMEOUT_SECONDS * SECOND
ALLOWED = 2 * SECOND  # within which a loss is told after the time-out
SILENT = SILENT_BEATS * ALIVE_EVERY + ALLOWED  # after which `broker_silent` stands in the log
QUIET = int(SURE_BEATS * ALIVE_EVERY)  # of a broker that may miss a beat of its own
IDLE_STEP = 10 * SECOND  # while nothing comes and nothing is due, nothing can be decided
PARTITIONS = 3
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
KILLED = timedelta(seconds=7)  # until another worker has taken over
START = datetime(2026, 11, 23, tzinfo=UTC)  # a Monday

Key = tuple[str, str]


class Halt(NamedTuple):
    """The tracker stands still; `kills` says that its process ends as by `kill -9`, and another takes over."""

    start: datetime
    stop: datetime
    kills: bool


class Scenario(Struct, frozen=True):
    """What is simulated, and what goes wrong."""

    plan: Plan
    start: datetime
    stop: datetime
    faults: Faults
    halts: tuple[Halt, ...]
    flush_every: timedelta = timedelta(minutes=1)


class Seen(Struct):
    """What reached the log about a session; moments are append times."""

    session: Session
    proof: int
    state: str = "active"
    ends: int = 0  # when it is taken to have ended, if it is lost


class Verdict(Struct):
    """What the list said against what was true."""

    sessions: int = 0
    beats: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    false_lost: list[str] = field(default_factory=list)
    unheard: int = 0  # lost though alive: none of their beats reached the log in time
    muted: list[str] = field(default_factory=list)  # of these, whose whole broker could not be heard
    ghosts: list[str] = field(default_factory=list)
    delays: list[float] = field(
        default_factory=list
    )  # seconds from the last sign of life to `lost`, nothing in the way
    excused: list[float] = field(default_factory=list)  # the same where a broker was silent or the tracker stood still
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Observer:
    """Holds each decision in the log against the truth."""

    def __init__(self, plan: Plan, start: datetime, stop: datetime) -> None:
        self.verdict = Verdict()
        self._truth: dict[Key, Session] = {}
        for session in plan.sessions(milliseconds(start)):
            if session.login >= milliseconds(stop):
                break
            self._truth[session.tenant, session.id] = session
        self._seen: dict[Key, Seen] = {}
        self._ended: set[Key] = set()
        self._heard: dict[str, int] = {}
        self._silences: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def is_anything_due(self, moment: int) -> bool:
        """Tell whether the tracker may have to decide something though nothing came."""
        return any(
            moment >= (seen.proof + TIMEOUT if seen.state == "active" else seen.ends)
            for seen in self._seen.values()
            if seen.state != "ended"
        )

    def deliver(self, moment: int, event: Event) -> None:
        """Note what reaches the log."""
        before = self._heard.get(event.source, moment)
        if moment - before > QUIET:
            self._silences[event.source].append((before, moment))
        self._heard[event.source] = moment
        match event:
            case Established():
                self.verdict.sessions += 1
                key = event.tenant, event.subject
                if key not in self._ended:
                    self._seen[key] = Seen(self._truth[key], moment)
            case Heartbeats():
                self.verdict.beats += len(event.data.sessions)
                for session_id in event.data.sessions:
                    seen = self._seen.get((event.tenant, session_id))
                    if seen is not None:
                        seen.proof = moment
            case Destroyed():
                self._ended.add((event.tenant, event.subject))
                self._seen.pop((event.tenant, event.subject), None)
            case _:
                pass

    def decided(self, moment: int, event: Event, judging_since: int) -> None:
        """Judge what the tracker appended."""
        if not isinstance(event, Lost | Recovered | LostEnded):
            return
        self.verdict.decisions[type(event).__name__] += 1
        seen = self._seen.get((event.tenant, event.subject))
        if seen is None:
            return
        if isinstance(event, Lost):
            self._lost(moment, seen, judging_since)
        seen.state = {Lost: "lost", Recovered: "active", LostEnded: "ended"}[type(event)]

    def finish(self, moment: int, judging_since: int) -> dict[Key, str]:
        """Look for sessions that ended and are shown still; return what the list must show."""
        for seen in self._seen.values():
            if seen.session.logout <= moment and seen.state == "active":
                self._check_age(moment, seen, judging_since)
        return {key: seen.state for key, seen in self._seen.items() if seen.state != "ended"}

    def _lost(self, moment: int, seen: Seen, judging_since: int) -> None:
        session, delay = seen.session, (moment - seen.proof) / SECOND
        seen.ends = moment + GRACE_SECONDS * SECOND - ALLOWED
        if session.logout > moment and moment - seen.proof <= TIMEOUT:
            self.verdict.false_lost.append(f"{session.id} at {instant_at(moment)}, seen {delay} s before")
        elif session.logout > moment:
            self.verdict.unheard += 1
            if self._is_muted(moment, seen):
                self.verdict.muted.append(f"{session.id} at {instant_at(moment)}, of {session.seat.broker}")
        if self._check_age(moment, seen, judging_since):
            self.verdict.excused.append(delay)
        else:
            self.verdict.delays.append(delay)

    def _is_muted(self, moment: int, seen: Seen) -> bool:
        """Tell whether the session's broker is silent, or has been and had no time-out since in which to beat."""
        broker = seen.session.seat.broker
        quiet = moment - self._heard[broker]
        if QUIET < quiet <= SILENCE_EXCUSES_SECONDS * SECOND:
            return True
        return any(
            stop - start > SILENT and seen.proof < stop and moment - stop <= TIMEOUT
            for start, stop in self._silences[broker]
        )

    def _check_age(self, moment: int, seen: Seen, judging_since: int) -> bool:
        """Note a ghost, shown for longer than it may be; return whether anything excuses that it is shown so long."""
        broker = seen.session.seat.broker
        silences = [*self._silences[broker], (self._heard[broker], moment + QUIET)]
        quiet = any(start < moment and stop > seen.proof and stop - start > QUIET for start, stop in silences[:-1])
        quiet |= moment - self._heard[broker] > QUIET
        if not quiet and moment > max(seen.proof, judging_since) + TIMEOUT + ALLOWED:
            age = (moment - seen.proof) / SECOND
            self.verdict.ghosts.append(f"{seen.session.id} at {instant_at(moment)}, seen {age} s before")
        return quiet or judging_since > seen.proof


async def rehearse(database: Database, scenario: Scenario) -> Verdict:
    """Play a scenario through; nothing but PostgreSQL takes real time."""
    began = time.monotonic()
    clock = Clock(scenario.start)
    log = MemoryLog(clock, PARTITIONS)
    worker = Worker(database, log, clock, PARTITIONS, scenario.flush_every)
    observer = Observer(scenario.plan, scenario.start, scenario.stop)
    stream = deliveries(events(scenario.plan, scenario.start, scenario.stop, Beats(scenario.start)), scenario.faults)
    following = next(stream, None)
    read = Counter[int]()
    halts = _Halts(scenario.halts)
    await worker.start()
    for moment in range(milliseconds(scenario.start), milliseconds(scenario.stop), STEP):
        arrives = following is not None and following.moment <= moment
        while following is not None and following.moment <= moment:
            clock.now = instant_at(max(following.moment, milliseconds(clock.now)))
            await log.append(route(encode(following.event), PARTITIONS))
            observer.deliver(milliseconds(clock.now), following.event)
            following = next(stream, None)
        clock.now = instant_at(moment)
        is_moving = await halts.is_moving(worker, clock.now)
        if is_moving and (arrives or moment % IDLE_STEP == 0 or observer.is_anything_due(moment)):
            await worker.step()
            for at, event in new_decisions(log, read):
                observer.decided(milliseconds(at), event, milliseconds(worker.since))
    expected = observer.finish(milliseconds(clock.now), milliseconds(worker.since))
    await worker.close()
    await compare(database, expected, observer.verdict)
    observer.verdict.seconds = time.monotonic() - began
    return observer.verdict


class _Halts:
    """Stops, kills and starts the tracker when it is time to."""

    def __init__(self, halts: Sequence[Halt]) -> None:
        self._coming = sorted(halts)
        self._now: Halt | None = None

    async def is_moving(self, worker: Worker, now: datetime) -> bool:
        if self._now is not None and now >= self._now.stop:
            if self._now.kills:
                await worker.start()
            else:
                worker.thaw()
            self._now = None
        if self._now is None and self._coming and now >= self._coming[0].start:
            self._now = self._coming.pop(0)
            if self._now.kills:
                await worker.die()
        return self._now is None


def new_decisions(log: MemoryLog, read: Counter[int]) -> Iterator[tuple[datetime, Event]]:
    """Yield what the tracker appended to lifecycle since the last time."""
    for partition in range(PARTITIONS):
        for record in log.since(LIFECYCLE, partition, read[partition]):
            read[partition] += 1
            if b'"source":"/sojourn"' in record.value:
                yield record.appended_at, decode(record.value)


async def compare(database: Database, expected: dict[Key, str], verdict: Verdict) -> None:
    """Hold the tables against what the log says that they must show, and count the causes of revisions."""
    async with await database.connect() as connection:
        cursor = await connection.execute("SELECT tenant, session_id, state FROM sojourn_v1.live_session")
        found = {(tenant, session_id): state for tenant, session_id, state in await cursor.fetchall()}
        cursor = await connection.execute(
            "SELECT cause, count(*) FROM sojourn_v1.session_history WHERE revision IS NOT NULL GROUP BY cause"
        )
        verdict.causes.update(dict(await cursor.fetchall()))
    for key in found.keys() | expected.keys():
        if found.get(key) != expected.get(key):
            verdict.differences.append(f"{key} is {found.get(key)}, expected {expected.get(key)}")


def days(count: int, sessions_a_day: int, seed: int = 1) -> Scenario:
    """Return a scenario of so many days with everything going wrong."""
    start, stop = START, START + timedelta(days=count)
    plan = plan_simulation(seed, sessions_a_day * 5, stop)  # it begins a week before
    brokers = plan.world.brokers
    outages = []
    halts = []
    for day in range(count):
        at = start + timedelta(days=day)
        source = brokers[day % len(brokers)]
        outages += [
            Outage(source, at + 9.3 * HOUR, at + 9.3 * HOUR + 4 * MINUTE, spooled=True),
            Outage(source, at + 13.1 * HOUR, at + 13.1 * HOUR + 25 * MINUTE),
        ]
        outages += [Outage(one, at + 16 * HOUR, at + 16 * HOUR + 6 * MINUTE, spooled=True) for one in brokers]
        halts += [
            Halt(at + 8.2 * HOUR, at + 8.2 * HOUR + 20 * MINUTE, kills=False),
            Halt(at + 16 * HOUR, at + 16 * HOUR + 6 * MINUTE, kills=False),  # the log itself was away
        ]
        halts += [
            Halt(at + kill * HOUR, at + kill * HOUR + KILLED, kills=True) for kill in (10.01, 11.37, 14.73, 17.91)
        ]
    outages.append(Outage(brokers[-1], stop - 5.8 * HOUR, stop - 0.8 * HOUR))  # longer than a silence excuses
    faults = Faults(
        f"faults/{seed}",
        missing_end_share=0.1,
        dropped_beat_share=0.02,
        delayed_share=0.05,
        hushed_share=0.03,
        skews={brokers[0]: HOUR, brokers[1]: -HOUR},
        outages=tuple(outages),
    )
    return Scenario(plan, start, stop, faults, tuple(halts))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def table(scenario: Scenario, verdict: Verdict) -> str:
    """Return a verdict as Markdown."""
    days_ = (scenario.stop - scenario.start) / timedelta(days=1)
    delays, kills = verdict.delays, sum(halt.kills for halt in scenario.halts)
    counts = len(scenario.faults.outages), len(scenario.halts) - kills, kills
    rows = [
        ("days of injected time; sessions; beats of sessions that reached the log",
         f"{days_:.1f}; {verdict.sessions:,}; {verdict.beats:,}"),
        ("outages of brokers; the tracker stopped; workers killed", "; ".join(map(str, counts))),
        ("**false lost**: a beat was appended in time", f"**{len(verdict.false_lost)}**"),
        ("**ghosts**: shown for longer than the time-out + 2 s", f"**{len(verdict.ghosts)}**"),
        ("rows of the list that are not what the log says", f"{len(verdict.differences)}"),
        ("lost", f"{verdict.decisions['Lost']:,}"),
        ("of these alive, but unheard: their beats did not reach the log", f"{verdict.unheard:,}"),
        ("**of these of a broker that could not be heard at all**", f"**{len(verdict.muted)}**"),
        ("recovered", f"{verdict.causes['recovered']:,}"),
        ("taken to have ended (`lost_ended`)", f"{verdict.causes['stayed_lost']:,}"),
        ("of these corrected by a late end; reopened by a heartbeat",
         f"{verdict.causes['end_found']:,}; {verdict.causes['reopened']:,}"),
        (f"detection, seconds after the last sign of life ({len(delays):,} sessions): p50; p99; max",
         f"{quantile(delays, 0.5):.1f}; {quantile(delays, 0.99):.1f}; {max(delays, default=0):.1f}"),
        (f"the same where the broker was silent or the tracker did not run ({len(verdict.excused):,}): p50; max",
         f"{quantile(verdict.excused, 0.5):.0f}; {max(verdict.excused, default=0):.0f}"),
    ]  # fmt: skip
    lines = ["| what | found |", "| --- | ---: |", *(f"| {what} | {found} |" for what, found in rows)]
    return "\n".join(lines)


async def run(count: int, sessions_a_day: int) -> int:
    """Rehearse some days on a fresh database, print the table, and return how much was wrong."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        database = await open_database(Settings.from_environment({}, Path(directory) / "data"))
        try:
            await schema.upgrade(database)
            scenario = days(count, sessions_a_day)
            verdict = await rehearse(database, scenario)
        finally:
            await database.close()
    print(table(scenario, verdict))
    print(f"\ntook {verdict.seconds:.0f} s")
    wrong = [*verdict.false_lost, *verdict.muted, *verdict.ghosts, *verdict.differences]
    print("\n".join(wrong[:20]), file=sys.stderr)
    return len(wrong)


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(run(*map(int, sys.argv[1:] or (3, 1500))))))
