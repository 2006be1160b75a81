"""Exports made-up sessions in a process of its own and tells the rows and the peak of memory, in kilobytes."""

import resource
import sys
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from sojourn.exporters.dataset import FileFormat, Source, write_dataset
from sojourn.exporters.snapshot import snapshot
from sojourn.projections.read import HISTORY_COLUMNS, HistoryFilter
from tests.integration.rows import HISTORY_DAY


def made_up(rows: int) -> sa.Select[Any]:
    """Return a query for that many sessions, a hundred thousand a day, without the time that storing them takes."""
    number: sa.ColumnClause[Any] = sa.column("n")
    made: dict[str, sa.ColumnElement[Any]] = {
        "tenant": sa.literal("acme"),
        "session_id": sa.func.md5(sa.cast(number, sa.Text)),
        "user_name": sa.literal("Ada Byron ") + sa.cast(number, sa.Text),
        **dict.fromkeys(("login_at", "ended_after", "ended_before"), sa.cast(sa.null(), sa.TIMESTAMP(timezone=True))),
        "logout_at": sa.cast(HISTORY_DAY, sa.TIMESTAMP(timezone=True)) + number * sa.cast("0.8 seconds", sa.Interval),
        "online_seconds": sa.cast(number, sa.Double),
        "revision": sa.cast(2, sa.Integer),
    }
    columns = [made.get(name, sa.literal(f"{name} of a session")).label(name) for name in HISTORY_COLUMNS]
    return sa.select(*columns).select_from(sa.func.generate_series(1, rows).alias("n"))


def main() -> None:
    """Export the number of rows that the command line names."""
    dsn, rows, file_format, out = sys.argv[1:]
    with snapshot(dsn, "acme") as found:
        source = Source("history", "acme", "lifecycle@0:1", found.as_of(), HistoryFilter())
        with found.batches(made_up(int(rows)), "history") as batches:
            manifest = write_dataset(batches, source, cast(FileFormat, file_format), Path(out))
    sys.stdout.write(f"{manifest.rows} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    main()
