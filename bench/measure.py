"""Timing a piece of work with the processor time of every process that takes part in it."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Figure(NamedTuple):
    """One measurement: how many, how long, and how much processor time here and in PostgreSQL."""

    name: str
    pieces: int
    seconds: float
    python_seconds: float
    postgres_seconds: float

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.pieces / self.seconds

    @property
    def core_seconds_per_million(self) -> float:
        """Processor time of all processes for a million."""
        return (self.python_seconds + self.postgres_seconds) / self.pieces * 1_000_000


def postgres_cpu() -> float:
    """Return the processor seconds that all living PostgreSQL processes have used, with their ended children."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(") ")
        except OSError:
            continue
        if name == "postgres":
            total += sum(map(int, rest.split()[11:15]))
    return total / TICKS


class Stopwatch:
    """Collects figures; the slices of `measure` become one each."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    @contextmanager
    def measure(self, name: str, count: int) -> Iterator[None]:
        """Time the block as `count` pieces of work."""
        postgres, usage, began = postgres_cpu(), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        python = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
        self.figures[name] = Figure(name, count, seconds, python, postgres_cpu() - postgres)
