"""`sojourn export`: the list or the history of one tenant, from one snapshot, into a folder."""

import asyncio
import threading
from pathlib import Path

from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import FileFormat, Manifest, Progress, Source, write_dataset
from sojourn.exporters.folder import ExportFailed
from sojourn.exporters.snapshot import snapshot
from sojourn.projections.read import CurrentFilter, HistoryFilter, current_query, history_query


def export(
    dsn: str,
    tenant: str,
    filters: CurrentFilter | HistoryFilter,
    file_format: FileFormat,
    out: Path,
    *,
    neutralise: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Write the open sessions that a `CurrentFilter` keeps, or the ended ones that a `HistoryFilter` keeps.

    Blocks; `neutralise` and `progress` are those of `write_dataset`.
    Raises `NoSuchTenant`, `ExportFailed` and `Unreachable`; then there is nothing in `out` that was not there before.
    """
    dataset: Dataset = "current" if isinstance(filters, CurrentFilter) else "history"
    query = current_query(filters) if isinstance(filters, CurrentFilter) else history_query(filters)
    with snapshot(dsn, tenant) as found:
        # Heartbeats move what `current` shows, but no row of history.
        topics = (LIFECYCLE, HEARTBEATS) if dataset == "current" else (LIFECYCLE,)
        positions = " ".join(found.position(topic) for topic in topics)
        source = Source(dataset, tenant, positions, found.as_of(), filters)
        with found.batches(query, dataset) as batches:
            return write_dataset(batches, source, file_format, out, neutralise=neutralise, progress=progress)


async def export_async(
    dsn: str,
    tenant: str,
    filters: CurrentFilter | HistoryFilter,
    file_format: FileFormat,
    out: Path,
    *,
    neutralise: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Run `export` beside the event loop; cancelled, it ends with its batch in hand, and only then."""
    cancelled = threading.Event()

    def advance(rows: int) -> None:
        if progress is not None:
            progress(rows)
        if cancelled.is_set():
            raise ExportFailed("the export was cancelled")

    running = asyncio.ensure_future(
        asyncio.to_thread(export, dsn, tenant, filters, file_format, out, neutralise=neutralise, progress=advance)
    )
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.gather(running, return_exceptions=True)
        raise
