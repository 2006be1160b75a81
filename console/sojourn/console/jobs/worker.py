"""One attempt at a job: the files, then a copy for its destination, then the row says that they are there."""

import asyncio
import errno
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from psycopg.errors import QueryCanceled

from sojourn.console.jobs.destinations import Copied, appear, copy
from sojourn.console.jobs.folders import FolderRefused, attempt_folder, remove, remove_attempt
from sojourn.console.jobs.store import Job, as_exporter, finish_job, hold_job, release_job, renew_lease
from sojourn.console.site.site import Site
from sojourn.consumers.killpoints import reach
from sojourn.events.errors import SojournError, Unreachable
from sojourn.exporters.dataset import Manifest
from sojourn.exporters.export import export_async
from sojourn.exporters.folder import MANIFEST, SUCCESS, ExportFailed
from sojourn.projections.read import CurrentFilter, NoSuchTenant, current_query, history_query, statement_of

EXPORT_POINTS: Final = ("export.taken", "export.batch", "export.written", "export.copied", "export.appeared")

ATTEMPTS_MAX: Final = 3  # what ended three workers would end a fourth
RENEW_SECONDS: Final = 1.0  # how old the progress is that people see, and how soon a cancelled export stops
COUNT_MILLISECONDS_MAX: Final = 5000  # counting is for the progress alone; after that it is guessed

Result = TypeVar("Result")

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_log = structlog.get_logger("sojourn.exports")


class _JobLostError(SojournError):
    """the job was cancelled, or another worker has it"""


class Worker:
    """Makes one attempt."""

    def __init__(self, site: Site, job: Job) -> None:
        self._site, self._job = site, job
        self._rows_written = 0
        self._rows_expected: int | None = None

    async def run(self) -> None:
        """Bring the job to an end, or let another worker have it; raises no error but that the database is away."""
        job = self._job
        try:
            if job.attempts > ATTEMPTS_MAX:
                await self._fail(f"{ATTEMPTS_MAX} attempts ended with the worker itself; its machine's log says why")
                return
            reach("export.taken")
            folder = await asyncio.to_thread(attempt_folder, self._site.data_dir, job.tenant, job.job_id, job.attempts)
            manifest = await self._unless_lost(self._written(folder))
            await self._publish(folder, manifest)
        except asyncio.CancelledError:  # this process stops: the next one begins anew
            await self._clear()
            with suppress(Unreachable):  # then it is taken over when the lease has ended
                await self._release(is_attempt=False)
            raise
        except _JobLostError:
            await self._clear()
        except Unreachable as error:
            await self._clear()
            if job.attempts >= ATTEMPTS_MAX:
                await self._fail(f"the database went away in each of {ATTEMPTS_MAX} attempts")
            else:
                _log.warning("export.interrupted", job=str(job.job_id), reason=str(error))
                await self._release(is_attempt=True)
        except Exception as error:  # noqa: BLE001 - whatever it is ends this job alone, and is told
            await self._clear()
            await self._fail(_reason(error))
            _log.error("export.failed", job=str(job.job_id), error=type(error).__name__, reason=str(error))

    async def _unless_lost(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work, and stop when the job is not ours any more."""
        working, renewing = asyncio.create_task(work), asyncio.create_task(self._renew())
        try:
            await asyncio.wait([working, renewing], return_when=asyncio.FIRST_COMPLETED)
            if renewing.done():
                raise _JobLostError
            return working.result()
        finally:
            working.cancel()
            renewing.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)

    async def _written(self, folder: Path) -> Manifest:
        job = self._job
        if not (folder / SUCCESS).exists():  # or a worker ended after the last file
            self._rows_expected = await self._count()
            await export_async(
                self._site.database.dsn,
                job.tenant,
                job.filters(),
                job.format,
                folder,
                neutralise=job.neutralised,
                progress=self._advance,
            )
        reach("export.written")
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)

    def _advance(self, rows: int) -> None:
        self._rows_written = rows
        reach("export.batch")

    async def _renew(self) -> None:
        """Return when the job is not ours any more."""
        while True:
            with suppress(Unreachable):  # the lease ends by itself; who publishes holds the row
                async with as_exporter(self._site) as connection:
                    if not await renew_lease(connection, self._job, self._rows_written, self._rows_expected):
                        return
            await asyncio.sleep(RENEW_SECONDS)

    async def _publish(self, folder: Path, manifest: Manifest) -> None:
        """Let the copy appear and end the job, with its row held, so that no other worker does so meanwhile."""
        job, copied = self._job, None
        if job.destination is not None:
            destination = self._site.destinations.get(job.destination)
            if destination is None:
                raise FolderRefused(f"no such destination on this machine: {job.destination!r}")
            copied = await self._unless_lost(self._copied(folder, destination))
            reach("export.copied")
        async with as_exporter(self._site) as connection:
            if not await hold_job(connection, job):
                if copied is not None:
                    await asyncio.to_thread(remove, copied.staging)
                raise _JobLostError
            if copied is not None:
                await asyncio.to_thread(appear, copied)
                reach("export.appeared")
            await finish_job(connection, job, manifest)

    async def _copied(self, folder: Path, destination: Path) -> Copied:
        job, stopping = self._job, threading.Event()
        arguments = (folder, destination, job.tenant, dataset_name(job), job.attempts, stopping)
        copying = asyncio.ensure_future(asyncio.to_thread(copy, *arguments))
        try:
            copied = await asyncio.shield(copying)
        except asyncio.CancelledError:
            stopping.set()
            await asyncio.gather(copying, return_exceptions=True)
            raise
        assert copied is not None
        return copied

    async def _count(self) -> int | None:
        """Return how many rows there will be: counted if that is quick, otherwise as PostgreSQL's planner guesses."""
        filters = self._job.filters()
        query = current_query(filters) if isinstance(filters, CurrentFilter) else history_query(filters)
        rows = query.order_by(None)
        count, values = statement_of(sa.select(sa.func.count()).select_from(rows.subquery()))
        text, _ = statement_of(rows)
        async with self._site.reader(self._job.tenant) as connection:
            with suppress(QueryCanceled):
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL statement_timeout = {COUNT_MILLISECONDS_MAX}")
                    row = await (await connection.execute(count, values)).fetchone()
                    return None if row is None else int(row[0])
            plan = await (await connection.execute("EXPLAIN (FORMAT JSON) " + text, values)).fetchone()
        return None if plan is None else int(plan[0][0]["Plan"]["Plan Rows"])

    async def _fail(self, reason: str) -> None:
        async with as_exporter(self._site) as connection:
            await finish_job(connection, self._job, None, reason)

    async def _release(self, *, is_attempt: bool) -> None:
        async with as_exporter(self._site) as connection:
            await release_job(connection, self._job, is_attempt=is_attempt)

    async def _clear(self) -> None:
        job = self._job
        await asyncio.to_thread(remove_attempt, self._site.data_dir, job.tenant, job.job_id, job.attempts)


def dataset_name(job: Job) -> str:
    """Return how the dataset of a job is called in a destination: the same in every attempt."""
    return f"sojourn-{job.dataset}-{job.requested_at:%Y%m%dT%H%M%SZ}-{job.job_id.hex[:8]}"


def _reason(error: Exception) -> str:
    """Return what people are told; without names of folders, which are for the machine's log."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return "no space is left where exports are written; whoever runs Sojourn can free some, then ask again"
    match error:
        case NoSuchTenant():
            return "the tenant does not exist"
        case ExportFailed() | FolderRefused() | OSError():
            return "the files could not be written; the log of the console says why"
        case _:
            return "an error of Sojourn; the log of the console says where"
