"""Progress bars for long work, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the block runs; the function given sets how much of `total` is done.

    Without a total it shows how much is done instead of the share.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns: tuple[ProgressColumn, ...]
    if total is None:
        columns = (TextColumn("{task.completed:,} {task.description}"), BarColumn(), TimeElapsedColumn())
    else:
        name = TextColumn("{task.description}")
        columns = (name, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
