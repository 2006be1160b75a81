"""The demo's brokers do what they are told, each in its own way and once, whatever is killed in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from sojourn.events.codec import decode, encode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.decisions import disconnect_requested
from sojourn.events.errors import Unreachable
from sojourn.events.log import Append, Batch, Record
from sojourn.events.simulator.day import Session
from sojourn.events.simulator.demo import demo_plan
from sojourn.events.simulator.obey import IGNORES, REFUSES, Obedience
from sojourn.events.simulator.plan import instant_at, milliseconds
from sojourn.events.simulator.stream import Beats, Happening, happenings
from sojourn.events.topics import COMMANDS, PARTITIONS_DEFAULT
from sojourn.events.types import (
    Alive,
    Destroyed,
    DisconnectAcknowledged,
    DisconnectFailed,
    DisconnectRequested,
    Event,
    Heartbeats,
)

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)  # a Tuesday
PLAN = demo_plan(NOW - timedelta(days=1))
HOUR = 3_600_000
SECOND = timedelta(seconds=1)


class Killed(BaseException):
    """The process ends here."""


class Wire:
    """A log of one partition of commands, which tells when its reader has nothing left to do."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.appended: list[bytes] = []
        self.news, self.idle = asyncio.Event(), asyncio.Event()
        self.failing: BaseException | None = None
        self.fails_after = False

    async def partitions(self, topic: str) -> int:  # noqa: ARG002
        return PARTITIONS_DEFAULT

    async def append(self, appends: Sequence[Append]) -> list[int]:
        failing, self.failing = self.failing, None
        if failing is None or self.fails_after:
            self.appended += [append.value for append in appends]
        if failing is not None:
            self.idle.set()
            raise failing
        return list(range(len(appends)))

    async def read(self, topic: str, partition: int, offset: int, *, records_max: int = 2000) -> Batch:  # noqa: ARG002
        assert topic == COMMANDS
        records = [
            Record(COMMANDS, partition, place, NOW, None, value, ())
            for place, value in enumerate(self.commands)
            if place >= offset
        ]
        return Batch(topic, partition, records, len(self.commands))

    async def start_offsets(self, topic: str) -> dict[int, int]:
        assert topic == COMMANDS
        return {0: 0}

    async def end_offsets(self, topic: str) -> dict[int, int]:
        raise NotImplementedError

    async def wait(self, positions: Mapping[tuple[str, int], int], timeout_seconds: float) -> None:  # noqa: ARG002
        self.idle.set()
        await self.news.wait()
        self.news.clear()

    async def close(self) -> None:
        raise NotImplementedError


class Brokers:
    """The demo's brokers with a clock that the test moves; `at` lets so many seconds have passed."""

    def __init__(self, directory: Path) -> None:
        self.log, self.now = Wire(), NOW
        self._directory = directory

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Obedience]:
        with (self._directory / "truth.ndjson").open("ab") as truth:
            obedience = Obedience(self.log, self._directory, truth, PLAN, lambda: self.now)
            async with obedience.working():
                await self.log.idle.wait()
                yield obedience

    async def at(self, seconds: float) -> list[Event]:
        """Return what has been told by then."""
        self.now = NOW + seconds * SECOND
        for _ in range(3):  # what is done in one round may make more due at once
            self.log.idle.clear()
            self.log.news.set()
            await self.log.idle.wait()
        return [decode(value) for value in self.log.appended]

    async def run_until_killed(self, second: int, *, arrives: bool) -> None:
        """Run up to a second in which telling something ends the process, before or after it arrives."""
        with pytest.raises(Killed):
            await self._run_until_killed(second, arrives=arrives)
        self.log.idle.clear()

    async def _run_until_killed(self, second: int, *, arrives: bool) -> None:
        async with self.running():
            for earlier in range(1, second):
                await self.at(earlier)
            self.log.failing, self.log.fails_after = Killed(), arrives
            self.now = NOW + second * SECOND
            self.log.idle.clear()
            self.log.news.set()
            await self.log.idle.wait()

    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._directory / "truth.ndjson").read_bytes().splitlines()]


@pytest.fixture
def brokers(tmp_path: Path) -> Brokers:
    return Brokers(tmp_path)


def open_sessions(number: int) -> list[Session]:
    """Return sessions of a broker that are open for the next hour."""
    moment, broker = milliseconds(NOW), PLAN.world.brokers[number]
    begun = takewhile(lambda session: session.login <= moment, PLAN.sessions(moment))
    return [one for one in begun if one.logout > moment + HOUR and one.seat.broker == broker and one.end_published]


def request(session: Session, *, command: str = "c-1", kind: str = "disconnect", **fields: Any) -> bytes:
    data: dict[str, Any] = {
        "command": command,
        "kind": kind,
        "broker": session.seat.broker,
        "reason": "maintenance",
        "requested_by": "ada",
        "expires_at": NOW + timedelta(seconds=60),
        **fields,
    }
    return encode(disconnect_requested(session.tenant, session.id, DisconnectRequestedData(**data), NOW))


