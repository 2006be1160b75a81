"""Timing a piece of work with the processor time of every process that takes part in it."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sojourn.events.embedded.database import Database

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


async def postmaster(database: Database) -> int:
    """Return the process id of the server that the database runs in."""
    async with await database.connect() as connection:
        return int(_status(Path(f"/proc/{connection.info.backend_pid}/stat"))[1])


def _status(path: Path) -> list[str]:
    """Return what follows the name of a process: state, parent, ..., user and system ticks, those of ended children."""
    return path.read_text().rpartition(") ")[2].split()


class Stopwatch:
    """Collects figures; each block of `measure` becomes one."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}
        self.postmaster: int | None = None

    @contextmanager
    def measure(self, name: str, count: int) -> Iterator[None]:
        """Time the block as `count` pieces of work."""
        postgres, usage, began = self._postgres_cpu(), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        python = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
        self.figures[name] = Figure(name, count, seconds, python, self._postgres_cpu() - postgres)

    def _postgres_cpu(self) -> float:
        """Return the processor seconds of the server's processes, those that have ended included."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = _status(path)
            except OSError:  # it has just ended, and its parent has its time
                continue
            if path.parent.name == str(self.postmaster):
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == str(self.postmaster):
                ticks += sum(map(int, fields[11:13]))
        return ticks / TICKS
