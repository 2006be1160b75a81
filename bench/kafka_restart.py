"""Restarting three workers one after the other while events keep coming."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from typing import Final, NamedTuple

from bench.kafka_workers import POLL_SECONDS, Scene, Worker, until
from bench.load import lifecycle
from sojourn.events.publisher import Publisher
from sojourn.events.topics import LIFECYCLE

WORKERS: Final = 3
CHUNK_SECONDS: Final = 0.1  # between two appends of the load
BEHIND_SECONDS_MAX: Final = 1.0  # of load that may stand in the log while its lag counts as zero: batches under way
CALM_SECONDS: Final = 5.0  # of load before the first restart and after the last
EVENTS_MAX: Final = 10_000_000  # an hour of load


class Restart(NamedTuple):
    """What a rolling restart did to the others, and to the lag."""

    name: str
    rate: float
    assignments: int
    silence_seconds: float
    partition_seconds: float
    zero_seconds: float


class Load:
    """Publishes at a steady rate, and watches how far PostgreSQL is behind."""

    def __init__(self, scene: Scene, rate: int, seed: int) -> None:
        self._scene, self._rate = scene, rate
        self._values: Iterator[bytes] = lifecycle(EVENTS_MAX, seed)
        self._acknowledged: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._before = 0
        self._moved: dict[int, float] = {}
        self._any = 0.0
        self._applied = 0
        self._positions: dict[int, int] = {}
        self.published = 0
        self.silence_seconds = self.partition_seconds = 0.0
        self.began = 0.0

    async def run(self) -> None:
        """Publish and watch until cancelled."""
        self._before = sum((await self._scene.log.end_offsets(LIFECYCLE)).values())
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish())
            group.create_task(self._watch())

    async def _publish(self) -> None:
        publisher, due = Publisher(self._scene.log), time.monotonic()
        while True:
            values = list(islice(self._values, round(self._rate * CHUNK_SECONDS)))
            await publisher.publish(values)
            self.published += len(values)
            self._acknowledged.append((time.monotonic(), self.published))
            due += CHUNK_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _watch(self) -> None:
        while True:
            positions, now = await self._scene.positions(LIFECYCLE), time.monotonic()
            for partition, offset in positions.items():
                if offset != self._positions.get(partition):
                    self.partition_seconds = max(self.partition_seconds, now - self._moved.get(partition, now))
                    self._moved[partition] = now
            if positions != self._positions:
                self.silence_seconds = max(self.silence_seconds, now - (self._any or now))
                self._any = now
            self._positions, self._applied = positions, sum(positions.values())
            await asyncio.sleep(POLL_SECONDS)

    async def is_applied(self) -> bool:
        """Tell whether all that was acknowledged some moments ago is applied."""
        since = time.monotonic() - BEHIND_SECONDS_MAX
        while len(self._acknowledged) > 1 and self._acknowledged[1][0] <= since:
            self._acknowledged.popleft()
        return self.published > 0 and self._applied - self._before >= self._acknowledged[0][1]

    def forget(self) -> None:
        """Begin to watch anew."""
        self.silence_seconds = self.partition_seconds = 0.0


async def rolling_restart(scene: Scene, name: str, rate: int, *, named: bool) -> Restart:
    """Restart three workers under load, each when the one before has caught up."""

    def started(number: int) -> Worker:
        return Worker(scene.bootstrap_servers, scene.data_dir, f"worker-{number}" if named else None)

    workers = scene.workers = [started(number) for number in range(WORKERS)]
    load, stack = Load(scene, rate, seed=2 + named), AsyncExitStack()
    try:
        await scene.given()
        await scene.reach_end(LIFECYCLE)
        loading = asyncio.create_task(load.run())
        stack.push_async_callback(end, loading)
        await asyncio.sleep(CALM_SECONDS)
        await until(load.is_applied, "the load is applied", workers)
        load.forget()
        given = {worker.number: len(worker.assigned) for worker in workers}
        ended: list[Worker] = []
        zero_seconds = 0.0
        for number in range(WORKERS):
            began = time.monotonic()
            await workers[number].stop()
            ended.append(workers[number])
            workers[number] = started(number)
            await until(has_partitions(workers[number]), "it has partitions again", workers)
            await until(load.is_applied, "the lag is zero again", workers)
            zero_seconds = time.monotonic() - began
        await asyncio.sleep(CALM_SECONDS)
        seconds = time.monotonic() - load.began
        assert not loading.done(), loading.result()
        await end(loading)
        assignments = sum(len(worker.assigned) - given.get(worker.number, 1) for worker in (*ended, *workers))
        for worker in workers:
            await worker.stop()
    finally:
        await stack.aclose()
        scene.kill()
    return Restart(
        name, load.published / seconds, assignments, load.silence_seconds, load.partition_seconds, zero_seconds
    )


def has_partitions(worker: Worker) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether the worker was given partitions."""

    async def is_so() -> bool:
        return bool(worker.assigned)

    return is_so


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])
