"""`sojourn replay`: what live and history were, folded from the log alone."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from sojourn.console.export import Out, tell
from sojourn.console.opening import DataDir, Json, opened
from sojourn.console.progress import progress_bar
from sojourn.console.times import parse_instant
from sojourn.consumers.replay import replay as fold_again
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.topics import LIFECYCLE
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import Source, write_dataset
from sojourn.exporters.folded import FoldedSessions
from sojourn.projections.read import CurrentFilter, HistoryFilter
from sojourn.projections.read_status import position_text

_POSITION = re.compile(r"(?:sojourn\.)?lifecycle@(\d+:\d+(?:,\d+:\d+)*)")


async def replay(
    *,
    to: Annotated[str, Parameter(help="An append time, or a position like lifecycle@0:123,1:98,…")],
    out: Out,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Fold the lifecycle log from its start into Parquet: what both lists were at an append time or position."""
    target = _parse(to)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SojournError(f"a replay needs an empty folder; name another: {out}")
    folded = FoldedSessions()
    async with opened(data_dir) as (_, _, log):
        total = sum((await log.end_offsets(LIFECYCLE)).values())
        with progress_bar("records", total) as advance:
            replayed = await fold_again(log, target, folded.add, advance)
    as_of = target if isinstance(target, datetime) else replayed.newest_at or datetime.now(UTC)
    positions = position_text(LIFECYCLE, replayed.positions)
    filters: dict[Dataset, CurrentFilter | HistoryFilter] = {"current": CurrentFilter(), "history": HistoryFilter()}
    for dataset, nothing in filters.items():
        source = Source(dataset, None, positions, as_of, nothing)
        folder = out / dataset
        tell(write_dataset(folded.batches(dataset, as_of), source, "parquet", folder), folder, json=json)


def _parse(to: str) -> datetime | Mapping[int, int]:
    match = _POSITION.fullmatch(to)
    if match is None:
        if "@" in to:
            raise UsageError(f"a position is written like lifecycle@0:123,1:98, each partition once, not: {to!r}")
        return parse_instant(to, "--to")
    pairs = [(int(partition), int(offset)) for partition, offset in re.findall(r"(\d+):(\d+)", match[1])]
    if len({partition for partition, _ in pairs}) < len(pairs):
        raise UsageError(f"a position names each partition once, not: {to!r}")
    return dict(pairs)
