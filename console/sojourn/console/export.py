"""`sojourn export`: the list or the history into files."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sojourn.console.lists import From, To
from sojourn.console.opening import SWITCH, DataDir, Json, Tenant, opened
from sojourn.console.output import instant, size, write_json, write_line
from sojourn.console.progress import progress_bar
from sojourn.console.times import parse_range
from sojourn.events.errors import UsageError
from sojourn.exporters.dataset import FileFormat, Manifest
from sojourn.exporters.export import export_async
from sojourn.projections.read import CurrentFilter, HistoryFilter

Out = Annotated[Path, Parameter(help="The folder to write to; empty, or not there yet.")]


async def export(
    what: Annotated[Literal["current", "history"], Parameter(help="The live list, or the ended sessions.")],
    /,
    *,
    tenant: Tenant,
    file_format: Annotated[FileFormat, Parameter(name="--format", help="The format of the files.")],
    out: Out,
    from_: From = None,
    to: To = None,
    raw: Annotated[bool, SWITCH, Parameter(help="CSV without the ' before texts a spreadsheet evaluates.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write the list or the history of one tenant, as of one instant, as Parquet or CSV."""
    from_at, to_at = parse_range(from_, to)
    if raw and file_format != "csv":
        raise UsageError(f"--raw is for --format csv, not for: {file_format}")
    filters = (
        CurrentFilter(from_at=from_at, to_at=to_at)
        if what == "current"
        else HistoryFilter(from_at=from_at, to_at=to_at)
    )
    async with opened(data_dir) as (_, database, _):
        with progress_bar("rows written", None) as advance:
            manifest = await export_async(
                database.dsn, tenant, filters, file_format, out, neutralise=not raw, progress=advance
            )
    tell(manifest, out, json=json)


def tell(manifest: Manifest, out: Path, *, json: bool) -> None:
    """Say what was written."""
    written = sum(entry.bytes for entry in manifest.files)
    if json:
        row = {"out": str(out), "dataset": manifest.dataset, "rows": manifest.rows, "files": len(manifest.files)}
        write_json(row | {"bytes": written, "as_of": manifest.as_of, "positions": manifest.positions})
    else:
        files = f"{len(manifest.files)} {'file' if len(manifest.files) == 1 else 'files'}"
        rows = f"{manifest.rows} {'row' if manifest.rows == 1 else 'rows'}"
        write_line(f"{out}: {rows} in {files}, {size(written)}, as of {instant(manifest.as_of)}")
