"""Who works on export jobs: one console at a time, until it is cancelled, stopped or out of space; and for how long."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from sojourn.console.jobs.runner import Exports
from sojourn.console.jobs.store import as_exporter, take_job
from sojourn.console.jobs.worker import ATTEMPTS_MAX, Worker
from sojourn.console.site.site import Site
from sojourn.events.embedded.database import Database
from tests.integration.export_steps import ROWS, Exporting, exporting


@pytest.fixture
async def console(migrated_database: Database, tmp_path: Path) -> AsyncIterator[Exporting]:
    """Serve a console whose exports a test lets be worked on."""
    async with exporting(migrated_database, tmp_path) as found:
        yield found


async def test_an_export_that_waits_is_cancelled_and_never_begins(console: Exporting) -> None:
    client = await console.client("acme", "export")
    asked = (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).json()

    cancelled = await client.post(f"/v1/exports/{asked['job_id']}/cancel")
    await console.work()
    again = await client.post(f"/v1/exports/{asked['job_id']}/cancel")
    file = await client.get(f"/v1/exports/{asked['job_id']}/files/1")

    assert cancelled.json()["state"] == "cancelled"
    assert (again.status_code, file.status_code) == (409, 409)
    assert not console.folder(asked).exists()


async def test_two_consoles_that_take_at_once_do_not_both_work_for_one_tenant(console: Exporting) -> None:
    client = await console.client("acme", "export")
    for _ in range(2):
        await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})

    async def take(site: Site) -> object:
        async with as_exporter(site) as connection:
            return await take_job(connection, "another")

    async with console.site() as one, console.site() as another:
        async with as_exporter(one) as connection:
            first = await take_job(connection, "one")
            taking = asyncio.create_task(take(another))
            await asyncio.wait([taking], timeout=0.2)  # without a word of the first it would take the second

        assert first is not None
        assert await taking is None


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Let exports wait after their first batch until they may go on."""
    begun, going = threading.Event(), threading.Event()

    def hold(worker: Worker, rows: int) -> None:
        worker._rows_written = rows
        begun.set()
        going.wait()

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_advance", hold)
        yield begun, going
        going.set()


async def test_an_export_that_runs_is_cancelled_with_its_batch_and_leaves_nothing(
    console: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.console.jobs.worker.RENEW_SECONDS", 0.01)
    monkeypatch.setattr("sojourn.exporters.snapshot.BATCH_BYTES_MAX", 1000)  # a few rows
    client = await console.client("acme", "export")
    asked = (await client.post("/v1/exports", json={"dataset": "history", "format": "parquet"})).json()
    batch = threading.Semaphore(0)
    written: list[int] = []

    def hold(worker: Worker, rows: int) -> None:
        worker._rows_written = rows
        written.append(rows)
        batch.acquire()

    monkeypatch.setattr(Worker, "_advance", hold)
    async with console.workers() as exports:
        await exports.round()
        running = await console.job(client, asked["job_id"])
        while running["rows_written"] == 0:  # its worker says so within a hundredth of a second
            running = await console.job(client, asked["job_id"])
        await client.post(f"/v1/exports/{asked['job_id']}/cancel")
        while exports._working:
            batch.release()
            await console.job(client, asked["job_id"])
        job = await console.job(client, asked["job_id"])

    assert running["rows_written"] < 8
    assert written[-1] < ROWS  # it did not go on to the end
    assert (running["state"], running["rows_expected"]) == ("running", ROWS)
    assert running["fraction"] == running["rows_written"] / ROWS
    assert (job["state"], job["error"], job["files"]) == ("cancelled", None, None)
    assert list(console.folder(job).iterdir()) == []
    async with console.workers() as exports:
        await exports.sweep()
    assert not console.folder(job).exists()


async def test_consoles_that_share_a_queue_make_every_export_once(console: Exporting) -> None:
    client = await console.client("acme", "export")
    jobs = [
        (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).json()["job_id"]
        for _ in range(6)
    ]

    await asyncio.gather(console.work(), console.work(), console.work())

    found = [await console.job(client, job_id) for job_id in jobs]
    assert [(job["state"], job["attempts"]) for job in found] == [("done", 1)] * 6


async def test_one_export_of_a_tenant_runs_at_a_time_so_that_others_get_their_turn(console: Exporting) -> None:
    acme, globex = await console.client("acme", "export"), await console.client("globex", "export")
    for client in (acme, acme, globex):
        await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})

    async with console.site() as site, as_exporter(site) as connection:
        taken = [await take_job(connection, "test") for _ in range(3)]

    assert [job and job.tenant for job in taken] == ["acme", "globex", None]


