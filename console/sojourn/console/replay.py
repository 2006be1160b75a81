"""`sojourn replay`: what live and history were, folded from the log alone."""

import asyncio
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from sojourn.console.export import Out, tell
from sojourn.console.opening import DataDir, Json, opened_log
from sojourn.console.progress import progress_bar
from sojourn.console.times import parse_instant
from sojourn.consumers.replay import Replayed
from sojourn.consumers.replay import replay as fold_again
from sojourn.events.errors import SojournError, UsageError
from sojourn.events.topics import LIFECYCLE
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import Manifest, Source, write_dataset
from sojourn.exporters.folded import FoldedSessions
from sojourn.projections.read import CurrentFilter, HistoryFilter
from sojourn.projections.read_status import position_text

FILTERS: Final[dict[Dataset, CurrentFilter | HistoryFilter]] = {"current": CurrentFilter(), "history": HistoryFilter()}

_POSITION = re.compile(r"(?:sojourn\.)?lifecycle@(\d{1,9}:\d{1,18}(?:,\d{1,9}:\d{1,18})*)")


def replay(
    *,
    to: Annotated[str, Parameter(help="An append time, or a position like lifecycle@0:123,1:98,…")],
    out: Out,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Fold the lifecycle log from its start into Parquet: what both lists were at an append time or position."""
    target = _parse(to)
    _check_folder(out)
    now = datetime.now(UTC)
    folded = FoldedSessions()
    replayed = asyncio.run(_fold(target, folded, data_dir))
    as_of = min(target, now) if isinstance(target, datetime) else replayed.newest_at or now
    positions = position_text(LIFECYCLE, replayed.positions)
    manifests: dict[Path, Manifest] = {}
    try:
        for dataset, nothing in FILTERS.items():
            source = Source(dataset, None, positions, as_of, nothing)
            with progress_bar(f"rows of {dataset} written", None) as advance:
                manifests[out / dataset] = write_dataset(
                    folded.batches(dataset, as_of), source, "parquet", out / dataset, progress=advance
                )
    except BaseException:
        for folder in manifests:  # one list without the other is half a result
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for folder, manifest in manifests.items():
        tell(manifest, folder, json=json)


def _check_folder(out: Path) -> None:
    """Refuse before the work what would be refused after it."""
    try:
        free = not out.is_symlink() and (not out.exists() or (out.is_dir() and not any(out.iterdir())))
    except OSError as error:
        reason = str(error.strerror).lower()
        raise SojournError(f"the replay cannot be written ({reason}); name another folder: {out}") from error
    if not free:
        raise SojournError(f"a replay needs an empty folder; name another: {out}")


async def _fold(target: datetime | Mapping[int, int], folded: FoldedSessions, data_dir: Path | None) -> Replayed:
    async with opened_log(data_dir) as log:
        ends = await log.end_offsets(LIFECYCLE) if isinstance(target, datetime) else target
        with progress_bar("folding", sum(ends.values())) as advance:
            return await fold_again(log, target, folded.add, advance)


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
