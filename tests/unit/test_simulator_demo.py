"""The demo goes on for ever, across stops, kills and an unreachable log, and its truth goes with it."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sojourn.events.codec import decode, encode
from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.log import Append, Batch
from sojourn.events.simulator.demo import (
    BACKFILL,
    BACKOFF_SECONDS_MAX,
    PROGRESS_FILE,
    TRUTH_FILE,
    Progress,
    demo_events,
    demo_plan,
    run_demo,
)
from sojourn.events.simulator.plan import milliseconds
from sojourn.events.simulator.truth import truth_line
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from sojourn.events.types import Alive, Destroyed, Established

ORIGIN = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)  # a Tuesday
NEVER = ORIGIN + timedelta(days=1000)


class Appended:
    """What a publisher appended, in order; nobody reads it here (tests/integration/test_simulator_demo.py does)."""

    def __init__(self) -> None:
        self.values: list[tuple[str, bytes]] = []

    async def partitions(self, topic: str) -> int:  # noqa: ARG002 -- all topics have as many
        return PARTITIONS_DEFAULT

    async def append(self, appends: Sequence[Append]) -> list[int]:
        self.values += [(append.topic, append.value) for append in appends]
        return list(range(len(appends)))

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:  # noqa: ARG002
        return Batch(topic, partition, (), offset)  # nobody commands anything here (test_obey.py does)

    async def start_offsets(self, topic: str) -> dict[int, int]:  # noqa: ARG002
        return {0: 0}

    async def end_offsets(self, topic: str) -> dict[int, int]:
        raise NotImplementedError

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:  # noqa: ARG002
        await asyncio.Event().wait()

    async def close(self) -> None:
        raise NotImplementedError


class Machine:
    """A data directory and a log, and a clock that only moves by sleeping, up to when it is told to stop."""

    def __init__(self, directory: Path, log: Appended | None = None) -> None:
        self.directory, self.log, self.now = directory, log or Appended(), ORIGIN
        self.until, self.stopping = NEVER, asyncio.Event()

    async def run(self, until: datetime) -> None:
        self.until = until
        self.stopping.clear()
        await run_demo(self.log, self.directory, lambda: self.now, self.sleep, self.stopping)

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.now >= self.until:
            self.stopping.set()

    @property
    def lifecycle(self) -> list[bytes]:
        return [value for topic, value in self.log.values if topic == LIFECYCLE]

    def truth(self) -> list[dict[str, Any]]:
        """Return the last line of each session."""
        lines = (self.directory / TRUTH_FILE).read_bytes().splitlines()
        return list({(line["tenant"], line["session_id"]): line for line in map(json.loads, lines)}.values())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine whose demo began two weeks ago and published all but the last hour."""
    machine = Machine(tmp_path)
    progress = Progress(ORIGIN - BACKFILL, ORIGIN - timedelta(hours=1))
    (tmp_path / PROGRESS_FILE).write_bytes(msgspec.json.encode(progress))
    return machine


def expected(origin: datetime, since: datetime, until: datetime) -> list[bytes]:
    """Return the lifecycle events of a demo without interruption."""
    return [encode(event) for event in demo_events(origin, since, until, NEVER)]


