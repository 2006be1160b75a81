"""Fault 3: the projector does not learn what became of a COMMIT."""

import random

import pytest

from tests.fault.harness import Machine, Process, rounds, until
from tests.fault.proxy import CommitProxy, Fault, commit_proxy
from tests.fault.workload import Workload

LOST: int = rounds(3, 60)  # transactions of each topic whose COMMIT goes missing
TOPICS = ("lifecycle", "heartbeats")


def lost_commits(process: Process, topic: str) -> int:
    """Count the transactions that were written and of which the process never heard that they were committed."""
    return process.hits.count(f"{topic}.written") - process.hits.count(f"{topic}.committed")


@pytest.mark.timeout(60 + 10 * LOST)
@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.PARTED])
async def test_a_commit_whose_answer_is_lost_is_neither_repeated_nor_forgotten(
    machine: Machine, workload: Workload, fault: Fault
) -> None:
    draw = random.Random(LOST)
    with commit_proxy(machine.database.dsn) as proxy:
        process = await machine.running_up({"SOJOURN_DATABASE_DSN": proxy.dsn})
        async with machine.load(workload):
            while any(lost_commits(process, topic) < LOST for topic in TOPICS):
                assert not process.has_ended, process.output
                proxy.fault_at(draw.randint(8, 30), fault)  # others go on meanwhile; to own a partition takes four
                await proxy.hit()
                if fault is Fault.PARTED:
                    await somebody_waits(machine, proxy)
                    proxy.release()
        assert await process.stops() == 0, process.output

    await machine.conclude()


async def somebody_waits(machine: Machine, proxy: CommitProxy) -> None:
    """Wait until the new connection waits for the parted transaction, or goes on because that held nothing."""
    commits = proxy.commits

    async def is_so() -> bool:
        async with await machine.database.connect() as connection:
            found = await connection.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            return found.rowcount > 0 or proxy.commits > commits + 20

    await until(is_so, "a connection waits for a lock")
