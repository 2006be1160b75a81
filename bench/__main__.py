"""`make bench`: one run of everything, as the table that docs/performance.md shows."""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench.codec import decode_only, fold_only
from bench.exports import copy_out_and_export
from bench.measure import Figure, Stopwatch, postmaster
from bench.projection import heartbeats_to_pages, lifecycle_to_tables
from sojourn.console.opening import opened

EVENTS = 200_000
HISTORY_ROWS = 500_000
BEATS_ROUNDS = 10


async def run() -> Stopwatch:
    """Measure everything on one fresh data directory."""
    watch = Stopwatch()
    decode_only(watch, EVENTS)
    fold_only(watch, EVENTS)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        async with opened(Path(directory) / "data") as parts:
            watch.postmaster = await postmaster(parts.database)
            await lifecycle_to_tables(watch, parts, EVENTS)
            await heartbeats_to_pages(watch, parts, BEATS_ROUNDS)
            await copy_out_and_export(watch, parts, Path(directory), HISTORY_ROWS)
    return watch


def table(figures: dict[str, Figure]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| what | pieces | a second | core-seconds per million: Python | PostgreSQL |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for figure in figures.values():
        million = 1_000_000 / figure.pieces
        lines.append(
            f"| {figure.name} | {figure.pieces:,} | {figure.rate:,.0f} | {figure.python_seconds * million:.1f} "
            f"| {figure.postgres_seconds * million:.1f} |"
        )
    return "\n".join(lines)


def ratio(figures: dict[str, Figure], one: str, other: str) -> str:
    """Return the rate of one figure as a share of another's."""
    return f"* {one}: {figures[one].rate / figures[other].rate:.2f} × {other}"


def main() -> None:
    """Print the table and the ratios."""
    figures = asyncio.run(run()).figures
    print(table(figures))
    print()
    print(ratio(figures, "lifecycle: log to live + history", "lifecycle: decode and fold, no database"))
    print(ratio(figures, "lifecycle: log to live + history", "limit: COPY the same rows into one table, no index"))
    print(ratio(figures, "heartbeats: log to durable pages", "heartbeats: decode only"))
    print(ratio(figures, "export: history to parquet", "limit: COPY the same rows out"))
    print(ratio(figures, "export: history to csv", "limit: COPY the same rows out"))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
