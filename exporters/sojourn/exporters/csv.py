"""CSV as RFC 4180 has it: one file, a header, CRLF, UTF-8; texts quoted, so that a null differs from an empty text."""

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sojourn.exporters.columns import Dataset, arrow_schema
from sojourn.exporters.files import FileEntry, OutputFile

_OPTIONS: Final = pyarrow.csv.WriteOptions(eol="\r\n", quoting_header="none")
# OWASP, CSV injection: how a text begins that a spreadsheet takes for a formula, in Chinese and Japanese ones in full
# width as well.
EVALUATED: Final = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"


class CsvWriter:
    """Writes a dataset; `neutralise` puts ' before texts that a spreadsheet would evaluate."""

    def __init__(self, folder: Path, dataset: Dataset, *, neutralise: bool) -> None:
        schema = arrow_schema(dataset)
        self._schema = pa.schema(
            [(field.name, pa.string() if pa.types.is_timestamp(field.type) else field.type) for field in schema]
        )
        self._neutralise = neutralise
        self._file = OutputFile(folder, f"{dataset}.csv")
        self._writer = pyarrow.csv.CSVWriter(self._file, self._schema, write_options=_OPTIONS)

    def write(self, batch: Any) -> None:
        """See `Writer`."""
        columns = [self._shown(column) for column in batch.columns]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._file.rows += batch.num_rows

    def close(self) -> list[FileEntry]:
        """See `Writer`."""
        self._writer.close()
        return [self._file.finish()]

    def abort(self) -> None:
        """See `Writer`."""
        self._file.abandon()
        self._writer.close()

    def _shown(self, column: Any) -> Any:
        if pa.types.is_timestamp(column.type):
            return _rfc3339(column)
        if self._neutralise and pa.types.is_string(column.type):
            evaluated = pc.match_substring_regex(column, EVALUATED)
            if pc.any(evaluated).as_py():
                return pc.if_else(evaluated, pc.binary_join_element_wise("'", column, ""), column)
        return column


def _rfc3339(column: Any) -> Any:
    """Write times in UTC with milliseconds; by casts, since strftime needs a time zone database on the machine."""
    milliseconds = column.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.timestamp("ms"))
    return pc.binary_join_element_wise(pc.utf8_replace_slice(milliseconds.cast(pa.string()), 10, 11, "T"), "Z", "")
