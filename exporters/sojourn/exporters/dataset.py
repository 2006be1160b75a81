"""A dataset: the rows of a list in files of one format, and the manifest that says what they are."""

from collections.abc import Callable, Iterable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
from msgspec import Struct

from sojourn.exporters.columns import Dataset
from sojourn.exporters.csv import CsvWriter
from sojourn.exporters.files import FileEntry, Writer
from sojourn.exporters.folder import output_folder
from sojourn.exporters.parquet import ParquetWriter
from sojourn.projections import schema
from sojourn.projections.read import CurrentFilter, HistoryFilter

FileFormat = Literal["parquet", "csv"]
Progress = Callable[[int], None]  # gets the number of rows written so far


class Source(Struct, frozen=True):
    """What the rows of a dataset show; `tenant` is none where they show all of them."""

    dataset: Dataset
    tenant: str | None
    positions: str
    as_of: datetime
    filter: CurrentFilter | HistoryFilter


class Manifest(Struct, frozen=True):
    """What `_manifest.json` says."""

    dataset: Dataset
    format: FileFormat
    tenant: str | None
    as_of: datetime
    positions: str
    filter: dict[str, Any]
    neutralised: bool
    rows: int
    files: list[FileEntry]
    versions: dict[str, str]


def write_dataset(
    batches: Iterable[Any],
    source: Source,
    file_format: FileFormat,
    out: Path,
    *,
    neutralise: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Write record batches with the columns of `arrow_schema`, ordered by tenant and then as the queries order them.

    `neutralise` is for CSV: texts that a spreadsheet would evaluate get a leading '.
    Raises `ExportFailed`; then there is nothing in `out` that was not there before.
    """
    neutralise = neutralise and file_format == "csv"
    with output_folder(out) as folder:
        writer = _writer(source, file_format, folder.staging, neutralise=neutralise)
        try:
            rows = 0
            for batch in batches:
                writer.write(batch)
                rows += batch.num_rows
                if progress is not None:
                    progress(rows)
            files = writer.close()
        except BaseException:
            writer.abort()
            raise
        manifest = _manifest(source, file_format, files, neutralised=neutralise)
        folder.publish(files, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def _writer(source: Source, file_format: FileFormat, folder: Path, *, neutralise: bool) -> Writer:
    if file_format == "csv":
        return CsvWriter(folder, source.dataset, neutralise=neutralise)
    metadata = {
        "sojourn.dataset": source.dataset,
        "sojourn.positions": source.positions,
        "sojourn.schema_version": schema.VERSION,
    }
    if source.dataset == "current":  # history is a function of its position: the same rows are the same bytes
        metadata["sojourn.as_of"] = source.as_of.isoformat()
    return ParquetWriter(folder, source.dataset, source.tenant, metadata)


def _manifest(source: Source, file_format: FileFormat, files: list[FileEntry], *, neutralised: bool) -> Manifest:
    return Manifest(
        dataset=source.dataset,
        format=file_format,
        tenant=source.tenant,
        as_of=source.as_of,
        positions=source.positions,
        filter=msgspec.to_builtins(source.filter),
        neutralised=neutralised,
        rows=sum(entry.rows for entry in files),
        files=files,
        versions={"sojourn": version("sojourn"), "schema": schema.VERSION, "pyarrow": pa.__version__},
    )
