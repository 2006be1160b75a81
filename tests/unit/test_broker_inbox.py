"""The inbox over a log in memory: each command once, and what is refused without being shown."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sojourn.events.broker import inbox
from sojourn.events.broker.blocking import BlockingBroker
from sojourn.events.broker.broker import Broker, Command, SpoolFull
from sojourn.events.broker.transports import log_transport
from sojourn.events.codec import encode
from sojourn.events.errors import UsageError
from sojourn.events.fields import CommandKind
from sojourn.events.log import Append
from sojourn.events.topics import COMMANDS
from sojourn.events.types import DisconnectAcknowledged, DisconnectDelivered, DisconnectFailed, DisconnectRequested
from tests.contract.broker_ways import DATA, SOURCE, MemoryLog, command_id, events_of, give, requested, until

QUIET_SECONDS = 0.1  # several looks into a log in memory: what has not come by then was not going to


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def opened(log: MemoryLog, folder: Path, kinds: Iterable[CommandKind] = ("disconnect",)) -> Broker:
    return Broker(SOURCE, log_transport(log), spool=folder, kinds=tuple(kinds))


async def take(broker: Broker, count: int) -> list[Command]:
    """Take so many commands, and see that there are no more."""
    commands, stream = list[Command](), broker.commands()
    async with asyncio.timeout(60):
        while len(commands) < count:
            commands.append(await anext(stream))
    with suppress(TimeoutError):
        more = await asyncio.wait_for(anext(stream), QUIET_SECONDS)
        raise AssertionError(more.id)
    return commands


def put(log: MemoryLog, event: DisconnectRequested, ago: timedelta) -> None:
    """Append a command as it was some time ago."""
    log.put([Append(COMMANDS, 3, event.data.broker.encode(), encode(event))], datetime.now(UTC) - ago)


async def answers(log: MemoryLog) -> list[tuple[str, str]]:
    """Return type and command of what brokers said."""
    return [
        (type(event).__name__, event.data.command)
        for event in await events_of(log)
        if isinstance(event, DisconnectDelivered | DisconnectAcknowledged | DisconnectFailed)
    ]


async def test_a_command_that_was_not_answered_comes_again_after_a_restart_and_an_answered_one_never(
    log: MemoryLog, folder: Path
) -> None:
    ids = [command_id() for _ in range(5)]
    for one in ids:
        await give(log, requested(one))

    async with opened(log, folder) as broker:
        commands = {command.id: command for command in await take(broker, 5)}
        await commands[ids[0]].acknowledge()
        await commands[ids[1]].refuse("no")
        await commands[ids[2]].fail("broken")
        await broker.destroyed("acme", "s-1", "admin_disconnect", command=ids[3])
    async with opened(log, folder) as broker:
        again = await take(broker, 1)

    assert [command.id for command in again] == [ids[4]]


async def test_commands_missed_while_the_broker_was_down_are_found_unless_they_are_old(
    log: MemoryLog, folder: Path
) -> None:
    long, missed = requested("old", expires_in=timedelta(hours=1)), requested(command_id())
    for _ in range(40):
        put(log, long, timedelta(minutes=16))
    for _ in range(40):
        put(log, requested(command_id(), broker="/brokers/us-1"), timedelta(minutes=14))
    put(log, missed, timedelta(minutes=14))
    log.put([Append(COMMANDS, 3, b"k", b"no event")], datetime.now(UTC))

    async with opened(log, folder) as broker:
        (found,) = await take(broker, 1)

    assert found.id == missed.data.command
    assert (found.session_id, found.requested_by, found.reason) == ("s-1", "operator", "a test")
    assert found.expires_at == missed.data.expires_at


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        (requested("expired", expires_in=timedelta(seconds=-1)), "expired before the broker had it"),
        (
            requested("unknown", kind="send_message", expires_in=timedelta(hours=1)),
            "does not carry out: 'send_message'",
        ),
    ],
)
async def test_what_came_too_late_or_was_never_offered_is_refused_and_not_shown(
    log: MemoryLog, folder: Path, event: DisconnectRequested, detail: str
) -> None:
    await give(log, event)

    async with opened(log, folder) as broker:
        await take(broker, 0)
        await broker.drained()

    (failed,) = [answer for answer in await events_of(log) if isinstance(answer, DisconnectFailed)]
    assert (failed.data.command, failed.data.outcome) == (event.data.command, "refused")
    assert detail in (failed.data.detail or "")
    assert len(await answers(log)) == 1


async def test_a_command_that_expires_while_it_waits_for_the_broker_is_refused(log: MemoryLog, folder: Path) -> None:
    event = requested("slow", expires_in=timedelta(seconds=0.3))
    await give(log, event)

    async with opened(log, folder) as broker:
        await take(broker, 1)
        stream = broker.commands()
        await give(log, requested("slower", expires_in=timedelta(seconds=0.3)))
        await asyncio.sleep(0.4)  # the broker does something else for longer than the command is good
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), QUIET_SECONDS)
        await broker.drained()

    assert sorted(await answers(log)) == [("DisconnectDelivered", "slow"), ("DisconnectFailed", "slower")]


async def test_every_kind_that_a_broker_offers_reaches_it(log: MemoryLog, folder: Path) -> None:
    kinds: list[CommandKind] = ["disconnect", "log_off", "send_message"]
    for kind in kinds:
        await give(log, requested(kind, kind=kind))

    async with opened(log, folder, kinds) as broker:
        commands = await take(broker, 3)

    assert {(command.id, command.kind) for command in commands} == {(kind, kind) for kind in kinds}


async def test_commands_go_on_where_they_stopped_when_the_log_comes_back(
    log: MemoryLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.events.broker.backoff.BACKOFF_SECONDS_MAX", 0.05)
    async with opened(log, folder) as broker:
        await give(log, requested("before"))
        stream = broker.commands()
        assert (await anext(stream)).id == "before"
        log.is_away = True
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(QUIET_SECONDS)
        log.is_away = False

        await give(log, requested("after"))

        async with asyncio.timeout(60):
            assert (await waiting).id == "after"


async def test_a_full_spool_holds_back_no_command_but_tells_who_answers(log: MemoryLog, folder: Path) -> None:
    log.is_away = True
    async with Broker(SOURCE, log_transport(log), spool=folder, spool_bytes_max=10_000) as broker:
        with pytest.raises(SpoolFull):
            await fill(broker)
        log.is_away = False
        await broker.drained()
        await give(log, requested("wanted"))
        await give(log, requested("expired", expires_in=timedelta(seconds=-1)))
        (folder / "rejected.ndjson").write_bytes(b"x" * 10_000)

        (command,) = await take(broker, 1)

        assert command.id == "wanted"
        with pytest.raises(SpoolFull):
            await command.acknowledge()


async def fill(broker: Broker) -> None:
    for number in range(1000):
        await broker.established("acme", f"s-{number}", DATA)


async def test_a_command_that_a_reader_gave_up_on_is_there_for_the_next(
    log: MemoryLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def hang(_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    await give(log, requested("wanted"))
    async with opened(log, folder) as broker:
        with monkeypatch.context() as patch:
            patch.setattr(broker._parts.committer, "commit", hang)  # a slow disk
            reading = asyncio.ensure_future(anext(broker.commands()))
            await asked.wait()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

        (command,) = await take(broker, 1)

    assert command.id == "wanted"
    assert await answers(log) == [("DisconnectDelivered", "wanted")]


async def test_an_answer_is_held_to_the_contract(log: MemoryLog, folder: Path) -> None:
    await give(log, requested("wanted"))
    async with opened(log, folder) as broker:
        (command,) = await take(broker, 1)

        with pytest.raises(UsageError, match=r"data\.detail"):
            await command.refuse("x" * 1001)


async def test_a_broker_that_takes_no_command_is_not_sent_more_than_some(
    log: MemoryLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "WAITING_MAX", 3)
    for number in range(10):
        await give(log, requested(f"c-{number}"))

    async with opened(log, folder) as broker:
        stream = broker.commands()
        first = await anext(stream)
        await asyncio.sleep(QUIET_SECONDS)
        parts = broker._parts

        assert len(parts.inbox._waiting) == 3
        assert [first.id, *[(await anext(stream)).id for _ in range(9)]] == [f"c-{number}" for number in range(10)]


async def test_the_newest_ids_are_known_when_there_are_too_many(
    log: MemoryLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "SEEN_MAX", 2)
    for command in ("a", "b", "c", "c", "b", "a"):
        await give(log, requested(command))

    async with opened(log, folder) as broker:
        taken = await take(broker, 4)

    assert [command.id for command in taken] == ["a", "b", "c", "a"]


async def test_a_thread_that_waits_for_commands_ends_when_another_closes_the_broker(
    log: MemoryLog, folder: Path
) -> None:
    with BlockingBroker(SOURCE, log_transport(log), spool=folder) as broker:
        reading = asyncio.create_task(asyncio.to_thread(list, broker.commands()))
        await give(log, requested("wanted"))

        async def is_delivered() -> bool:
            return await answers(log) == [("DisconnectDelivered", "wanted")]

        await until(is_delivered)
    async with asyncio.timeout(60):
        (command,) = await reading

    assert command.id == "wanted"
    with pytest.raises(UsageError, match="closed"):
        command.acknowledge()


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    yield
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "sojourn" in repr(task.get_coro())]
