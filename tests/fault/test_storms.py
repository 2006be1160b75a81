"""Faults 4 to 7 at once: workers are killed and stopped, Kafka and PostgreSQL restarted, in any order, under load."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.fault.cluster import OUT_SECONDS, Cluster, fenced
from tests.fault.harness import until
from tests.fault.test_restarts import SIGNALS, cut_connections
from tests.fault.workload import Workload
from tests.integration.server_processes import postmaster

pytestmark = pytest.mark.xdist_group("kafka-faults")

_FULL: Final = os.environ.get("SOJOURN_TEST_PROFILE") == "full"
WAITING_EVENTS: Final = 100_000 if _FULL else 12_000  # of each storm, in the log when it begins: batches that are full
EVENTS: Final = 50_000 if _FULL else 12_000  # of each storm, published meanwhile
SECONDS: Final = 30.0  # to publish them in, if nothing stands in the way
PAUSE_SECONDS_MAX: Final = 3.0 if _FULL else 1.0  # between two faults
NOT_REACHABLE: Final = 3  # the exit code of a service whose first look at a server fails
APPEND_EVENTS: Final = 2000  # of one append before the storm
STORMS: Final = 30 if _FULL else 1  # of each kind; together an hour
# Workers whose names Kafka keeps their partitions for, and others.
KINDS: Final[dict[str, list[str | None]]] = (
    {"three": [None] * 3, "five-static": ["a", "b", "c", "d", "e"]}
    if _FULL
    else {"two of each": [None, None, "a", "b"]}
)


class Storm:
    """A cluster with workers that things happen to."""

    def __init__(self, cluster: Cluster, names: list[str | None], draw: random.Random) -> None:
        self.cluster, self.draw = cluster, draw
        self.names = names
        self.workers = [cluster.worker(name) for name in names]
        self.fenced = 0
        self.happened: list[str] = []

    async def kill_a_worker(self) -> None:
        """End a worker without notice, and start another in its place."""
        number = self._any()
        self.workers[number].signal(signal.SIGKILL)
        assert await self.workers[number].ended() == -signal.SIGKILL
        self._replace(number)

    async def stop_a_worker(self) -> None:
        """Tell a worker to stop, as in a rolling restart, and start another in its place."""
        number = self._any()
        assert await self.workers[number].stops() == 0, self.workers[number].output
        self._replace(number)

    async def suspend_workers(self) -> None:
        """Stop some workers for longer than the group waits for them, and let them go on as zombies."""
        zombies = self.draw.sample(self.workers, k=self.draw.randint(1, len(self.workers) - 1))
        for zombie in zombies:
            zombie.signal(signal.SIGSTOP)
        await asyncio.sleep(OUT_SECONDS)
        for zombie in zombies:
            zombie.signal(signal.SIGCONT)

    async def restart_kafka(self) -> None:
        """Stop the broker, or kill it, and start it again."""
        kafka = self.cluster.kafka
        await asyncio.to_thread(kafka.stop, self.draw.choice([signal.SIGTERM, signal.SIGKILL]))
        await asyncio.to_thread(kafka.start)

    async def restart_postgresql(self) -> None:
        """End the database in one of three ways; the next connection starts it."""
        os.kill(postmaster(self.cluster.data_dir), self.draw.choice(list(SIGNALS.values())))

    async def cut_connections(self) -> None:
        """End some sessions of the database, whosever they are."""
        await cut_connections(self.cluster, self.draw.randint(1, 4), self.draw)

    def faults(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Return what happens, in some order: each at least once."""
        often = [self.kill_a_worker, self.kill_a_worker, self.stop_a_worker, self.suspend_workers, self.suspend_workers]
        all_faults = [*often, self.restart_kafka, self.restart_postgresql, self.cut_connections]
        self.draw.shuffle(all_faults)
        return all_faults

    async def rage(self, until_done: asyncio.Task[None]) -> None:
        """Let everything happen, and go on until all is published."""
        faults = self.faults()
        while faults or not until_done.done():
            if not faults:
                faults = self.faults()
            fault = faults.pop()
            self.happened.append(fault.__name__)
            await fault()
            await asyncio.sleep(self.draw.uniform(0, PAUSE_SECONDS_MAX))
            await self._start_again()

    async def _start_again(self) -> None:
        """Start what could not begin while a server was away, as systemd would."""
        for number, worker in enumerate(self.workers):
            if worker.has_ended:
                assert await worker.ended() == NOT_REACHABLE, worker.output
                self._replace(number)

    async def settle(self) -> None:
        """Wait until all workers share the partitions."""

        async def are_at_work() -> bool:
            await self._start_again()
            return all('"worker.assigned"' in worker.output for worker in self.workers)

        await until(are_at_work, "every worker has its share", self.workers[0])

    def all_fenced(self) -> int:
        return self.fenced + sum(fenced(worker) for worker in self.workers)

    def _any(self) -> int:
        return self.draw.randrange(len(self.workers))

    def _replace(self, number: int) -> None:
        self.fenced += fenced(self.workers[number])
        self.workers[number] = self.cluster.worker(self.names[number])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(STORMS))
@pytest.mark.parametrize("names", KINDS.values(), ids=KINDS)
async def test_after_a_storm_the_tables_are_what_the_log_says(
    cluster: Cluster, names: list[str | None], seed: int
) -> None:
    workload = Workload(seed, datetime.now(UTC))
    for _ in range(WAITING_EVENTS // APPEND_EVENTS):
        await cluster.publish(workload.chunk(APPEND_EVENTS))
    storm = Storm(cluster, names, random.Random(f"{len(names)}/{seed}"))
    await storm.settle()  # whoever is stopped while it makes the first positions keeps the others from a start

    async with cluster.stream(workload, EVENTS, SECONDS) as publishing:
        await storm.rage(publishing)

    await storm.settle()
    await cluster.caught_up(*storm.workers)
    for worker in storm.workers:
        assert await worker.stops() == 0, worker.output
        assert "Traceback" not in worker.output
    sys.stdout.write(f"{storm.happened}; fenced {storm.all_fenced()} times\n")
    await cluster.check()
