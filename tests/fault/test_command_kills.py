"""Fault 23, the tracker's side: `kill -9` between an operator's request, its way to the broker, and its effect."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from sojourn.events.codec import decode
from sojourn.events.topics import COMMANDS
from sojourn.events.types import DisconnectRequested
from tests.fault.harness import Machine, rounds, until
from tests.integration.scripted_broker import acknowledge, end
from tests.unit.events import established, to_bytes

# Each is reached twice: on the request's way into the log, and on the command's way to its broker.
RELAY: Final = [(point, nth) for nth in (1, 2) for point in ("relay.appended", "relay.deleted", "relay.checked")]
APPLY: Final = [(f"lifecycle.{point}", 1) for point in ("committed", "written", "fenced", "staged", "folded")]
KILLS: Final = [RELAY[0], APPLY[0], RELAY[3]] if rounds(1) == 1 else [*RELAY, *APPLY]
ASK: Final = ("--tenant", "acme", "--reason", "kills", "--expires", "3600")


async def rows(machine: Machine, query: str) -> list[tuple[Any, ...]]:
    async with await machine.database.connect(autocommit=True) as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def commands(machine: Machine) -> list[tuple[DisconnectRequested, bytes]]:
    """Return what the broker would get, as the log holds it."""
    found = []
    async for record in machine.records(COMMANDS):
        event = decode(record.value)
        assert isinstance(event, DisconnectRequested)
        found.append((event, record.value))
    return found


@pytest.mark.timeout(60 + 10 * len(KILLS))
async def test_a_request_takes_effect_once_wherever_its_tracker_is_killed(machine: Machine) -> None:
    sessions = [f"s-{number}" for number in range(len(KILLS))]
    now = datetime.now(UTC).isoformat()
    await machine.publish([to_bytes(established(id=one, subject=one, time=now)) for one in sessions])
    process = await machine.running_up()
    await machine.applied(process)
    assert await process.stops() == 0, process.output

    for session, (point, nth) in zip(sessions, KILLS, strict=True):
        asking = machine.sojourn("disconnect", session, *ASK, "--idempotency-key", session)
        assert await asking.ended() == 0, asking.output
        assert "nobody takes them to the brokers: start `sojourn up`" in asking.output
        process = machine.up(point, nth)
        assert await process.ended() == -9, process.output
        assert process.hits[-1] == point
    process = await machine.running_up()
    await until(lambda: all_requested(machine, len(sessions)), "every request has reached the broker", process)
    for session in sessions:  # somebody who was not sure
        asking = machine.sojourn("disconnect", session, *ASK, "--idempotency-key", session)
        assert await asking.ended() == 0, asking.output

    received = {event.subject: event for event, _ in await commands(machine)}
    for event in received.values():
        await machine.publish([to_bytes(acknowledge(event)), to_bytes(end(event))])
    await until(lambda: all_confirmed(machine, len(sessions)), "every command is confirmed", process)
    assert await process.stops() == 0, process.output

    assert len({value for _, value in await commands(machine)}) == len(sessions), "what comes twice is the same"
    subjects = await rows(machine, "SELECT subject FROM sojourn.admin_action WHERE reason = 'kills'")
    assert Counter(session for (text,) in subjects for session in json.loads(text)) == Counter(sessions)
    effects = await rows(
        machine,
        "SELECT session_id, event_type FROM sojourn_v1.session_history"
        " WHERE disposition = 'applied' AND event_type <> 'established'",
    )
    steps = ("disconnect_requested", "disconnect_acknowledged", "destroyed")
    assert Counter(effects) == Counter((session, step) for session in sessions for step in steps)
    assert await rows(machine, "SELECT FROM sojourn.outbox") == []


async def all_requested(machine: Machine, count: int) -> bool:
    return len({event.subject for event, _ in await commands(machine)}) == count


async def all_confirmed(machine: Machine, count: int) -> bool:
    states = await rows(machine, "SELECT state, count(*) FROM sojourn_v1.command GROUP BY state")
    return states == [("confirmed", count)]
