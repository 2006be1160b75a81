"""Processes of Sojourn that fault tests end.

They are forked from one that has imported everything: a start of Python takes two seconds, a fork none.
`sojourn …` runs through the real command line. What tests add to it is added here, after the fork: a listener at the
kill points, and flushes that come often.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

# Imported before the fork, for the children.
import sojourn.console.publish
import sojourn.console.up  # noqa: F401
from sojourn.console import cli
from sojourn.consumers import killpoints, partition
from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.errors import SojournError
from sojourn.events.publisher import Publisher
from sojourn.events.settings import Settings
from sojourn.projections import store

FLUSH_SECONDS: Final = 0.2  # of the five that users have; liveness is written while something happens
TRANSACTION_SECONDS: Final = 3  # of the thirty after which a stopped projector's transaction is taken from it
CHUNK_LINES: Final = 20  # a recording publisher is killed between and within many small appends
PAUSE_SECONDS: Final = 0.01  # between them: as long as an append takes


class Start(msgspec.Struct, tag="start"):
    """What to run: `sojourn` with these arguments, or a publisher that notes what was acknowledged."""

    kind: str
    arguments: list[str]
    environ: dict[str, str] = {}
    output: str = os.devnull
    hits: str = os.devnull
    point: str | None = None
    nth: int = 1
    signal: int = signal.SIGKILL
    flush_seconds: float = FLUSH_SECONDS


class Reap(msgspec.Struct, tag="reap"):
    """Ask for the exit status of a process that has ended."""

    process: int


def listen_at_points(order: Start) -> None:
    """Note every point reached, and let the process signal itself at the n-th time of one."""
    hits = os.open(order.hits, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    counts: Counter[str] = Counter()

    def reached(name: str) -> None:
        os.write(hits, f"{name}\n".encode())
        counts[name] += 1
        if name == order.point and counts[name] == order.nth:
            os.kill(os.getpid(), order.signal)

    killpoints.listeners.append(reached)


def run_sojourn(order: Start) -> int:
    listen_at_points(order)
    vars(partition)["FLUSH_SECONDS"] = order.flush_seconds
    vars(store)["TRANSACTION_SECONDS_MAX"] = TRANSACTION_SECONDS
    sys.argv = ["sojourn", *order.arguments]
    return cli.main()


def run_publisher(order: Start) -> int:
    """Publish the lines of a file and append to another those that were acknowledged, as soon as they are."""
    data_dir, source, acknowledged = map(Path, order.arguments)
    asyncio.run(_publish(data_dir, source.read_bytes().splitlines(keepends=True), acknowledged))
    return 0


async def _publish(data_dir: Path, lines: list[bytes], acknowledged: Path) -> None:
    database = await open_database(Settings(data_dir))
    log = EmbeddedLog(database)
    publisher = Publisher(log)
    try:
        with acknowledged.open("ab", buffering=0) as out:
            for start in range(0, len(lines), CHUNK_LINES):
                chunk = lines[start : start + CHUNK_LINES]
                await publisher.publish([line.removesuffix(b"\n") for line in chunk])
                out.write(b"".join(chunk))
                await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await log.close()
        await database.close()


KINDS: Final[dict[str, Callable[[Start], int]]] = {"sojourn": run_sojourn, "publisher": run_publisher}


def become(order: Start) -> int:
    """Turn the forked child into the process ordered; return its exit code."""
    os.setsid()  # the tests' Ctrl-C is not the child's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(order.environ)
    output = os.open(order.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for opened, descriptor in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(opened, descriptor)
    try:
        return KINDS[order.kind](order)
    except SojournError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class Forks:
    """The parent: takes orders, one a line, and answers each with a number."""

    def __init__(self) -> None:
        self._children: set[int] = set()

    def start(self, order: Start) -> int:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = become(order)
            except BaseException:  # noqa: BLE001 - nothing may get past here: it would run the parent's code
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        self._children.add(child)
        return child

    def reap(self, process: int) -> int:
        _, status = os.waitpid(process, 0)
        self._children.discard(process)
        return os.waitstatus_to_exitcode(status)

    def answer(self, order: Start | Reap) -> int:
        return self.start(order) if isinstance(order, Start) else self.reap(order.process)

    def end(self) -> None:
        """Leave nobody behind when the tests are gone."""
        for child in list(self._children):
            os.kill(child, signal.SIGKILL)
            self.reap(child)


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it ends with the tests, and not before it has ended the others
    forks = Forks()
    orders: Any = msgspec.json.Decoder(Start | Reap)
    try:
        while line := sys.stdin.buffer.readline():
            os.write(1, f"{forks.answer(orders.decode(line))}\n".encode())
    finally:
        forks.end()


if __name__ == "__main__":
    main()