async def test_a_console_that_stops_lets_another_one_begin_the_export_anew(
    console: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await console.client("acme", "export")
    asked = (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).json()
    stopping = asyncio.Event()

    with held(monkeypatch) as (begun, going):
        site = Site(console.database, console.log, console.data_dir)
        running = asyncio.create_task(Exports(site).run(stopping))
        await asyncio.to_thread(begun.wait)
        stopping.set()
        going.set()
        await running
    released = await console.job(client, asked["job_id"])
    await console.work()
    job = await console.job(client, asked["job_id"])

    assert (released["state"], released["attempts"]) == ("queued", 0)
    assert (job["state"], job["attempts"]) == ("done", 1)


async def test_an_export_that_ended_every_worker_fails_and_says_so(console: Exporting) -> None:
    client = await console.client("acme", "export")
    asked = (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).json()
    await console.execute(
        "UPDATE sojourn.export_job SET state = 'running', attempts = %s, lease_until = now() - interval '1 second'",
        [ATTEMPTS_MAX],
    )

    await console.work()
    job = await console.job(client, asked["job_id"])

    assert job["state"] == "failed"
    assert job["error"].startswith("3 attempts ended with the worker itself")


async def test_files_are_kept_for_a_week_and_then_gone(console: Exporting) -> None:
    client = await console.client("acme", "export")
    job = await console.exported(client)
    async with console.workers() as exports:
        await exports.sweep()
        kept = await client.get(f"/v1/exports/{job['job_id']}/files/1")

        await console.execute("UPDATE sojourn.export_job SET expires_at = now() - interval '1 second'")
        await exports.sweep()

    gone = await client.get(f"/v1/exports/{job['job_id']}/files/1")
    after = await console.job(client, job["job_id"])
    assert datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["finished_at"]) == timedelta(days=7)
    assert (kept.status_code, gone.status_code) == (200, 410)
    assert (after["state"], after["rows_written"]) == ("expired", ROWS)
    assert not console.folder(job).exists()


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Mount a disk that is soon full."""
    options = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(path)]
    if subprocess.run(options, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


async def test_a_full_disk_fails_the_export_with_words_and_leaves_nothing_half(console: Exporting) -> None:
    client = await console.client("acme", "export")
    exports = console.data_dir / "exports"
    exports.mkdir(mode=0o700)
    with small_disk(exports):
        job = await console.exported(client)
        left = [path for path in exports.rglob("*") if path.is_file()]

    assert job["state"] == "failed"
    assert job["error"].startswith("no space is left")
    assert str(console.data_dir) not in job["error"]
    assert left == []


async def test_an_export_fails_alone_where_its_tenant_has_gone(console: Exporting) -> None:
    client = await console.client("acme", "export")
    asked = (await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})).json()
    await console.execute("DELETE FROM sojourn_v1.tenant_config WHERE tenant = 'acme'")

    await console.work()

    assert (await console.job(client, asked["job_id"]))["error"] == "the tenant does not exist"
    unknown = await client.post("/v1/exports", json={"dataset": "history", "format": "csv"})
    assert unknown.status_code == 404


async def test_an_export_goes_to_a_destination_whole_and_under_the_tenant_s_name(console: Exporting) -> None:
    client = await console.client("acme", "export")

    job = await console.exported(client, format="parquet", destination="archive")

    (place,) = (console.archive / "acme").iterdir()
    assert place.name.startswith("sojourn-history-20")
    assert (place / "_SUCCESS").exists()
    with duckdb.connect() as readers:
        read = readers.execute("SELECT count(*) FROM read_parquet(?)", [f"{place}/tenant=*/date=*/*.parquet"])
        assert read.fetchall() == [(ROWS,)]
    assert (await client.get(f"/v1/exports/{job['job_id']}/archive")).status_code == 200


@pytest.mark.parametrize("link", ["archive", "tenant", "exports"])
async def test_no_symbolic_link_leads_an_export_elsewhere(console: Exporting, tmp_path: Path, link: str) -> None:
    client = await console.client("acme", "export")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if link == "archive":
        console.archive.rmdir()
    place = {"archive": console.archive, "tenant": console.archive / "acme", "exports": console.data_dir / "exports"}
    place[link].symlink_to(elsewhere)

    job = await console.exported(client, destination="archive")

    assert (job["state"], job["error"]) == ("failed", "the files could not be written; the log of the console says why")
    assert list(elsewhere.iterdir()) == []
    assert list(console.data_dir.rglob("*.csv")) == []
