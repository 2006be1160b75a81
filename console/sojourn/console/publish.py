"""`sojourn publish`: lines of CloudEvents into the log."""

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from sojourn.console.opening import DataDir, Json, opened_log
from sojourn.console.output import write_json, write_line
from sojourn.console.progress import progress_bar
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.publisher import Publisher

CHUNK_BYTES: Final = 1 << 20  # what one read takes at most; a slow pipe gives less, and that is published at once
LINE_BYTES_MAX: Final = 16 << 20  # memory for one line; readers of the log take 1 MiB and say so
LINES_MAX: Final = 2000  # records in one append


class LineTooLong(SojournError):
    """a line is longer than this command can hold in memory"""


class Lines:
    """The lines of a file or pipe, as they come; blank lines are passed over."""

    def __init__(self, descriptor: int) -> None:
        self.bytes_read = 0
        self._descriptor = descriptor
        self._rest = bytearray()
        self._number = 0
        self._ended = False

    async def next(self) -> list[bytes] | None:
        """Wait for more and return the lines that are complete, perhaps none; None at the end."""
        if self._ended:
            return None
        await _readable(self._descriptor)
        chunk = os.read(self._descriptor, CHUNK_BYTES)
        self.bytes_read += len(chunk)
        self._rest += chunk
        if not chunk:
            self._ended = True
            lines = [bytes(self._rest)]
        else:
            *complete, last = self._rest.split(b"\n")
            lines = [bytes(line) for line in complete]
            self._rest = last
        self._number += len(lines)
        if len(self._rest) > LINE_BYTES_MAX:
            raise LineTooLong(f"a line may have {LINE_BYTES_MAX} bytes; longer is line {self._number + 1}")
        return [line for line in lines if line.strip()]


def publish(
    file: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="A file of CloudEvents, one a line; - reads standard input.")
    ],
    /,
    *,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Append CloudEvents, one a line, to the log; done when all are acknowledged.

    Lines may hold any bytes but a line feed. Those that are no event that Sojourn knows go to the lifecycle log as they
    are, and `sojourn dead-letters list` shows why. Blank lines are passed over.
    """
    descriptor = _standard_input() if file == "-" else _open(file)
    acknowledged = 0

    def count(events: int) -> int:
        nonlocal acknowledged
        acknowledged += events
        return acknowledged

    try:
        asyncio.run(_publish(descriptor, data_dir, count))
    finally:
        if json:
            write_json({"published": acknowledged})
        else:
            write_line(f"published {acknowledged} {'event' if acknowledged == 1 else 'events'}")


async def _publish(descriptor: int, data_dir: Path | None, count: Callable[[int], int]) -> None:
    """Publish the lines and count those that are acknowledged."""
    size = _size(descriptor)
    async with opened_log(data_dir) as log:
        publisher, lines = Publisher(log), Lines(descriptor)
        with progress_bar("publishing" if size else "events published", size) as advance:
            while (complete := await lines.next()) is not None:
                acknowledged = count(0)
                for start in range(0, len(complete), LINES_MAX):
                    acknowledged = count(await publisher.publish(complete[start : start + LINES_MAX]))
                advance(lines.bytes_read if size else acknowledged)


def _standard_input() -> int:
    if sys.stdin is None:
        raise SojournError("the standard input is closed; name a file, or write to it with a pipe")
    return sys.stdin.fileno()


def _open(path: str) -> int:
    if path.startswith("-"):
        raise UsageError(f"no such option; a file of this name is written with ./ before it: {path}")
    try:
        descriptor = os.open(path, os.O_RDONLY)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
    except OSError as error:
        raise SojournError(f"cannot read the events ({str(error.strerror).lower()}): {path}") from error
    return descriptor


async def _readable(descriptor: int) -> None:
    """Wait until a pipe or terminal has something; files always do. Unlike a thread, this can be cancelled."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # epoll takes no files
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _size(descriptor: int) -> int | None:
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