async def test_the_first_start_publishes_two_weeks_at_once_and_then_goes_on_in_real_time(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    await machine.run(until=ORIGIN + timedelta(minutes=3))

    assert machine.lifecycle == expected(ORIGIN, ORIGIN - BACKFILL, machine.now)
    assert decode(machine.lifecycle[0]).time < ORIGIN - timedelta(days=13, hours=23)
    assert decode(machine.lifecycle[-1]).time > ORIGIN + timedelta(minutes=2)
    beats = [decode(value) for topic, value in machine.log.values if topic == HEARTBEATS]
    assert min(event.time for event in beats) == ORIGIN - timedelta(minutes=2)
    assert len({event.time for event in beats if isinstance(event, Alive)}) == 5 * 6


def test_the_backfill_is_small_and_the_list_is_full_by_day_and_not_empty_at_night() -> None:
    backfill = list(demo_events(ORIGIN, ORIGIN - BACKFILL, ORIGIN, NEVER))
    connected = {hour: connected_at(ORIGIN.replace(hour=hour)) for hour in range(24)}

    assert 20_000 < len(backfill) < 60_000
    assert {type(event) for event in backfill} == {Established, Destroyed}
    assert all(150 < connected[hour]["acme"] < 400 for hour in (8, 9, 10, 13, 14))
    assert all(10 < connected[hour]["acme"] < 80 for hour in (0, 2, 4, 19, 21, 23))
    assert all(sum(tenants.values()) > 30 for tenants in connected.values())


def test_ends_are_missing_only_from_the_first_start_on_so_that_the_first_list_is_true() -> None:
    since, until = ORIGIN - timedelta(days=1), ORIGIN + timedelta(days=1)
    ended = {event.subject for event in demo_events(ORIGIN, since, until, NEVER) if isinstance(event, Destroyed)}
    begun = takewhile(lambda one: one.login < milliseconds(until), demo_plan(ORIGIN).sessions(milliseconds(since)))

    over = [one for one in begun if milliseconds(since) <= one.logout < milliseconds(until)]
    missing = [one.logout for one in over if one.id not in ended]

    assert len(over) > 1000
    assert 0 < len(missing) < len(over) / 20
    assert min(missing) >= milliseconds(ORIGIN)


def connected_at(instant: datetime) -> Counter[str]:
    moment = milliseconds(instant)
    begun = takewhile(lambda session: session.login <= moment, demo_plan(ORIGIN).sessions(moment))
    return Counter(session.tenant for session in begun if session.logout > moment)


async def test_a_demo_that_was_stopped_goes_on_where_it_was(machine: Machine) -> None:
    for minutes in (2, 5, 60):
        await machine.run(until=machine.now + timedelta(minutes=minutes))

    assert machine.lifecycle == expected(ORIGIN - BACKFILL, ORIGIN - timedelta(hours=1), machine.now)


async def test_what_fell_into_a_pause_is_published_late_and_without_its_heartbeats(machine: Machine) -> None:
    await machine.run(until=ORIGIN + timedelta(minutes=1))
    first = len(machine.log.values)
    machine.now += timedelta(hours=9)
    restart = machine.now

    await machine.run(until=restart + timedelta(minutes=1))

    assert machine.lifecycle == expected(ORIGIN - BACKFILL, ORIGIN - timedelta(hours=1), machine.now)
    beats = [decode(value).time for topic, value in machine.log.values[first:] if topic == HEARTBEATS]
    assert beats
    assert min(beats) >= restart - timedelta(minutes=2)


async def test_what_a_kill_left_unsaved_is_published_again_with_the_same_bytes(machine: Machine) -> None:
    machine.now += timedelta(hours=2)
    unsaved = (machine.directory / PROGRESS_FILE).read_bytes()
    await machine.run(until=machine.now + timedelta(minutes=1))
    once = len(machine.lifecycle)
    (machine.directory / PROGRESS_FILE).write_bytes(unsaved)

    await machine.run(until=machine.now + timedelta(minutes=1))

    whole = expected(ORIGIN - BACKFILL, ORIGIN - timedelta(hours=1), machine.now)
    assert once > 100
    assert machine.lifecycle == whole[:once] + whole
    assert machine.truth() == [json.loads(line) for line in truth_of_the_last_hours(machine.now)]


async def test_a_kill_during_the_first_backfill_forgets_neither_its_beginning_nor_an_event(tmp_path: Path) -> None:
    log = Killed(appends_until=7)
    with pytest.raises(asyncio.CancelledError):
        await Machine(tmp_path, log).run(NEVER)
    log.appends_until = 10_000
    machine = Machine(tmp_path, log)
    machine.now += timedelta(minutes=20)

    await machine.run(until=machine.now + timedelta(minutes=1))

    whole = expected(ORIGIN, ORIGIN - BACKFILL, machine.now)
    assert Counter(machine.lifecycle).keys() == Counter(whole).keys()
    assert machine.lifecycle[-len(whole) :] == whole


class Killed(Appended):
    """A log during whose nth append the process is killed."""

    def __init__(self, appends_until: int) -> None:
        super().__init__()
        self.appends_until = appends_until

    async def append(self, appends: Sequence[Append]) -> list[int]:
        offsets = await super().append(appends)
        self.appends_until -= 1
        if self.appends_until == 0:
            raise asyncio.CancelledError
        return offsets


async def test_the_truth_is_what_the_events_say_also_across_a_stop(machine: Machine) -> None:
    for _ in range(2):
        await machine.run(until=machine.now + timedelta(hours=1))

    truth = machine.truth()

    assert truth == [json.loads(line) for line in truth_of_the_last_hours(machine.now)]
    assert {line["state"] for line in truth} == {"active", "ended"}


def truth_of_the_last_hours(until: datetime) -> list[bytes]:
    """Return the truth of the sessions that the fixture's machine saw begin or end, by its first line on each."""
    since = milliseconds(ORIGIN - timedelta(hours=1))
    plan = demo_plan(ORIGIN - BACKFILL)
    seen = [
        (session.login if session.login >= since else session.logout, session)
        for session in takewhile(lambda session: session.login < milliseconds(until), plan.sessions(since))
        if session.login >= since or since <= session.logout < milliseconds(until)
    ]
    return [truth_line(session, milliseconds(until)) for _, session in sorted(seen, key=itemgetter(0))]


async def test_half_a_line_of_truth_that_a_kill_left_is_taken_away(machine: Machine) -> None:
    await machine.run(until=ORIGIN + timedelta(minutes=1))
    path = machine.directory / TRUTH_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:100])

    await machine.run(until=ORIGIN + timedelta(minutes=10))

    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line)["session_id"] for line in path.read_bytes().splitlines())


