"""Faults 14 and 15: what is lost is told once, by whoever owns the partition, and never because Sojourn was behind."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from sojourn.consumers.killpoints import DECISION_POINTS
from sojourn.events.codec import decode, encode
from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.decisions import tenant_configured
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import Event, Lost
from tests.fault.cluster import Cluster
from tests.fault.harness import Machine, Process, rounds, until
from tests.fault.test_owners import stopped
from tests.fault.test_workers import was_fenced

TENANT: Final = "acme"
TIMEOUT_SECONDS: Final = 5
SESSIONS: Final = rounds(10_000)  # a hundred thousand under `make test-full`
BATCH_SESSIONS: Final = 10_000
BEAT_SECONDS: Final = 0.5


def configured() -> bytes:
    data = TenantConfiguredData(heartbeat_timeout_seconds=TIMEOUT_SECONDS)
    return encode(tenant_configured(TENANT, data, datetime.now(UTC)))


def event(kind: str, **fields: Any) -> bytes:
    now = datetime.now(UTC)
    head = {"specversion": "1.0", "source": "/brokers/eu-1", "time": now, "tenant": TENANT}
    return msgspec.json.encode(head | {"id": f"{kind}-{fields.get('subject')}-{now}", "type": kind} | fields)


def established(session_id: str) -> bytes:
    data = {
        "user": {"id": "u-1", "name": "Ada"},
        "desktop": {"id": "d-1", "name": "CAD", "pool": "cad"},
        "terminal": {"type": "browser", "os": "Linux", "version": "1", "name": "t"},
        "client_ip": "10.0.0.1",
        "protocol": "rdp",
    }
    return event("sojourn.session.established.v1", subject=session_id, data=data)


def beats(*sessions: str) -> bytes:
    return event("sojourn.session.heartbeats.v1", data={"sessions": sessions})


@contextlib.asynccontextmanager
async def beating(machine: Machine, values: list[bytes], seconds: float = BEAT_SECONDS) -> AsyncIterator[None]:
    """Publish the same heartbeats again and again while the block runs."""

    async def go_on() -> None:
        while True:
            await machine.publish(values)
            await asyncio.sleep(seconds)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def lifecycle(machine: Machine) -> list[Event]:
    """Return all events of lifecycle."""
    found = []
    for partition, end in (await machine.log.end_offsets(LIFECYCLE)).items():
        offset = 0
        while offset < end:
            batch = await machine.log.read(LIFECYCLE, partition, offset)
            found += [decode(record.value) for record in batch.records]
            offset = batch.next_offset
    return found


async def losses(machine: Machine) -> list[str]:
    return [one.subject for one in await lifecycle(machine) if isinstance(one, Lost)]


async def is_lost(machine: Machine, process: Process, session_id: str) -> None:
    """Wait until the list shows a session as lost."""

    async def is_so() -> bool:
        async with await machine.database.connect() as connection:
            query = "SELECT state FROM sojourn_v1.live_session WHERE session_id = %s"
            return await (await connection.execute(query, (session_id,))).fetchone() == ("lost",)

    await until(is_so, f"{session_id} is lost", process)


async def owns_all(cluster: Cluster, worker: Process) -> None:
    async def is_so() -> bool:
        assert not worker.has_ended, worker.output
        return all(owner.endswith(f"/{worker.number}") for owner in await cluster.owners())

    await until(is_so, "the worker has taken over all partitions", worker)


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("kafka-faults")
@pytest.mark.parametrize("point", ["decisions.decided", pytest.param("relay.checked", marks=pytest.mark.slow)])
async def test_the_loss_that_a_zombie_decided_never_reaches_the_log(cluster: Cluster, point: str) -> None:
    await cluster.publish([configured(), established("s-1")])
    zombie = cluster.worker(point=point, signal_number=signal.SIGSTOP)
    await stopped(zombie)
    async with beating(cluster, [beats("s-1")]):
        sound = cluster.worker()
        await owns_all(cluster, sound)
        zombie.signal(signal.SIGCONT)
        await was_fenced(zombie)
        await asyncio.sleep(TIMEOUT_SECONDS)  # nothing tells that something will not happen

        assert await losses(cluster) == []
    for worker in (sound, zombie):
        assert await worker.stops() == 0, worker.output


@pytest.mark.timeout(300)
async def test_a_loss_is_told_once_whenever_its_owner_is_killed(machine: Machine) -> None:
    await machine.publish([configured(), established("s-1")])
    for point in DECISION_POINTS:
        victim = machine.up(point=point)
        assert await victim.ended() == -signal.SIGKILL, victim.output
        assert victim.hits[-1] == point

    survivor = await machine.running_up()
    await is_lost(machine, survivor, "s-1")
    assert await survivor.stops() == 0

    assert set(await losses(machine)) == {"s-1"}
    async with await machine.database.connect() as connection:
        query = "SELECT disposition FROM sojourn_v1.session_history WHERE event_type = 'lost' ORDER BY \"offset\""
        dispositions = await (await connection.execute(query)).fetchall()
        left = await (await connection.execute("SELECT count(*) FROM sojourn.outbox")).fetchone()
    assert dispositions[0] == ("applied",)
    assert set(dispositions[1:]) <= {("duplicate",)}
    assert left == (0,)


@pytest.mark.timeout(300)
async def test_a_tracker_that_was_away_for_longer_than_the_timeout_declares_nobody_lost(machine: Machine) -> None:
    names = [f"s-{number}" for number in range(SESSIONS)]
    all_beats = [beats(*names[first : first + BATCH_SESSIONS]) for first in range(0, SESSIONS, BATCH_SESSIONS)]
    await machine.publish([configured()])
    async with beating(machine, all_beats, TIMEOUT_SECONDS / 3):
        process = await machine.running_up()
        for first in range(0, SESSIONS, BATCH_SESSIONS):
            await machine.publish([established(name) for name in names[first : first + BATCH_SESSIONS]])
        await machine.applied(process)
        assert await process.stops() == 0
        await asyncio.sleep(2 * TIMEOUT_SECONDS)

        process = await machine.running_up()
        await machine.applied(process)
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(2 * TIMEOUT_SECONDS)
        process.signal(signal.SIGCONT)
        await machine.applied(process)
        await asyncio.sleep(TIMEOUT_SECONDS + 2)

        assert await losses(machine) == []
    await is_lost(machine, process, names[-1])  # as soon as they are not beaten any more
    assert await process.stops() == 0
