"""Exports that are killed, run out of disk, lose the database or are sent where they must not go."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from sojourn.events.embedded.database import Database
from sojourn.events.errors import Unreachable
from sojourn.exporters.dataset import FileFormat, Manifest, write_dataset
from sojourn.exporters.export import export_async
from sojourn.exporters.folder import ExportFailed
from sojourn.exporters.snapshot import snapshot
from sojourn.projections import schema
from sojourn.projections.read import HistoryFilter
from tests.contract.writer_contract import DAY, batches, ended, source
from tests.integration.export_peak import made_up
from tests.integration.rows import insert_history

NOBODY = 65534
SMALL_KIB = 256
POLL_SECONDS = 0.01


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_an_export_killed_at_any_step_shows_nothing_complete_and_can_be_run_again(
    file_format: FileFormat,
) -> None:
    memory = Path("/dev/shm")  # noqa: S108 – a kill is no power cut, so nothing need wait for a disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        command = [sys.executable, "-m", "tests.fault.export_kills", folder, file_format]

        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    kills = told["kills"]
    incomplete = [kill for kill in kills if not kill["success"]]
    assert told["files"] == (2 if file_format == "parquet" else 1)
    assert len(incomplete) >= 15
    assert all(kill["again"] == "done" and kill["same"] for kill in incomplete)
    assert all(".unfinished" not in kill["names"] for kill in incomplete)
    complete = kills[len(incomplete) :]
    assert complete, "no kill hit the clearing up after the last step"
    for kill in complete:
        assert kill["success"]
        assert (kill["manifest"], kill["shown"]) == (True, told["files"])
        assert kill["again"].startswith("refused: a complete export is here already")
    # Data may be seen without _SUCCESS only between the last write and _SUCCESS, and a manifest only with all of it.
    assert all(kill["shown"] == told["files"] for kill in incomplete if kill["manifest"])
    data = [kill["data"] for kill in incomplete]
    assert data == sorted(data)
    assert data.count(0) >= 5


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Mount a disk that is soon full."""
    path.mkdir()
    options = f"size={SMALL_KIB}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def long_names(count: int = 4000) -> list[dict[str, Any]]:
    """Return rows that do not compress."""
    return [ended(f"s-{number:05}", user_name=os.urandom(100).hex()) for number in range(count)]


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
@pytest.mark.parametrize("place", ["", "deep/out"])
def test_a_full_disk_is_one_clear_line_and_the_export_can_be_run_again_there(
    tmp_path: Path, file_format: FileFormat, place: str
) -> None:
    disk = tmp_path / "disk"
    rows = long_names()
    with small_disk(disk):
        out = disk / place

        with pytest.raises(ExportFailed, match=rf"^no space is left for the export; free some[^\n]*: {out}$"):
            write_dataset(batches(rows), source(), file_format, out)
        left = list(disk.rglob("*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        manifest = write_dataset(batches(rows), source(), file_format, out)

        assert left == []
        assert manifest.rows == len(rows)
        assert (out / "_SUCCESS").exists()


def test_a_disk_that_fills_with_the_manifest_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "_SUCCESS":
            raise OSError(28, "No space left on device")
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(ExportFailed, match="no space is left"):
        write_dataset(batches([ended("s-1")]), source(), "parquet", tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be an unprivileged user for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_place_without_permission_is_one_clear_line() -> None:
    locked = Path(f"/tmp/sojourn-locked-{os.getpid()}")  # noqa: S108 – pytest's own folders are closed to nobody
    locked.mkdir(mode=0o555)

    with as_nobody(), pytest.raises(ExportFailed, match=rf"^this user may not write there[^\n]*: {locked}/out$"):
        write_dataset(batches([ended("s-1")]), source(), "csv", locked / "out")

    locked.rmdir()


def test_an_export_refuses_a_link_a_file_and_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "tenant=acme").write_text("mine")
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / ".unfinished").symlink_to(tmp_path / "folder")

    for name, reason in (
        ("link", "no symbolic link"),
        ("file", "needs a folder"),
        ("file/below", "cannot write the export"),
        ("used", "empty folder"),
        ("trap", "cannot write the export"),
    ):
        with pytest.raises(ExportFailed, match=reason) as refused:
            write_dataset(batches([ended("s-1")]), source(), "csv", tmp_path / name)
        assert "\n" not in str(refused.value)

    assert (tmp_path / "used" / "tenant=acme").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_killed_export_is_not_cleared_away_with_what_somebody_else_put_there(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / "thesis.odt").write_text("mine")

    with pytest.raises(ExportFailed, match=r"empty folder.*thesis\.odt"):
        write_dataset(batches([ended("s-1")]), source(), "csv", tmp_path)

    assert (tmp_path / "thesis.odt").read_text() == "mine"


def test_a_complete_export_is_never_written_over(tmp_path: Path) -> None:
    write_dataset(batches([ended("s-1")]), source(), "csv", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    for file_format in ("parquet", "csv"):
        with pytest.raises(ExportFailed, match="a complete export is here already"):
            write_dataset(batches([ended("s-2")]), source(), file_format, tmp_path)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_of_two_exports_into_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    refusals: list[str] = []

    def second(_: int) -> None:
        with pytest.raises(ExportFailed, match="another export is being written here") as refused:
            write_dataset(batches([ended("s-2")]), source(), "csv", tmp_path / "out")
        refusals.append(str(refused.value))

    manifest = write_dataset(batches([ended("s-1")]), source(), "csv", tmp_path / "out", progress=second)

    assert len(refusals) == 1
    assert manifest.rows == 1
    assert b'"s-1"' in (tmp_path / "out" / "history.csv").read_bytes()


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterable[Any]:
        yield from batches([ended("s-1"), ended("s-2", logout_at=DAY + timedelta(days=1))], size=1)
        raise KeyboardInterrupt

    for file_format in ("parquet", "csv"):
        with pytest.raises(KeyboardInterrupt):
            write_dataset(interrupted(), source(), file_format, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


async def tenant(database: Database) -> psycopg.AsyncConnection[Any]:
    """Let acme exist."""
    await schema.upgrade(database)
    connection = await database.connect(autocommit=True)
    await connection.execute(
        "INSERT INTO sojourn_v1.tenant_config VALUES ('acme', now(), NULL, NULL, NULL, 0, 0, now())"
    )
    return connection


def exported(dsn: str, out: Path, rows: int, progress: Any) -> Manifest:
    """Export made-up sessions through PostgreSQL."""
    with snapshot(dsn, "acme") as found, found.batches(made_up(rows), "history") as taken:
        return write_dataset(taken, source(), "parquet", out, progress=progress)


async def test_a_cancelled_export_ends_with_its_batch_and_leaves_nothing(database: Database, tmp_path: Path) -> None:
    async with await tenant(database) as connection:
        await connection.execute("SELECT sojourn_v1.ensure_history_month('2026-11-01')")
        await insert_history(connection, "acme", "s-1")
        begun, cancelled = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_: int) -> None:
            loop.call_soon_threadsafe(begun.set)
            cancelled.wait()

        running = asyncio.create_task(
            export_async(database.dsn, "acme", HistoryFilter(), "csv", tmp_path / "out", progress=hold)
        )
        await begun.wait()
        running.cancel()
        loop.call_later(POLL_SECONDS, cancelled.set)

        with pytest.raises(asyncio.CancelledError):
            await running

    assert not (tmp_path / "out").exists()


async def test_a_database_that_goes_away_is_one_clear_line_and_nothing_is_left(
    database: Database, tmp_path: Path
) -> None:
    async with await tenant(database):

        def end_all(_: int) -> None:
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sojourn' "
                    "AND query LIKE '%COPY%' AND pid <> pg_backend_pid()"
                )

        # libpq tells the server's last words, or that it is gone, by what it reads first.
        gone = r"^PostgreSQL cannot be read; run it again[^\n]*(terminating connection|server closed the connection)"
        with pytest.raises(Unreachable, match=gone):
            exported(database.dsn, tmp_path / "out", 300_000, end_all)

    assert not (tmp_path / "out").exists()


def kill_once_it_writes(command: list[str], out: Path) -> None:
    """Run an export and kill it in the middle of its first file."""
    with subprocess.Popen(command) as process:
        while process.poll() is None and not any((out / ".unfinished").rglob("part-0*")):
            time.sleep(POLL_SECONDS)
        assert process.poll() is None
        process.kill()


async def test_an_export_killed_while_it_reads_leaves_no_backend_and_can_be_run_again(
    database: Database, tmp_path: Path
) -> None:
    async with await tenant(database) as connection:
        out = tmp_path / "out"
        command = [sys.executable, "-m", "tests.integration.export_peak", database.dsn, "3000000", "parquet", str(out)]
        kill_once_it_writes(command, out)

        shown = list(out.rglob("*.parquet")) + list(out.rglob("_*"))
        manifest = exported(database.dsn, out, 1000, None)

        assert shown == []
        assert manifest.rows == 1000
        assert sum(pq.read_metadata(path).num_rows for path in out.rglob("*.parquet")) == 1000
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%COPY%' AND pid <> pg_backend_pid()"
        while await (await connection.execute(waiting)).fetchone() != (0,):
            await connection.execute("SELECT pg_sleep(0.01)")
