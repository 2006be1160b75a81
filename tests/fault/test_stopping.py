"""Fault 21: told to stop, `sojourn up` finishes or rolls back what it has in hand, and exits 0 within ten seconds."""

import asyncio
import fcntl
import signal
import socket
from pathlib import Path

import pytest

from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.fault.harness import GRACE_SECONDS_MAX, Machine, Process, until
from tests.fault.workload import Workload
from tests.integration.command import free_port
from tests.integration.server_processes import kill_server

DONE = "stopped; everything acknowledged is kept"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_under_load_leaves_nothing_half_done_and_the_next_start_goes_on(
    machine: Machine, workload: Workload, number: signal.Signals
) -> None:
    async with machine.load(workload):
        for committed in (0, 1, 40):
            process = await machine.running_up()
            await committed_at_least(process, committed)

            process.signal(number)

            assert await process.ended(GRACE_SECONDS_MAX) == 0, process.output
            assert process.output.endswith(f"{DONE}\n")
            assert "Traceback" not in process.output
            assert process.hits.count("lifecycle.written") == process.hits.count("lifecycle.committed")
            assert process.hits.count("heartbeats.written") == process.hits.count("heartbeats.committed")
            await machine.moved_together()
    await machine.conclude()


async def committed_at_least(process: Process, batches: int) -> None:
    async def is_so() -> bool:
        return process.hits.count("lifecycle.committed") >= batches

    await until(is_so, f"{batches} batches are committed", process)


async def test_a_stop_writes_the_heartbeats_that_were_in_memory(machine: Machine, workload: Workload) -> None:
    process = machine.up(flush_seconds=3600)
    await process.says("Sojourn is running")
    await machine.publish(workload.chunk(300))
    ends = await machine.log.end_offsets(HEARTBEATS)
    for _ in range(3):  # a partition reads the heartbeats of one round at the latest before the lifecycle of the third
        await machine.applied(process, (LIFECYCLE,))
        await machine.publish(workload.chunk(300))
    await machine.applied(process, (LIFECYCLE,))
    before = await machine.positions()

    assert await process.stops() == 0

    after = await machine.positions()
    assert {before[HEARTBEATS, partition] for partition in ends} == {0}
    assert all(after[HEARTBEATS, partition] >= end > 0 for partition, end in ends.items())
    await machine.conclude()


async def test_a_stop_is_heard_while_a_database_of_others_is_away(machine: Machine, workload: Workload) -> None:
    process = await machine.running_up({"SOJOURN_DATABASE_DSN": machine.database.dsn})
    await machine.publish(workload.chunk(2000))
    await committed_at_least(process, 2)  # others are being written, so the loss is noticed at once

    await asyncio.to_thread(kill_server, machine.data_dir)
    await process.says("partition.retry")
    exit_code = await process.stops()

    assert exit_code == 0
    assert process.output.endswith(f"{DONE}\n")
    await machine.conclude()


async def test_a_stop_is_heard_while_the_embedded_database_cannot_be_started(
    machine: Machine, workload: Workload
) -> None:
    process = await machine.running_up()
    await machine.publish(workload.chunk(2000))
    await committed_at_least(process, 2)

    with (machine.data_dir / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that is busy recovering holds it
        await asyncio.to_thread(kill_server, machine.data_dir)
        exit_code = await process.stops()  # its last flush finds no server and cannot start one

    assert exit_code == 0
    assert process.output.endswith(f"{DONE}\n")
    await machine.conclude()


async def test_a_stop_before_everything_is_open_is_heard(machine: Machine) -> None:
    with (machine.data_dir / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = machine.up()
        await says_who_it_is(machine.data_dir)
        exit_code = await process.stops()

    assert exit_code == 0
    assert process.output == f"{DONE}\n"


async def says_who_it_is(data_dir: Path) -> None:
    """Wait until `up` has taken its lock, after which it hears signals."""

    async def is_so() -> bool:
        path = data_dir / "up.lock"
        return path.exists() and "runs here already" in path.read_text()

    await until(is_so, "`up` has its lock")


async def test_a_second_up_names_the_first_and_fails(machine: Machine) -> None:
    port = free_port()
    first = machine.up(port=port)
    await first.says("Sojourn is running")

    second = machine.up()

    assert await second.ended() == 1
    assert second.output == (
        f"sojourn: sojourn up runs here already, as process {first.number} with port {port}; "
        f"stop it, or name another --data-dir: {machine.data_dir}\n"
    )
    assert await first.stops() == 0


async def test_an_up_after_a_killed_one_does_not_take_it_for_running(machine: Machine) -> None:
    first = await machine.running_up()
    first.signal(signal.SIGKILL)
    await first.ended()

    second = await machine.running_up()

    assert await second.stops() == 0


async def test_a_port_in_use_is_one_clear_line(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        process = machine.up(port=port)

        assert await process.ended() == 1
        assert process.output == (
            f"sojourn: cannot listen on 127.0.0.1 (Address already in use); choose another --port: {port}\n"
        )
