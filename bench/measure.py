"""Timing a piece of work with the processor time of every process that takes part in it."""

import os
import resource
import time
from collections.abc import Iterator, Mapping
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


def process_seconds(process: int) -> float:
    """Return the processor seconds of one process, all its threads together; a child may have ended."""
    return sum(map(int, _status(Path(f"/proc/{process}/stat"))[11:13])) / TICKS


def server_seconds(postmaster: int) -> float:
    """Return the processor seconds of a server's processes, those that have ended included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = _status(path)
        except OSError:  # it has just ended, and its parent has its time
            continue
        if path.parent.name == str(postmaster):
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == str(postmaster):
            ticks += sum(map(int, fields[11:13]))
    return ticks / TICKS


def machine_seconds() -> float:
    """Return the processor seconds of everything that ran on this machine."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


class Reading(NamedTuple):
    """When, and how much processor time each process and the whole machine had had by then."""

    at: float
    seconds: dict[str, float]
    machine: float


class Row(NamedTuple):
    """One measurement that takes several processes; `others` is what ran on the machine beside them."""

    name: str
    pieces: int
    seconds: float
    processors: dict[str, float]
    others: float

    @classmethod
    def between(cls, name: str, pieces: int, before: Reading, after: Reading) -> "Row":
        """Return what happened between two readings."""
        processors = {process: seconds - before.seconds[process] for process, seconds in after.seconds.items()}
        others = after.machine - before.machine - sum(processors.values())
        return cls(name, pieces, after.at - before.at, processors, others)

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.pieces / self.seconds


class Meter:
    """Reads the processor time of Kafka, of PostgreSQL if there is one, and of this process, which loads and looks."""

    def __init__(self, kafka: int, postmaster: int | None = None) -> None:
        self._kafka, self._postmaster = kafka, postmaster

    def read(self, processes: Mapping[str, int]) -> Reading:
        """Return what they and these further processes have had by now."""
        seconds = {"Kafka": process_seconds(self._kafka)}
        if self._postmaster is not None:
            seconds["PostgreSQL"] = server_seconds(self._postmaster)
        seconds |= {name: process_seconds(process) for name, process in processes.items()}
        seconds.setdefault("bench", process_seconds(os.getpid()))
        return Reading(time.perf_counter(), seconds, machine_seconds())


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
        return 0.0 if self.postmaster is None else server_seconds(self.postmaster)
