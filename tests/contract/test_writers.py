"""The contract of writers for Parquet and CSV, each read by other people's code."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow.parquet as pq
import pytest

from sojourn.exporters.columns import Dataset, arrow_schema
from sojourn.exporters.dataset import write_dataset
from sojourn.exporters.parquet import ROW_GROUP_ROWS_MAX
from sojourn.projections import schema
from tests.contract.writer_contract import DAY, Row, WriterContract, batches, ended, source

_FIELD: Final = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')


class TestParquet(WriterContract):
    """Parquet, read by DuckDB."""

    file_format = "parquet"

    def read(self, out: Path, dataset: Dataset) -> list[Row]:
        names = arrow_schema(dataset).names
        with duckdb.connect() as reader:
            reader.execute("SET TimeZone = 'UTC'")
            found = reader.sql(
                f"SELECT {', '.join(names)} FROM read_parquet($1, hive_partitioning = true)",  # noqa: S608
                params=[f"{out}/**/*.parquet"],
            )
            assert found is not None
            rows: list[Row] = found.to_arrow_table().to_pylist()
        return rows

    def test_folders_are_tenants_and_dates_in_utc(self, tmp_path: Path) -> None:
        rows = [
            ended("s-1", logout_at=datetime.fromisoformat("2026-11-20T23:59:59.999999Z")),
            ended("s-2", logout_at=datetime.fromisoformat("2026-11-21T00:00:00Z")),
            ended("s-3", logout_at=None, login_at=datetime.fromisoformat("2026-11-22T05:00:00Z")),
            ended("s-4", tenant="globex", logout_at=datetime.fromisoformat("1999-12-31T23:59:59Z")),
        ]

        manifest = write_dataset(batches(rows), source(tenant=None), "parquet", tmp_path / "out")

        assert [(entry.path, entry.rows) for entry in manifest.files] == [
            ("tenant=acme/date=2026-11-20/part-0.parquet", 1),
            ("tenant=acme/date=2026-11-21/part-0.parquet", 1),
            ("tenant=acme/date=2026-11-22/part-0.parquet", 1),
            ("tenant=globex/date=1999-12-31/part-0.parquet", 1),
        ]

    def test_what_stands_in_the_path_does_not_stand_in_the_file(self, tmp_path: Path) -> None:
        self.write(tmp_path / "out", [ended("s-1")])

        (path,) = (tmp_path / "out").rglob("*.parquet")
        assert pq.ParquetFile(path).schema_arrow.names == arrow_schema("history").names[1:]

    def test_files_are_compressed_indexed_bounded_and_say_what_they_are(self, tmp_path: Path) -> None:
        count = ROW_GROUP_ROWS_MAX + 1

        self.write(tmp_path / "out", [ended(f"s-{n:06}") for n in range(count)])

        (path,) = (tmp_path / "out").rglob("*.parquet")
        metadata = pq.ParquetFile(path).metadata
        assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS_MAX, 1]
        for number in range(metadata.num_columns):
            column = metadata.row_group(0).column(number)
            assert column.compression == "ZSTD"
            assert column.has_column_index
            assert column.has_offset_index
        assert {key: value for key, value in metadata.metadata.items() if key.startswith(b"sojourn.")} == {
            b"sojourn.dataset": b"history",
            b"sojourn.positions": b"lifecycle@0:123,1:98",
            b"sojourn.schema_version": schema.VERSION.encode(),
        }

    def test_only_the_current_list_says_in_its_files_when_it_was(self, tmp_path: Path) -> None:
        self.write(tmp_path / "out", [], "current")

        (path,) = (tmp_path / "out").rglob("*.parquet")
        assert pq.read_metadata(path).metadata[b"sojourn.as_of"] == b"2026-11-21T09:00:00.123000+00:00"

    def test_one_tenant_has_the_same_bytes_alone_and_beside_others(self, tmp_path: Path) -> None:
        acme = [ended(f"s-{n}") for n in range(5)]
        globex = [ended(f"s-{n}", tenant="globex") for n in range(5)]

        alone = write_dataset(batches(acme), source(), "parquet", tmp_path / "alone")
        beside = write_dataset(batches(acme + globex), source(tenant=None), "parquet", tmp_path / "beside")

        assert beside.files[:1] == alone.files

    def test_rows_out_of_order_are_an_error_and_no_lost_rows(self, tmp_path: Path) -> None:
        rows = [ended("s-1"), ended("s-2", logout_at=datetime.fromisoformat("2026-12-01T00:00:00Z")), ended("s-3")]

        with pytest.raises(ValueError, match=r"out of order.*2026-11-20"):
            self.write(tmp_path / "out", rows)

        assert list(tmp_path.iterdir()) == []


class TestCsv(WriterContract):
    """CSV, read by its grammar."""

    file_format = "csv"

    def read(self, out: Path, dataset: Dataset) -> list[Row]:
        content = (out / f"{dataset}.csv").read_bytes().decode()
        header, *lines = _parsed(content)
        names = arrow_schema(dataset).names
        assert header == names
        return [{name: _value(name, text) for name, text in zip(names, line, strict=True)} for line in lines]

    def test_the_file_is_what_rfc_4180_describes(self, tmp_path: Path) -> None:
        self.write(tmp_path / "out", [ended("s-1", user_name='say "hi"', login_at=None, online_seconds=0.25)])

        header, row, end = (tmp_path / "out" / "history.csv").read_bytes().split(b"\r\n")
        assert header == ",".join(arrow_schema("history").names).encode()
        assert row == (
            b'"acme","s-1","u-17","say ""hi""","d-204","CAD-204","cad","thin_client","Linux","10.4.2.17","internal",'
            b'"blast","/brokers/eu-1",,"2026-11-20T10:00:00.123Z",0.25,"normal","logoff",,,"c-1",2'
        )
        assert end == b""

    @pytest.mark.parametrize("start", list("=+-@\t\r"))
    def test_a_text_that_a_spreadsheet_would_evaluate_is_neutralised_unless_asked_not_to(
        self, tmp_path: Path, start: str
    ) -> None:
        rows = [ended("s-1", user_name=f"{start}1+1", desktop_name=f"a{start}1"), ended("s-2")]

        safe = self.write(tmp_path / "safe", rows)
        raw = self.write(tmp_path / "raw", rows, neutralise=False)

        read = self.read(tmp_path / "safe", "history")
        assert [row["user_name"] for row in read] == [f"'{start}1+1", "Ada Byron"]
        assert read[0]["desktop_name"] == f"a{start}1"
        assert self.read(tmp_path / "raw", "history") == rows
        assert (safe.neutralised, raw.neutralised) == (True, False)


def _parsed(content: str) -> list[list[str | None]]:
    """Read CSV by the grammar of RFC 4180, so that a null (empty) differs from an empty text (quoted)."""
    lines: list[list[str | None]] = [[]]
    end = 0
    for field in _FIELD.finditer(content):
        assert field.start() == end, content[end:]
        end = field.end()
        quoted, bare, delimiter = field.groups()
        lines[-1].append(bare or None if quoted is None else quoted.replace('""', '"'))
        if delimiter != ",":
            lines.append([])
    assert end == len(content)
    return lines[:-1]


def _value(name: str, text: Any) -> Any:
    if text is None:
        return None
    if name.endswith("_at"):
        return datetime.fromisoformat(text)
    if name.endswith("_seconds"):
        return float(text)
    return int(text) if name == "revision" else text


def test_days_of_the_contract_have_whole_milliseconds() -> None:
    """Or CSV, which shows no more, could not give back what went in."""
    assert DAY.microsecond % 1000 == 0
