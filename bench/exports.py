"""Exports beside their limit: the same rows copied out of PostgreSQL."""

import asyncio
from pathlib import Path

from bench.history import fill_history
from bench.measure import Stopwatch
from sojourn.console.opening import Opened
from sojourn.exporters.dataset import FileFormat
from sojourn.exporters.export import export
from sojourn.projections.read import HistoryFilter, as_reader, history_query, statement_of


async def copy_out_and_export(watch: Stopwatch, parts: Opened, directory: Path, rows: int) -> None:
    """Copy one tenant's history out as the reader, then export it in both formats."""
    tenant, filters = "long", HistoryFilter()
    await fill_history(parts.database, tenant, rows)
    text, _ = statement_of(history_query(filters))
    async with await parts.database.connect() as connection, as_reader(connection, tenant):
        with watch.measure("limit: COPY the same rows out", rows):
            async with connection.cursor().copy(f"COPY ({text}) TO STDOUT (FORMAT binary)".encode()) as copy:
                async for _ in copy:
                    pass
    formats: tuple[FileFormat, ...] = ("parquet", "csv")
    for file_format in formats:
        with watch.measure(f"export: history to {file_format}", rows):
            await asyncio.to_thread(export, parts.database.dsn, tenant, filters, file_format, directory / file_format)