async def test_most_brokers_acknowledge_after_a_second_and_end_the_session_after_two(brokers: Brokers) -> None:
    session = open_sessions(0)[0]
    async with brokers.running():
        brokers.log.commands.append(request(session))

        assert await brokers.at(0.9) == []
        (acknowledged,) = await brokers.at(1)
        assert await brokers.at(1.9) == [acknowledged]
        _, end = await brokers.at(2)

    assert isinstance(acknowledged, DisconnectAcknowledged)
    assert (acknowledged.source, acknowledged.data.command) == (session.seat.broker, "c-1")
    assert isinstance(end, Destroyed)
    assert (end.tenant, end.subject, end.source) == (session.tenant, session.id, session.seat.broker)
    assert (end.time, end.data.reason, end.data.command) == (NOW + 2 * SECOND, "admin_disconnect", "c-1")


async def test_the_truth_tells_of_the_end_that_a_command_made(brokers: Brokers) -> None:
    session = open_sessions(0)[0]
    async with brokers.running():
        brokers.log.commands.append(request(session))
        await brokers.at(1)
        await brokers.at(2)

    (line,) = brokers.truth()
    assert (line["session_id"], line["reason"], line["state"]) == (session.id, "admin_disconnect", "ended")
    assert line["logout_at"] == "2026-11-24T09:00:02.000Z"


async def test_one_broker_refuses_what_it_is_asked(brokers: Brokers) -> None:
    async with brokers.running():
        brokers.log.commands.append(request(open_sessions(REFUSES)[0]))
        (answer,) = await brokers.at(1)
        assert await brokers.at(10) == [answer]

    assert isinstance(answer, DisconnectFailed)
    assert (answer.data.outcome, answer.data.detail) == ("refused", "the desktop is in maintenance")


async def test_one_broker_never_answers(brokers: Brokers) -> None:
    async with brokers.running():
        brokers.log.commands.append(request(open_sessions(IGNORES)[0]))

        assert await brokers.at(100) == []


async def test_a_message_is_acknowledged_and_ends_nothing(brokers: Brokers) -> None:
    async with brokers.running():
        brokers.log.commands.append(request(open_sessions(0)[0], kind="send_message", message="hello"))
        (answer,) = await brokers.at(1)
        assert await brokers.at(10) == [answer]

    assert isinstance(answer, DisconnectAcknowledged)


async def test_a_user_who_is_logged_off_ends_the_session_as_a_logoff(brokers: Brokers) -> None:
    async with brokers.running():
        brokers.log.commands.append(request(open_sessions(0)[0], kind="log_off"))
        await brokers.at(1)
        _, end = await brokers.at(2)

    assert isinstance(end, Destroyed)
    assert (end.data.reason, end.data.command) == ("logoff", "c-1")


async def test_an_expired_command_is_refused_and_ends_nothing(brokers: Brokers) -> None:
    brokers.now = NOW + timedelta(seconds=60)
    brokers.log.commands.append(request(open_sessions(0)[0]))
    async with brokers.running():
        (answer,) = await brokers.at(60)
        assert await brokers.at(70) == [answer]

    assert isinstance(answer, DisconnectFailed)
    assert (answer.data.outcome, answer.data.detail) == ("refused", "it had expired when the broker read it")


async def test_a_command_about_a_session_that_is_not_open_fails(brokers: Brokers) -> None:
    ended = next(one for one in PLAN.sessions(milliseconds(NOW) - HOUR) if one.logout < milliseconds(NOW))
    broker = PLAN.world.brokers[0]
    async with brokers.running():
        brokers.log.commands.append(request(ended, broker=broker))
        (answer,) = await brokers.at(5)

    assert isinstance(answer, DisconnectFailed)
    assert (answer.data.outcome, answer.data.detail) == ("failed", "the session has ended")


async def test_a_command_that_stands_twice_in_the_log_is_carried_out_once(brokers: Brokers) -> None:
    async with brokers.running():
        brokers.log.commands += [request(open_sessions(0)[0])] * 2
        await brokers.at(1)
        told = await brokers.at(5)
        brokers.log.commands += [request(open_sessions(0)[0])]
        assert await brokers.at(10) == told

    assert [type(event) for event in told] == [DisconnectAcknowledged, Destroyed]


async def test_the_second_of_two_commands_to_one_session_fails(brokers: Brokers) -> None:
    session = open_sessions(0)[0]
    async with brokers.running():
        brokers.log.commands += [request(session), request(session, command="c-2")]
        await brokers.at(1)
        told = await brokers.at(2)

    ends = [event for event in told if isinstance(event, Destroyed)]
    failures = [event for event in told if isinstance(event, DisconnectFailed)]
    assert [event.data.command for event in ends] == ["c-1"]
    assert [(event.data.command, event.data.detail) for event in failures] == [("c-2", "the session has ended")]