class Unsteady(Appended):
    """A log that cannot be reached every other time."""

    calls = 0

    async def append(self, appends: Sequence[Append]) -> list[int]:
        self.calls += 1
        if self.calls % 2:
            raise Unreachable
        return await super().append(appends)


async def test_a_log_that_cannot_be_reached_is_tried_again_and_loses_nothing(machine: Machine) -> None:
    machine.log = log = Unsteady()

    await machine.run(until=ORIGIN + timedelta(minutes=5))

    whole = expected(ORIGIN - BACKFILL, ORIGIN - timedelta(hours=1), machine.now)
    assert machine.lifecycle == whole[: len(machine.lifecycle)]
    assert len(whole) - len(machine.lifecycle) < 10
    assert log.calls > 20


class Away(Appended):
    """A log that can never be reached."""

    async def append(self, appends: Sequence[Append]) -> list[int]:  # noqa: ARG002 -- it takes none
        raise Unreachable


async def test_a_log_that_stays_away_is_asked_at_a_calm_pace_until_the_demo_is_stopped(machine: Machine) -> None:
    machine.log = Away()
    machine.now += timedelta(seconds=10)
    before = msgspec.json.encode(Progress(ORIGIN - BACKFILL, machine.now))  # little to try again and again
    (machine.directory / PROGRESS_FILE).write_bytes(before)
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        await machine.sleep(seconds)

    machine.until = ORIGIN + timedelta(hours=2)
    await run_demo(machine.log, machine.directory, lambda: machine.now, sleep, machine.stopping)

    assert len(naps) > 1024  # doubled so often, a wait would be no float any more
    assert naps == sorted(naps)
    assert naps[-1] == BACKOFF_SECONDS_MAX
    assert (machine.directory / PROGRESS_FILE).read_bytes() == before


@pytest.mark.parametrize("away", [False, True])
async def test_a_sleeping_demo_stops_as_soon_as_it_is_told_to(machine: Machine, *, away: bool) -> None:
    machine.log = Away() if away else machine.log
    asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(
        run_demo(machine.log, machine.directory, lambda: machine.now, sleep, machine.stopping)
    )
    await asleep.wait()

    machine.stopping.set()

    await asyncio.wait_for(running, timeout=10)


async def test_progress_that_cannot_be_read_is_an_error_that_says_what_to_do(machine: Machine) -> None:
    (machine.directory / PROGRESS_FILE).write_bytes(b'{"origin": 7}')

    with pytest.raises(SojournError, match=r"remove it to begin anew: .*/demo\.json$"):
        await machine.run(until=ORIGIN)


async def test_a_demo_that_cannot_save_its_progress_goes_on_publishing(machine: Machine) -> None:
    before = (machine.directory / PROGRESS_FILE).read_bytes()
    (machine.directory / PROGRESS_FILE).with_suffix(".tmp").mkdir()

    await machine.run(until=ORIGIN + timedelta(minutes=5))

    assert machine.lifecycle == expected(ORIGIN - BACKFILL, ORIGIN - timedelta(hours=1), machine.now)
    assert (machine.directory / PROGRESS_FILE).read_bytes() == before
