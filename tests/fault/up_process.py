"""Processes of Sojourn that tests run and fault tests end.

They are forked from one that has imported everything: a start of Python takes two seconds, a fork none.
`sojourn …` runs through the real command line. What fault tests add to it is added here, after the fork: a listener at
the kill points, and flushes that come often.
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
import sojourn.console.disconnect
import sojourn.console.export
import sojourn.console.log
import sojourn.console.publish
import sojourn.console.replay
import sojourn.console.up
import sojourn.console.worker  # noqa: F401
from sojourn.console import cli
from sojourn.consumers import killpoints, partition, sweep
from sojourn.consumers.kafka import transport
from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.errors import SojournError
from sojourn.events.publisher import Publisher
from sojourn.events.settings import Settings
from sojourn.projections import store
from tests.forks import Reap, Start

TRANSACTION_SECONDS: Final = 3  # of the thirty after which a stopped projector's transaction is taken from it
METADATA_SECONDS: Final = 2.0  # of the twenty within which a worker notices that partitions were added
TIMEOUT_SECONDS: Final = 7 * 86400  # nobody is lost but where a test configures its tenant
SILENT_BEATS: Final = 100_000
CHUNK_LINES: Final = 20  # a recording publisher is killed between and within many small appends
PAUSE_SECONDS: Final = 0.01  # between them: as long as an append takes


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


def run_command(order: Start) -> int:
    sys.argv = ["sojourn", *order.arguments]
    return cli.main()


def run_sojourn(order: Start) -> int:
    listen_at_points(order)
    vars(partition)["FLUSH_SECONDS"] = order.flush_seconds
    vars(sweep)["TIMEOUT_SECONDS"] = TIMEOUT_SECONDS
    vars(sweep)["SILENT_BEATS"] = SILENT_BEATS
    vars(store)["TRANSACTION_SECONDS_MAX"] = TRANSACTION_SECONDS
    vars(transport)["SESSION_SECONDS"] = order.session_seconds
    vars(transport)["HEARTBEAT_SECONDS"] = order.session_seconds / 6
    vars(transport)["METADATA_SECONDS_MAX"] = METADATA_SECONDS
    return run_command(order)


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


KINDS: Final[dict[str, Callable[[Start], int]]] = {
    "command": run_command,
    "sojourn": run_sojourn,
    "publisher": run_publisher,
}


def become(order: Start) -> int:
    """Turn the forked child into the process ordered; return its exit code."""
    os.setsid()  # the tests' Ctrl-C is not the child's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.kind == "command":
        os.environ.clear()
    os.environ.update(order.environ)
    os.dup2(os.open(order.input, os.O_RDONLY), 0)
    for descriptor, path in ((1, order.output), (2, order.errors or order.output)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), descriptor)
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
