"""A rolling restart under load: every worker in turn, and the group comes to rest each time."""

from typing import Final

import pytest

from tests.fault.cluster import Cluster
from tests.fault.harness import Process, until
from tests.fault.workload import Workload

RESTART_SECONDS_MAX: Final = 20.0  # two on an idle machine; the tests behind may wait so long for the names to expire

pytestmark = [pytest.mark.xdist_group("kafka-faults"), pytest.mark.timeout(300)]


async def test_a_rolling_restart_moves_each_partition_a_few_times_and_the_lag_returns_to_zero(
    cluster: Cluster, workload: Workload
) -> None:
    workers = [cluster.worker() for _ in range(3)]
    await cluster.all_work(*workers)

    async with cluster.load(workload):
        for number in range(3):
            old = workers[number]
            workers[number] = cluster.worker()
            await cluster.caught_up(workers[number])
            assert await old.stops() == 0, old.output
            await cluster.all_work(*workers)
    await cluster.caught_up(*workers)

    # One that comes and one that goes are two rebalances for the others; a storm would be dozens.
    assert all(assignments(worker) <= 8 for worker in workers), [assignments(worker) for worker in workers]
    for worker in workers:
        assert await worker.stops() == 0, worker.output
    await cluster.check()


async def test_a_named_worker_that_restarts_in_time_moves_no_partition(cluster: Cluster, workload: Workload) -> None:
    names = ["a", "b", "c"]
    workers = {name: cluster.worker(name, session_seconds=RESTART_SECONDS_MAX) for name in names}
    await cluster.all_work(*workers.values())
    others = {name: assignments(workers[name]) for name in ("a", "c")}

    async with cluster.load(workload):
        assert await workers["b"].stops() == 0, workers["b"].output
        workers["b"] = cluster.worker("b", session_seconds=RESTART_SECONDS_MAX)
        await has_partitions(workers["b"])
    await cluster.caught_up(*workers.values())

    assert {name: assignments(workers[name]) for name in ("a", "c")} == others
    for worker in workers.values():
        assert await worker.stops() == 0, worker.output
    await cluster.check()


def assignments(worker: Process) -> int:
    """Return how often the group has given a worker its partitions."""
    return worker.output.count('"worker.assigned"')


async def has_partitions(worker: Process) -> None:
    async def is_so() -> bool:
        assert not worker.has_ended, worker.output
        return assignments(worker) > 0

    await until(is_so, "the worker has partitions", worker)
