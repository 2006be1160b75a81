"""Faults 1 and 2: `kill -9` of the projector at every named point, while publishers go on."""

import random
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from sojourn.consumers.killpoints import KILL_POINTS
from tests.fault.harness import Machine, rounds
from tests.fault.workload import Workload

KILLS = rounds(2 * len(KILL_POINTS), 400)
NTH_MAX = 12  # of all partitions, each is the one that is interrupted


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_kills_at_every_named_point_lose_nothing_and_double_nothing(
    machine: Machine, workload: Workload, record_property: Callable[[str, object], None]
) -> None:
    draw = random.Random(KILLS)
    killed: Counter[str] = Counter()
    reached: Counter[str] = Counter()

    async with machine.load(workload):
        for number in range(KILLS):
            point = KILL_POINTS[number % len(KILL_POINTS)]
            process = machine.up(point, draw.randint(1, NTH_MAX))
            assert await process.ended() == -9, process.output
            assert process.hits[-1] == point
            killed[point] += 1
            reached.update(process.hits)
            await machine.moved_together()
    await machine.conclude()

    table = [f"{point:<24}{killed[point]:>4} kills {reached[point]:>6} times reached" for point in KILL_POINTS]
    sys.stdout.write("\n".join(table) + "\n")
    record_property("kills", table)
    assert killed.keys() == reached.keys() == set(KILL_POINTS)
    assert killed.total() == KILLS
