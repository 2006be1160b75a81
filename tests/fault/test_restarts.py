"""Fault 7 and a loss of power: PostgreSQL goes away under load, its connections are cut, everything dies at once."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from tests.fault.harness import Machine, Process, note, rounds, until
from tests.fault.workload import Workload
from tests.integration.server_processes import kill_server, postmaster

RESTARTS: int = rounds(2, 30)
CUTS: int = rounds(4, 60)
POWER_CUTS: int = rounds(2, 40)
LINES: int = 10_000  # of each publisher; more than it gets acknowledged before the power goes, however slow the rest
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "killed": signal.SIGKILL}


@pytest.mark.timeout(60 + 10 * RESTARTS)
@pytest.mark.parametrize("how", SIGNALS)
async def test_the_projector_outlives_restarts_of_postgresql_under_load(
    machine: Machine, workload: Workload, how: str
) -> None:
    process = await machine.running_up()

    async with machine.load(workload):
        for _ in range(RESTARTS):
            await machine.applied(process)
            os.kill(postmaster(machine.data_dir), SIGNALS[how])
            await machine.applied(process)

    assert (machine.data_dir / "postgres.log").read_text().count("starting PostgreSQL") > RESTARTS
    assert await process.stops() == 0, process.output
    await machine.conclude()


@pytest.mark.timeout(60 + 3 * CUTS)
async def test_the_projector_outlives_the_loss_of_any_of_its_connections(machine: Machine, workload: Workload) -> None:
    draw = random.Random(CUTS)
    process = await machine.running_up()

    async with machine.load(workload):
        for number in range(CUTS):
            await machine.applied(process)
            await cut_connections(machine, None if number == 0 else draw.randint(1, 4), draw)
    await machine.applied(process)

    assert "partition.retry" in process.output
    assert await process.stops() == 0, process.output
    await machine.conclude()


async def cut_connections(machine: Machine, count: int | None, draw: random.Random) -> None:
    """Cut connections to the database, some or all, whosever they are: writers, readers, publishers, the lock."""
    async with await machine.database.connect(autocommit=True) as connection:
        rows = await connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = 'sojourn' AND pid <> pg_backend_pid() ORDER BY pid"
        )
        backends = [pid async for (pid,) in rows]
        for backend in draw.sample(backends, k=min(len(backends), count or len(backends))):
            await connection.execute("SELECT pg_terminate_backend(%s)", (backend,))


@pytest.mark.timeout(60 + 20 * POWER_CUTS)
async def test_after_a_loss_of_power_all_that_was_acknowledged_is_there(machine: Machine, tmp_path: Path) -> None:
    draw = random.Random(POWER_CUTS)
    for number in range(POWER_CUTS):
        workloads = [Workload(10 * number + publisher, machine.started_at) for publisher in range(2)]
        sent = [workload.chunk(LINES) for workload in workloads]
        notes = [tmp_path / f"{number}-{publisher}-acknowledged" for publisher in range(2)]
        machine.sent += [value for values in sent for value in values]
        up = machine.up()
        publishers = [
            machine.publisher(note(values, path.with_suffix(".sent")), path)
            for values, path in zip(sent, notes, strict=True)
        ]
        await under_way(up, notes, draw.randint(1, 80))

        for process in (up, *publishers):
            process.signal(signal.SIGKILL)
        await asyncio.to_thread(kill_server, machine.data_dir)

        for process in (up, *publishers):
            assert await process.ended() == -9, f"it had ended before: {process.output}"
        for path in notes:
            # A write that was cut short leaves no line feed; that line was acknowledged, but nobody can say so.
            machine.acknowledged += path.read_bytes().split(b"\n")[:-1]

    await machine.conclude()

    assert machine.acknowledged


async def under_way(up: Process, notes: list[Path], committed: int) -> None:
    """Wait until both publishers have got answers and the projector has committed batches."""

    async def is_so() -> bool:
        told = all(path.exists() and path.stat().st_size for path in notes)
        return told and up.hits.count("lifecycle.committed") >= committed and "heartbeats.written" in up.hits

    await until(is_so, "both publish and `up` projects", up)
