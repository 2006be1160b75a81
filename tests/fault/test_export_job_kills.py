"""Export jobs whose worker is killed, stopped or loses the database: another one makes exactly one good dataset."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import duckdb
import msgspec
import pytest

from sojourn.console.jobs.orders import Order
from sojourn.console.jobs.runner import Exports
from sojourn.console.jobs.store import Job, insert_job, load_job
from sojourn.console.jobs.worker import EXPORT_POINTS, Worker
from sojourn.console.site.site import Site
from sojourn.exporters.dataset import Manifest
from sojourn.projections.read import HISTORY_COLUMNS, HistoryFilter, as_reader, history_query, stream
from tests.fault.harness import Machine, Process, until
from tests.forks import Start
from tests.integration.command import free_port
from tests.integration.export_steps import fill, finish
from tests.integration.server_processes import kill_server

ROWS: Final = 20_000  # more than two batches
A_DAY: Final = 7_000
ORDER: Final = Order("history", "parquet", neutralised=False, filter=HistoryFilter(), destination="archive")


class Exporter:
    """A machine with a history and a destination, and what its exports come to."""

    def __init__(self, machine: Machine, archive: Path) -> None:
        self.machine, self.archive = machine, archive
        archive.mkdir()
        self.site = Site(machine.database, machine.log, machine.data_dir, {"archive": archive})

    async def ask(self) -> UUID:
        """Let a job wait."""
        job_id = uuid4()
        async with self.site.console("acme") as connection:
            await insert_job(connection, "acme", job_id, ORDER, "test")
        return job_id

    def console(self, point: str, nth: int = 1, signal_number: int = signal.SIGKILL) -> Process:
        """Start `sojourn console`, which signals itself when an export reaches a point."""
        return self.machine._start(
            Start(
                "sojourn",
                ["console", "--port", str(free_port())],
                {"SOJOURN_EXPORT_DESTINATIONS": f"archive={self.archive}"},
                point=point,
                nth=nth,
                signal=signal_number,
            )
        )

    async def take_over(self) -> None:
        """Let the lease of who is gone have ended, and work until nothing waits."""
        async with await self.machine.database.connect(autocommit=True) as connection:
            await connection.execute(
                "UPDATE sojourn.export_job SET lease_until = now() - interval '1 second' WHERE state = 'running'"
            )
        await finish(Exports(self.site))

    async def job(self, job_id: UUID) -> Job:
        async with self.site.console("acme") as connection:
            found = await load_job(connection, "acme", job_id)
        assert found is not None
        return found

    async def check(self, job_id: UUID, attempts: int) -> None:
        """Check that the job is done with one dataset here and one in the destination, and that both are the list."""
        job = await self.job(job_id)
        assert (job.state, job.attempts, job.error, job.rows_written) == ("done", attempts, None, ROWS)
        expected = await self._listed()
        mine = self._folder(job_id) / str(attempts)
        assert self.attempts(job_id) == [str(attempts)]
        assert rows(mine) == expected
        assert msgspec.json.decode((mine / "_manifest.json").read_bytes(), type=Manifest) == job.written()
        assert self.unfinished() == []
        (there,) = (self.archive / "acme").glob(f"*-{job_id.hex[:8]}")
        assert rows(there) == expected
        assert (there / "_manifest.json").read_bytes() == (mine / "_manifest.json").read_bytes()

    def attempts(self, job_id: UUID) -> list[str]:
        """Return which attempts have files."""
        return [place.name for place in self._folder(job_id).iterdir()]

    def _folder(self, job_id: UUID) -> Path:
        return self.machine.data_dir / "exports" / "acme" / str(job_id)

    def unfinished(self) -> list[Path]:
        """Return what is not complete yet in the destination."""
        return list((self.archive / "acme").glob(".*"))

    async def _listed(self) -> list[str]:
        column = HISTORY_COLUMNS.index("session_id")
        async with self.site.connection() as connection, as_reader(connection, "acme"):
            return [row[column] async for row in stream(connection, history_query(HistoryFilter()))]


def rows(place: Path) -> list[str]:
    """Return the sessions that DuckDB finds in a complete dataset, in the order of the list."""
    assert (place / "_SUCCESS").exists()
    assert list(place.rglob("*.unfinished")) == []
    with duckdb.connect() as reader:
        found = reader.execute(
            "SELECT session_id FROM read_parquet(?, hive_partitioning = true) ORDER BY logout_at, session_id",
            [f"{place}/tenant=acme/date=*/*.parquet"],
        ).fetchall()
    return [session_id for (session_id,) in found]


@asynccontextmanager
async def exporter_on(machine: Machine, archive: Path) -> AsyncIterator[Exporter]:
    exporter = Exporter(machine, archive)
    async with await machine.database.connect(autocommit=True) as connection:
        await fill(connection, ROWS, A_DAY)
    yield exporter
    await exporter.site.close()


async def test_an_export_killed_at_any_point_is_finished_once_by_another_console(
    machine: Machine, tmp_path: Path
) -> None:
    async with exporter_on(machine, tmp_path / "archive") as exporter:
        for point in EXPORT_POINTS:
            job_id = await exporter.ask()
            victim = exporter.console(point, nth=2 if point == "export.batch" else 1)

            assert await victim.ended() == -signal.SIGKILL, victim.output
            assert victim.hits[-1] == point
            assert (await exporter.job(job_id)).state == "running"
            await exporter.take_over()

            await exporter.check(job_id, attempts=2)


async def test_a_console_that_was_only_stopped_spoils_nothing_when_it_goes_on(machine: Machine, tmp_path: Path) -> None:
    async with exporter_on(machine, tmp_path / "archive") as exporter:
        for point in ("export.batch", "export.copied"):
            job_id = await exporter.ask()
            zombie = exporter.console(point, signal_number=signal.SIGSTOP)

            async def has_stopped(zombie: Process = zombie, point: str = point) -> bool:
                return point in zombie.hits and zombie.is_stopped

            await until(has_stopped, "the console is stopped", zombie)
            await exporter.take_over()
            zombie.signal(signal.SIGCONT)

            async def has_cleared(job_id: UUID = job_id) -> bool:
                return exporter.attempts(job_id) == ["2"] and not exporter.unfinished()

            await until(has_cleared, "the console has noticed that it lost the job", zombie)
            assert await zombie.stops() == 0, zombie.output

            await exporter.check(job_id, attempts=2)


async def test_an_export_goes_on_after_postgresql_was_killed_in_the_middle_of_it(
    machine: Machine, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, going = threading.Event(), threading.Event()

    def hold(*_: Any) -> None:
        begun.set()
        going.wait()

    async with exporter_on(machine, tmp_path / "archive") as exporter:
        job_id = await exporter.ask()
        monkeypatch.setattr(Worker, "_advance", hold)
        exports = Exports(exporter.site)
        await exports.round()
        await asyncio.to_thread(begun.wait)

        await asyncio.to_thread(kill_server, data_dir)
        going.set()

        await asyncio.gather(*exports._working)
        await exporter.take_over()
        # All rows may have been read ahead before the kill: then the first attempt ends well.
        await exporter.check(job_id, (await exporter.job(job_id)).attempts)
