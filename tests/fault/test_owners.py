"""A zombie on one machine, and a log that is not the one that was applied: each stops `up` with one clear line."""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, LiteralString

import pytest

from sojourn.consumers.host import Host
from sojourn.events.embedded.log import install
from sojourn.events.topics import LIFECYCLE
from tests.fault.harness import GRACE_SECONDS_MAX, Machine, Process, until
from tests.fault.workload import Workload

FENCED: Final = r"sojourn: another process took over sojourn\.(lifecycle|heartbeats), partition \d+, from epoch \d+"

# What PostgreSQL itself does when the host of a client is gone: it ends the session that holds the partitions' advisory
# locks, and those that wait for rows of COPY. Transactions that wait for a command of a stopped client have a time-out,
# so they are left to that.
_END_SESSIONS: Final[LiteralString] = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity AS session
WHERE datname = 'sojourn' AND pid <> pg_backend_pid() AND (
    state = 'active' AND wait_event = 'ClientRead'
    OR EXISTS (SELECT FROM pg_locks AS lock WHERE lock.pid = session.pid AND locktype = 'advisory' AND objsubid = 2))
"""


@pytest.mark.parametrize("point", ["lifecycle.folded", "lifecycle.written", "heartbeats.fenced"])
async def test_a_projector_that_was_stopped_while_another_took_over_is_fenced(
    machine: Machine, workload: Workload, point: str
) -> None:
    zombie = machine.up(point, 5, signal.SIGSTOP)
    async with machine.load(workload):
        await stopped(zombie)
        async with await machine.database.connect(autocommit=True) as connection:
            await connection.execute(_END_SESSIONS)
        async with successor(machine) as host:
            await owns_and_moves(machine, host)

            zombie.signal(signal.SIGCONT)

            assert await zombie.ended() == 1, zombie.output
            await owns_and_moves(machine, host)

    assert re.fullmatch(FENCED, zombie.output.splitlines()[-1]), zombie.output
    assert "Traceback" not in zombie.output
    await machine.moved_together()
    await machine.conclude()


@pytest.mark.parametrize("topic", ["sojourn.lifecycle", "sojourn.heartbeats"])
async def test_a_position_that_somebody_else_moved_fences_as_well(
    machine: Machine, workload: Workload, topic: str
) -> None:
    process = await machine.running_up()
    await machine.publish(workload.chunk(300))
    await machine.applied(process)
    async with await machine.database.connect(autocommit=True) as connection:
        await connection.execute(
            "UPDATE sojourn_v1.position SET next_offset = next_offset - 1 WHERE topic = %s AND next_offset > 0",
            (topic,),
        )

    await machine.publish(workload.chunk(300))

    assert await process.ended() == 1, process.output
    assert re.fullmatch(FENCED, process.output.splitlines()[-1]), process.output


async def stopped(process: Process) -> None:
    async def is_so() -> bool:
        assert not process.has_ended, process.output
        return process.is_stopped

    await until(is_so, "the process stops at its point", process)


@contextlib.asynccontextmanager
async def successor(machine: Machine) -> AsyncIterator[Host]:
    """Let another owner have all partitions, until the block ends."""
    stopping = asyncio.Event()
    host = Host(machine.database, machine.log, "successor")
    running = asyncio.create_task(host.run(stopping))
    try:
        yield host
    finally:
        stopping.set()
        await asyncio.wait_for(running, GRACE_SECONDS_MAX)


async def owns_and_moves(machine: Machine, host: Host) -> None:
    """Wait until the successor owns every partition and has applied what stands in the log now."""
    ends = await machine.log.end_offsets(LIFECYCLE)

    async def is_so() -> bool:
        at = {number: partition.next_offsets[LIFECYCLE] for number, partition in host.partitions.items()}
        return at.keys() == ends.keys() and all(at[number] >= end for number, end in ends.items())

    await until(is_so, "the successor owns all partitions and applies what comes")


async def empty(machine: Machine) -> None:
    """Make the log anew, as after the loss of its tables."""
    async with await machine.database.connect(autocommit=True) as connection, connection.transaction():
        await connection.execute("DROP SCHEMA sojourn_log CASCADE")
        await install(connection)


async def refill(machine: Machine) -> None:
    """Make it anew and let it grow further than it was before."""
    ends = await machine.log.end_offsets(LIFECYCLE)
    await empty(machine)
    workload = Workload(99, machine.started_at)
    grown = await machine.log.end_offsets(LIFECYCLE)
    while any(grown[partition] <= end for partition, end in ends.items()):
        await machine.publish(workload.chunk(200))
        grown = await machine.log.end_offsets(LIFECYCLE)


async def truncate(machine: Machine) -> None:
    """Take the newest record of each partition away, as a backup of yesterday lacks them."""
    async with await machine.database.connect(autocommit=True) as connection, connection.transaction():
        await connection.execute("UPDATE sojourn_log.log_head SET next_offset = next_offset - 1 WHERE next_offset > 0")
        await connection.execute(
            "DELETE FROM sojourn_log.lifecycle AS record USING sojourn_log.log_head AS head WHERE "
            "topic = 'sojourn.lifecycle' AND head.partition = record.partition AND \"offset\" >= next_offset"
        )


Change = Callable[[Machine], Coroutine[Any, Any, None]]
REPLACED: Final = (
    r"sojourn: the log was replaced or truncated: sojourn\.lifecycle, partition \d+, holds nothing of what was applied "
    r"from offsets \d+ to \d+ \(records: \d+\); .*; see `sojourn log accept-gap \d+ --dry-run`"
)
SHORT: Final = (
    r"sojourn: the log was replaced or truncated; it ends before what was applied: "
    r"sojourn\.lifecycle, partition \d+, offset \d+"
)


@pytest.mark.parametrize(
    "change",
    [empty, refill, truncate],
    ids=["emptied", "refilled", "truncated"],
)
async def test_a_log_that_changed_between_two_runs_stops_the_second(
    machine: Machine, workload: Workload, change: Change
) -> None:
    await projected_once(machine, workload)
    before = await projection(machine)
    await change(machine)

    process = machine.up()

    assert await process.ended() == 1, process.output
    assert re.fullmatch(REPLACED, process.output.splitlines()[-1]), process.output
    assert "Traceback" not in process.output
    assert await projection(machine) == before


@pytest.mark.parametrize("change", [empty, truncate], ids=["emptied", "truncated"])
async def test_a_log_that_is_cut_under_a_running_projector_stops_it(
    machine: Machine, workload: Workload, change: Change
) -> None:
    await machine.publish(workload.chunk(300))
    process = await machine.running_up()
    await machine.applied(process)
    before = await projection(machine)

    await change(machine)

    assert await process.ended() == 1, process.output
    assert re.fullmatch(SHORT, process.output.splitlines()[-1]), process.output
    assert "Traceback" not in process.output
    assert await projection(machine) == before


async def projected_once(machine: Machine, workload: Workload) -> None:
    await machine.publish(workload.chunk(300))
    process = await machine.running_up()
    await machine.applied(process)
    assert await process.stops() == 0, process.output


async def projection(machine: Machine) -> list[tuple[Any, ...]]:
    """Return the positions, and how much history there is."""
    async with await machine.database.connect(autocommit=True) as connection:
        rows = await connection.execute(
            "SELECT topic, partition, next_offset, record_crc, (SELECT count(*) FROM sojourn_v1.session_history) "
            "FROM sojourn_v1.position ORDER BY topic, partition"
        )
        return await rows.fetchall()
