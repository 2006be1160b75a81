"""`sojourn publish` reads from pipelines while `sojourn up` is killed again and again, and is killed itself."""

import asyncio
import os
import random
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.fault.harness import Machine, Process, rounds, until
from tests.fault.workload import Workload

KILLS: int = rounds(3, 50)
WRITE_LINES: int = 12  # what a pipeline hands over at once
WRITE_SECONDS: float = 0.02  # between that


class Pipeline:
    """A pipe into `sojourn publish`, and what was written to it."""

    def __init__(self, machine: Machine, path: Path, seed: int) -> None:
        os.mkfifo(path)
        self.publisher: Process = machine.sojourn("publish", str(path), "--json")
        self.values: list[bytes] = []
        self._machine = machine
        self._workload = Workload(seed, machine.started_at)
        self._pipe = os.open(path, os.O_RDWR)  # for writing alone it would wait for the reader, and fail without one
        os.set_blocking(self._pipe, False)

    async def write(self, ending: asyncio.Event) -> None:
        """Write until it is time to end, or the reader is gone."""
        while not ending.is_set() and not self.publisher.has_ended:
            values = self._workload.chunk(WRITE_LINES)
            self._machine.sent += values
            self.values += values
            rest = b"".join(value + b"\n" for value in values)
            while rest and not self.publisher.has_ended:
                try:
                    rest = rest[os.write(self._pipe, rest) :]
                except BlockingIOError:
                    await asyncio.sleep(WRITE_SECONDS)
            await asyncio.sleep(WRITE_SECONDS)
        os.close(self._pipe)


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_publishing_goes_on_while_the_projector_dies_and_a_killed_publisher_invents_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    draw = random.Random(KILLS)
    pipelines = [Pipeline(machine, tmp_path / f"pipe-{number}", number) for number in range(3)]
    ending = asyncio.Event()
    writing = [asyncio.create_task(pipeline.write(ending)) for pipeline in pipelines]
    victim, *others = pipelines

    for number in range(KILLS):
        up = machine.up("lifecycle.written", draw.randint(1, 60))
        assert await up.ended() == -9, up.output
        if number == KILLS // 2:
            await appended_some(machine, victim)
            victim.publisher.signal(signal.SIGKILL)
            assert await victim.publisher.ended() == -9
    ending.set()
    await asyncio.gather(*writing)
    for pipeline in others:
        assert await pipeline.publisher.ended() == 0, pipeline.publisher.output
        assert pipeline.publisher.output == f'{{"published":{len(pipeline.values)}}}\n'
        machine.acknowledged += pipeline.values

    await machine.conclude()

    assert victim.publisher.output == ""
    await appended_once(machine, others)


async def appended_some(machine: Machine, pipeline: Pipeline) -> None:
    """Wait until the log holds something that came through the pipeline, but not all."""
    wanted = set(pipeline.values[:WRITE_LINES])

    async def is_so() -> bool:
        return any([record.value in wanted async for record in machine.records(LIFECYCLE)])

    await until(is_so, "the publisher has appended something")


async def appended_once(machine: Machine, pipelines: list[Pipeline]) -> None:
    """Check that what was acknowledged stands in the log as often as it was sent: nothing had to be sent again."""
    held = Counter([record.value for topic in (LIFECYCLE, HEARTBEATS) async for record in machine.records(topic)])
    sent = Counter([value for pipeline in pipelines for value in pipeline.values if not re.search(BROADCAST, value)])
    assert {value: held[value] for value in sent} == sent


BROADCAST = rb"heartbeats\.v1|broker\.alive\.v1"  # these are split, or stand in each partition
