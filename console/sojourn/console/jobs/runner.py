"""What every console does about exports: ask for those that are due, work on those that wait, forget the old ones."""

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import Final

import structlog

from sojourn.console.jobs.beside import go_on
from sojourn.console.jobs.folders import known_jobs, remove_job
from sojourn.console.jobs.schedules import run_due
from sojourn.console.jobs.store import as_exporter, expire_jobs, forgotten, take_job
from sojourn.console.jobs.worker import Worker
from sojourn.console.site.site import Site
from sojourn.events.errors import Unreachable

JOBS_MAX: Final = 2  # at once in one process: each holds 80 MB and a core, which the pages need too
POLL_SECONDS: Final = 1.0  # how long a job waits for a worker that is idle
SWEEP_SECONDS: Final = 60.0  # files are kept for days

_log = structlog.get_logger("sojourn.exports")


class Exports:
    """Works on the exports of all tenants; any number of processes share them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._worker = f"{socket.gethostname()}/{os.getpid()}"
        self._working: set[asyncio.Task[None]] = set()
        self._swept_at = -SWEEP_SECONDS

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until it is time to stop; what is in hand then waits for another process."""
        try:
            while not stopping.is_set():
                await go_on(self.round, _log, "exports.failed")
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), POLL_SECONDS)
        finally:
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)
            await self._site.close()

    async def round(self) -> None:
        """Do what there is to do now; jobs go on beside it."""
        await run_due(self._site)
        while len(self._working) < JOBS_MAX:
            async with as_exporter(self._site) as connection:
                job = await take_job(connection, self._worker)
            if job is None:
                break
            task = asyncio.create_task(self._work(Worker(self._site, job)))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            await self.sweep()
            self._swept_at = time.monotonic()

    async def sweep(self) -> None:
        """Remove the files of what expired, failed or was cancelled, whoever was killed before doing so."""
        async with as_exporter(self._site) as connection:
            await expire_jobs(connection)
        found = await asyncio.to_thread(known_jobs, self._site.data_dir)
        async with as_exporter(self._site) as connection:
            gone = await forgotten(connection, list(found))
        for job_id in gone:
            await asyncio.to_thread(remove_job, self._site.data_dir, found[job_id], job_id)

    async def _work(self, worker: Worker) -> None:
        try:
            await worker.run()
        except Unreachable as error:  # another worker has the job when the lease is over
            _log.warning("export.left", reason=str(error))
