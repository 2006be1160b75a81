"""Processes forked from one that has imported everything (tests/fault/up_process.py)."""

import atexit
import os
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final, Literal

import msgspec

FLUSH_SECONDS: Final = 0.2  # of the five that users have; liveness is written while something happens
SESSION_SECONDS: Final = 3.0  # of the fifteen after which Kafka gives a silent worker's partitions to others


class Start(msgspec.Struct, tag="start"):
    """What to run: `sojourn` with these arguments, as users have it or to be ended, or a publisher that takes notes.

    `environ` is all that a `command` has; others have it beside what the parent had. Errors go where output goes,
    unless they have a place of their own.
    """

    kind: Literal["command", "sojourn", "publisher"]
    arguments: list[str]
    environ: dict[str, str] = {}
    input: str = os.devnull
    output: str = os.devnull
    errors: str | None = None
    hits: str = os.devnull
    point: str | None = None
    nth: int = 1
    signal: int = signal.SIGKILL
    flush_seconds: float = FLUSH_SECONDS
    session_seconds: float = SESSION_SECONDS


class Reap(msgspec.Struct, tag="reap"):
    """Ask for the exit status of a process that has ended."""

    process: int


class Forks:
    """The process that all others are forked from."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.up_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def answer(self, order: Start | Reap) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with self._lock:
            self._parent.stdin.write(msgspec.json.encode(order) + b"\n")
            self._parent.stdin.flush()
            return int(self._parent.stdout.readline())

    def run(self, order: Start) -> int:
        """Start a process, wait for its end, and return its exit code."""
        number = self.answer(order)
        descriptor = os.pidfd_open(number)
        try:
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
            code = self.answer(Reap(number))
        return code

    def close(self) -> None:
        """End it, and with it all that it started."""
        self._parent.communicate()


@cache
def shared_forks() -> Forks:
    """Import everything once for all processes of all tests."""
    made = Forks()
    atexit.register(made.close)
    return made
