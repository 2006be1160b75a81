"""Faults 1, 2, 4 and 5 with several workers on real Kafka: a rebalance in a batch, zombies, kills at every point."""

import random
import signal

import pytest

from sojourn.consumers.killpoints import KILL_POINTS
from tests.fault.cluster import Cluster, fenced
from tests.fault.harness import Process, until
from tests.fault.test_owners import stopped
from tests.fault.workload import Workload

pytestmark = pytest.mark.xdist_group("kafka-faults")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "point",
    [
        "lifecycle.folded",
        pytest.param("lifecycle.staged", marks=pytest.mark.slow),
        pytest.param("lifecycle.fenced", marks=pytest.mark.slow),
        "lifecycle.written",
        "heartbeats.fenced",
    ],
)
async def test_a_worker_that_was_stopped_while_others_took_over_is_fenced(
    cluster: Cluster, workload: Workload, point: str
) -> None:
    sound = [cluster.worker() for _ in range(2)]
    await cluster.all_work(*sound)
    zombie = cluster.worker(point=point, nth=30, signal_number=signal.SIGSTOP)
    async with cluster.load(workload):
        await stopped(zombie)
        await cluster.all_work(*sound)

        zombie.signal(signal.SIGCONT)

        await was_fenced(zombie)
        await works(cluster, zombie)
    await cluster.caught_up(*sound, zombie)
    for worker in (*sound, zombie):
        assert await worker.stops() == 0, worker.output
    await cluster.check()


async def was_fenced(zombie: Process) -> None:
    async def is_so() -> bool:
        assert not zombie.has_ended, zombie.output
        return fenced(zombie) > 0

    await until(is_so, "the zombie is fenced", zombie)


async def works(cluster: Cluster, worker: Process) -> None:
    """Wait until a worker has partitions again."""

    async def is_so() -> bool:
        assert not worker.has_ended, worker.output
        return any(owner.endswith(f"/{worker.number}") for owner in await cluster.owners())

    await until(is_so, "the worker has partitions", worker)


@pytest.mark.timeout(300)
async def test_kills_of_workers_at_every_named_point_lose_nothing_and_double_nothing(
    cluster: Cluster, workload: Workload
) -> None:
    draw = random.Random(7)
    survivor = cluster.worker()
    async with cluster.load(workload):
        for point in KILL_POINTS:
            victim = cluster.worker(point=point, nth=draw.randint(1, 6))
            assert await victim.ended() == -9, victim.output
            assert victim.hits[-1] == point
            await cluster.moved_together()
    await cluster.caught_up(survivor)
    assert await survivor.stops() == 0, survivor.output
    await cluster.check()
