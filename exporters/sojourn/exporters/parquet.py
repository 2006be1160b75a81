"""Parquet in hive folders, tenant=T/date=YYYY-MM-DD/part-0.parquet, by the UTC date of the instant of a row."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sojourn.exporters.columns import Dataset, arrow_schema, instants
from sojourn.exporters.files import FileEntry, OutputFile

ROW_GROUP_ROWS_MAX: Final = 32_768  # 8 MB, held in memory until written; readers skip groups as a whole
ZSTD_LEVEL: Final = 3  # its own default

_DAY: Final = 86_400_000_000  # microseconds
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Final = ("-", 0)  # no tenant is called so: where there are no rows, one file in 1970 tells readers the columns
_SORTED: Final = {"login_at", "logout_at", "last_seen_at"}  # or nearly: differences are a sixth smaller, and faster
_ALL_DIFFERENT: Final = {*_SORTED, "session_id", "duration_seconds", "online_seconds"}  # no dictionary helps these

Place = tuple[str, int]  # tenant, days since 1970


class ParquetWriter:
    """Writes a dataset; the same rows give the same bytes, however they were cut into batches."""

    def __init__(self, folder: Path, dataset: Dataset, tenant: str | None, metadata: dict[str, str]) -> None:
        whole = arrow_schema(dataset)
        self._schema = whole.remove(whole.get_field_index("tenant")).with_metadata(metadata)
        self._folder = folder
        self._tenant = tenant
        self._place: Place | None = None
        self._file: OutputFile | None = None
        self._writer: Any = None
        self._waiting: list[Any] = []
        self._files: list[FileEntry] = []

    def write(self, batch: Any) -> None:
        """See `Writer`."""
        tenants = batch.column("tenant").dictionary_encode()
        days = np.asarray(instants(batch).cast(pa.int64())) // _DAY
        changes = np.flatnonzero((np.diff(days) != 0) | (np.diff(np.asarray(tenants.indices)) != 0)) + 1
        rows = pa.RecordBatch.from_arrays(batch.drop_columns(["tenant"]).columns, schema=self._schema)
        for start, end in zip([0, *changes], [*changes, batch.num_rows], strict=True):
            if start < end:
                self._go_to((tenants[start].as_py(), int(days[start])))
                self._add(rows.slice(start, end - start))

    def close(self) -> list[FileEntry]:
        """See `Writer`."""
        if self._place is None:
            self._go_to((self._tenant or _EMPTY[0], _EMPTY[1]))
        self._finish()
        return self._files

    def abort(self) -> None:
        """See `Writer`."""
        if self._file is not None:
            self._file.abandon()
            self._writer.close()

    def _go_to(self, place: Place) -> None:
        if place == self._place:
            return
        self._finish()
        tenant, day = place
        date = f"{_EPOCH + timedelta(days=day):%Y-%m-%d}"
        self._file = OutputFile(self._folder, f"tenant={tenant}/date={date}/part-0.parquet")
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=[name for name in self._schema.names if name not in _ALL_DIFFERENT],
            column_encoding={name: "DELTA_BINARY_PACKED" for name in self._schema.names if name in _SORTED},
            write_page_index=True,
        )
        self._place = place

    def _add(self, rows: Any) -> None:
        assert self._file is not None
        self._file.rows += rows.num_rows
        self._waiting.append(rows)
        while sum(part.num_rows for part in self._waiting) >= ROW_GROUP_ROWS_MAX:
            table = pa.Table.from_batches(self._waiting)
            self._write_group(table.slice(0, ROW_GROUP_ROWS_MAX))
            self._waiting = table.slice(ROW_GROUP_ROWS_MAX).to_batches()

    def _write_group(self, table: Any) -> None:
        # In one piece, since Arrow starts pages anew with every chunk: the bytes would depend on the batches.
        self._writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP_ROWS_MAX)

    def _finish(self) -> None:
        if self._file is None:
            return
        if self._waiting:
            self._write_group(pa.Table.from_batches(self._waiting))
            self._waiting = []
        self._writer.close()
        self._files.append(self._file.finish())
        self._file = None