async def test_commands_to_other_brokers_are_left_alone(brokers: Brokers) -> None:
    async with brokers.running():
        brokers.log.commands.append(request(open_sessions(0)[0], broker="/brokers/real"))

        assert await brokers.at(10) == []


async def test_what_a_command_ended_does_not_happen_any_more(brokers: Brokers) -> None:
    session, other = open_sessions(0)[:2]
    async with brokers.running() as obedience:
        brokers.log.commands.append(request(session))
        await brokers.at(1)
        await brokers.at(2)
        after = [obedience.after(one) for one in later(session.logout + 1)]
    before = later(session.logout + 1)

    assert any(_names(one, session) for one in before)
    assert not any(_names(one, session) for one in after)
    assert [_names(one, other) for one in after] == [_names(one, other) for one in before]


async def test_a_broker_counts_one_session_less_and_declares_what_it_takes(brokers: Brokers) -> None:
    session = open_sessions(0)[0]
    async with brokers.running() as obedience:
        brokers.log.commands.append(request(session))
        await brokers.at(1)
        await brokers.at(2)
        first = later(milliseconds(NOW) + HOUR // 6)
        before, after = _alive(first), _alive([obedience.after(one) for one in first])

    counts = {source: count - after[source][0] for source, (count, _) in before.items()}
    assert counts == {source: int(source == session.seat.broker) for source in before}
    assert [commands for _, commands in after.values()] == [
        ["disconnect", "log_off", "send_message"],
        ["disconnect", "log_off", "send_message"],
        ["disconnect"],
        ["disconnect"],
    ]


def later(until: int) -> list[Happening]:
    return list(happenings(PLAN, NOW + 3 * SECOND, instant_at(until), Beats(NOW + 3 * SECOND, 20.0)))


def _names(happening: Happening, session: Session) -> bool:
    event = happening.event
    if isinstance(event, Heartbeats):
        return session.id in event.data.sessions or session.id in event.data.details
    return getattr(event, "subject", None) == session.id or happening.session == session


def _alive(happened: Sequence[Happening]) -> dict[str, tuple[int, Any]]:
    first: dict[str, tuple[int, Any]] = {}
    for one in happened:
        if isinstance(one.event, Alive) and one.event.data is not None:
            first.setdefault(one.event.source, (one.event.data.sessions or 0, one.event.data.commands))
    return {source: first[source] for source in PLAN.world.brokers}


@pytest.mark.parametrize("arrives", [0, 1])
@pytest.mark.parametrize("second", [1, 2])
async def test_a_kill_around_what_is_told_neither_loses_it_nor_tells_another_thing(
    brokers: Brokers, second: int, arrives: int
) -> None:
    brokers.log.commands.append(request(open_sessions(0)[0]))
    await brokers.run_until_killed(second, arrives=bool(arrives))

    async with brokers.running():
        await brokers.at(second)
        await brokers.at(30)

    distinct = list(dict.fromkeys(brokers.log.appended))
    assert [type(decode(value)) for value in distinct] == [DisconnectAcknowledged, Destroyed]
    assert len(brokers.log.appended) == len(distinct) + arrives


async def test_an_end_that_may_have_been_told_is_told_again_after_the_expiry(brokers: Brokers) -> None:
    brokers.log.commands.append(request(open_sessions(0)[0], expires_at=NOW + 3 * SECOND))
    await brokers.run_until_killed(2, arrives=False)

    async with brokers.running():
        told = await brokers.at(3600)

    assert [type(event) for event in told] == [DisconnectAcknowledged, Destroyed]


async def test_a_restart_carries_nothing_out_again_and_remembers_what_ended(brokers: Brokers) -> None:
    session = open_sessions(0)[0]
    async with brokers.running():
        brokers.log.commands.append(request(session))
        await brokers.at(1)
        told = await brokers.at(2)
    brokers.log.idle.clear()

    async with brokers.running() as obedience:
        assert await brokers.at(20) == told
        after = [obedience.after(one) for one in later(session.logout + 1)]

    assert not any(_names(one, session) for one in after)


async def test_a_log_that_is_away_only_delays(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.events.simulator.obey.BACKOFF_SECONDS", 0.0)
    async with brokers.running():
        brokers.log.commands.append(request(open_sessions(0)[0]))
        brokers.log.failing = Unreachable("the log is away")

        told = await brokers.at(1)

    assert [type(event) for event in told] == [DisconnectAcknowledged]


def test_the_commands_of_these_tests_are_what_operators_ask() -> None:
    assert isinstance(decode(request(open_sessions(0)[0])), DisconnectRequested)
