"""What every format of an export must do: the same rows in, the same rows out, and nothing by halves."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from sojourn.exporters.columns import Dataset, arrow_schema
from sojourn.exporters.dataset import FileFormat, Manifest, Source, write_dataset
from sojourn.exporters.folder import ExportFailed
from sojourn.projections.read import CurrentFilter, HistoryFilter

DAY = datetime(2026, 11, 20, 9, 0, 0, 123_000, UTC)
Row = dict[str, Any]

_TEXTS = {
    "tenant": "acme",
    "user_id": "u-17",
    "user_name": "Ada Byron",
    "desktop_id": "d-204",
    "desktop_name": "CAD-204",
    "desktop_pool": "cad",
    "terminal_type": "thin_client",
    "terminal_os": "Linux",
    "client_ip": "10.4.2.17",
    "access": "internal",
    "protocol": "blast",
    "broker": "/brokers/eu-1",
}
_CERTAIN = {"ended_after": None, "ended_before": None}


def ended(session_id: str, **columns: Any) -> Row:
    """Return a row of history."""
    end = {"logout_at": DAY + timedelta(hours=1), "online_seconds": 3600.5, "outcome": "normal", "reason": "logoff"}
    return {
        **_TEXTS,
        "session_id": session_id,
        "login_at": DAY,
        **end,
        **_CERTAIN,
        "command": "c-1",
        "revision": 2,
        **columns,
    }


def open_since(session_id: str, **columns: Any) -> Row:
    """Return a row of the current list."""
    live = {"state": "active", "last_seen_at": DAY, "duration_seconds": 60.0, "current_client_ip": "10.4.2.17"}
    return {**_TEXTS, "session_id": session_id, "login_at": DAY, **live, **_CERTAIN, **columns}


def batches(rows: list[Row], dataset: Dataset = "history", size: int = 1000) -> Iterable[Any]:
    """Cut rows into record batches."""
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=arrow_schema(dataset))


def source(dataset: Dataset = "history", tenant: str | None = "acme") -> Source:
    """Return what the rows show."""
    filters = CurrentFilter() if dataset == "current" else HistoryFilter(user="u-17", from_at=DAY)
    return Source(dataset, tenant, "lifecycle@0:123,1:98", DAY + timedelta(days=1), filters)


class WriterContract(ABC):
    """Subclass it for a format; `read` reads a finished export with nothing of ours."""

    file_format: FileFormat

    @abstractmethod
    def read(self, out: Path, dataset: Dataset) -> list[Row]:
        """Return all rows with all columns, in order of files and rows; times may have milliseconds only."""

    def write(self, out: Path, rows: list[Row], dataset: Dataset = "history", **options: Any) -> Manifest:
        size = options.pop("size", 1000)
        return write_dataset(batches(rows, dataset, size), source(dataset), self.file_format, out, **options)

    @pytest.mark.parametrize("dataset", ["current", "history"])
    def test_the_rows_that_go_in_come_out(self, tmp_path: Path, dataset: Dataset) -> None:
        make = ended if dataset == "history" else open_since
        rows = [make("s-1"), make("s-2", user_name="Ruth"), make("s-3")]

        manifest = self.write(tmp_path / "out", rows, dataset)

        assert self.read(tmp_path / "out", dataset) == rows
        assert manifest.rows == 3

    def test_texts_come_out_as_they_went_in(self, tmp_path: Path) -> None:
        names = [
            "Ruth Müller",
            "株式会社",
            "😀",
            'say "hi"',
            "a,b;c\td",
            "two\nlines",
            "two\r\nlines",
            "",
            " ",
            "'x",
            "NULL",
        ]
        rows = [ended(f"s-{number:02}", user_name=name) for number, name in enumerate(names)]

        self.write(tmp_path / "out", rows)

        assert [row["user_name"] for row in self.read(tmp_path / "out", "history")] == names

    def test_a_null_differs_from_an_empty_text(self, tmp_path: Path) -> None:
        unknown = dict.fromkeys(("user_name", "login_at", "online_seconds", "revision"))
        rows = [ended("s-1", **unknown), ended("s-2", user_name="")]

        self.write(tmp_path / "out", rows)

        assert self.read(tmp_path / "out", "history") == rows

    @pytest.mark.parametrize("dataset", ["current", "history"])
    def test_a_dataset_without_rows_still_tells_its_columns(self, tmp_path: Path, dataset: Dataset) -> None:
        manifest = self.write(tmp_path / "out", [], dataset)

        assert self.read(tmp_path / "out", dataset) == []
        assert manifest.rows == 0
        assert len(manifest.files) == 1

    @pytest.mark.parametrize("size", [7, 999])
    def test_the_bytes_do_not_depend_on_the_batches(self, tmp_path: Path, size: int) -> None:
        """Nothing that compresses, so that a column fills several pages."""
        random = Random(1)
        rows = [ended(f"s-{n:04}", user_name=random.randbytes(500).hex()) for n in range(3000)]

        whole = self.write(tmp_path / "whole", rows, size=len(rows))
        cut = self.write(tmp_path / "cut", rows, size=size)

        assert cut == whole

    def test_the_manifest_lists_each_file_with_its_rows_bytes_and_digest(self, tmp_path: Path) -> None:
        rows = [ended(f"s-{n}", logout_at=DAY + timedelta(days=n)) for n in range(3)]
        out = tmp_path / "out"

        written = self.write(out, rows)

        manifest = json.loads((out / "_manifest.json").read_text())
        data = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name[0] != "_"}
        assert {entry["path"] for entry in manifest["files"]} == data
        assert sum(entry["rows"] for entry in manifest["files"]) == manifest["rows"] == written.rows == 3
        for entry in manifest["files"]:
            content = (out / entry["path"]).read_bytes()
            assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert manifest["positions"] == "lifecycle@0:123,1:98"
        assert manifest["filter"] == {"user": "u-17", "from": "2026-11-20T09:00:00.123000Z"}
        assert manifest["as_of"] == "2026-11-21T09:00:00.123000Z"
        assert (manifest["dataset"], manifest["format"], manifest["tenant"]) == ("history", self.file_format, "acme")
        assert manifest["versions"].keys() == {"sojourn", "schema", "pyarrow"}

    def test_a_finished_export_has_nothing_but_what_belongs_there(self, tmp_path: Path) -> None:
        out = tmp_path / "deep" / "out"

        manifest = self.write(out, [ended("s-1")])

        files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
        assert files == sorted(["_SUCCESS", "_manifest.json", *(entry.path for entry in manifest.files)])
        assert not list(out.rglob("*unfinished*"))

    def test_progress_counts_the_rows_that_are_written(self, tmp_path: Path) -> None:
        counts: list[int] = []

        self.write(tmp_path / "out", [ended(f"s-{n}") for n in range(25)], size=10, progress=counts.append)

        assert counts == [10, 20, 25]

    def test_an_export_that_fails_leaves_nothing_and_can_be_tried_again(self, tmp_path: Path) -> None:
        out = tmp_path / "deep" / "out"

        def breaking() -> Iterable[Any]:
            yield from batches([ended("s-1")])
            assert out.exists()
            raise ConnectionError("the server went away")

        with pytest.raises(ExportFailed):
            write_dataset(breaking(), source(), self.file_format, out)
        left = list(tmp_path.iterdir())
        self.write(out, [ended("s-1")])

        assert left == []
        assert [row["session_id"] for row in self.read(out, "history")] == ["s-1"]

    def test_nothing_looks_complete_while_it_is_written(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        seen: list[set[str]] = []

        def look(_: int) -> None:
            seen.append({path.suffix for path in out.rglob("*") if path.is_file()})

        self.write(out, [ended(f"s-{n}", logout_at=DAY + timedelta(days=n)) for n in range(3)], size=1, progress=look)

        assert len(seen) == 3
        assert set.union(*seen) == {".unfinished"}
