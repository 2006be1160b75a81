"""The jobs as rows: asked for and cancelled as the console of one tenant, worked on as the exporter of all."""

import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, LiteralString, NamedTuple
from uuid import UUID

import msgspec
import sqlalchemy as sa
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sojourn.console.jobs.orders import FILTERS, Filter, Order
from sojourn.console.site.site import Connection, Site
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import FileFormat, Manifest
from sojourn.projections.console_tables import export_job
from sojourn.projections.listing import Page, Place, Unpaged, page_of, ties_by

LEASE: Final = timedelta(seconds=30)  # a worker renews it every second; one that is silent so long is gone
KEPT: Final = timedelta(days=7)  # of files: somebody who is away for a week still finds them

_FRACTION_MAX: Final = 0.99  # of what is not done: the planner may have guessed too few rows
_JOBS: Final = UUID("0a8f7a34-6a0c-5c0e-9a0b-0c1f7f2a4a11")  # the namespace of ids that come from keys


JobState = Literal["queued", "running", "done", "failed", "cancelled", "expired"]


class Job(NamedTuple):
    """A row of export_job."""

    tenant: str
    job_id: UUID
    requested_at: datetime
    requested_by: str
    dataset: Dataset
    format: FileFormat
    neutralised: bool
    filter: dict[str, Any]
    destination: str | None
    schedule_id: UUID | None
    state: JobState
    rows_expected: int | None
    rows_written: int
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    attempts: int
    error: str | None
    manifest: dict[str, Any] | None

    def filters(self) -> Filter:
        """Return which rows it writes."""
        return msgspec.convert(self.filter, FILTERS[self.dataset])

    def written(self) -> Manifest:
        """Return what it wrote; it must be done."""
        return msgspec.convert(self.manifest, Manifest)

    def fraction(self) -> float | None:
        """Return how much of it is there; 1 only when all is."""
        if self.state in {"done", "expired"}:
            return 1.0
        if self.state != "running" or not self.rows_expected:
            return None
        return min(self.rows_written / self.rows_expected, _FRACTION_MAX)

    def is_of(self, order: Order) -> bool:
        """Tell whether just this was asked for."""
        own = (self.dataset, self.format, self.neutralised, self.filter, self.destination)
        return own == (order.dataset, order.format, order.neutralised, filter_row(order.filter), order.destination)


@cache
def statement(name: str) -> LiteralString:
    """Return the statement that sql/`name`.sql holds."""
    return files("sojourn.console.jobs").joinpath("sql", f"{name}.sql").read_text()


def filter_row(filters: Filter) -> dict[str, Any]:
    """Return a filter as its column holds it."""
    row: dict[str, Any] = msgspec.to_builtins(filters)
    return row


def new_id(tenant: str, key: str | None) -> UUID:
    """Return the id of a job; the same key makes the same."""
    return uuid.uuid4() if key is None else uuid.uuid5(_JOBS, f"{tenant}/{key}")


async def insert_job(
    connection: Connection,
    tenant: str,
    job_id: UUID,
    order: Order,
    requested_by: str,
    schedule_id: UUID | None = None,
) -> bool:
    """Let a job wait for a worker; return False where it stands there already."""
    values = {
        "tenant": tenant,
        "job_id": job_id,
        "requested_by": requested_by,
        "dataset": order.dataset,
        "format": order.format,
        "neutralised": order.neutralised,
        "filter": Jsonb(filter_row(order.filter)),
        "destination": order.destination,
        "schedule_id": schedule_id,
    }
    return (await connection.execute(statement("insert_job"), values)).rowcount == 1


async def count_open(connection: Connection, tenant: str) -> int:
    """Return how many jobs of a tenant wait or run."""
    row = await (await connection.execute(statement("count_open"), {"tenant": tenant})).fetchone()
    assert row is not None
    return int(row[0])


async def load_job(connection: Connection, tenant: str, job_id: UUID) -> Job | None:
    """Return one job."""
    found = await _jobs(connection, "load_job", {"tenant": tenant, "job_id": job_id})
    return found[0] if found else None


async def jobs_page(connection: Connection, tenant: str, after: Place | None, rows_max: int) -> Page:
    """Return a page, the newest first; its rows are those of `Job`."""
    c = export_job.c
    ties = ties_by(c.job_id, c.requested_at)
    rows = sa.select(*(c[name] for name in Job._fields)).where(c.tenant == tenant)
    return await page_of(connection, Unpaged(rows, Job._fields, c.requested_at, ties, is_falling=True), after, rows_max)


async def cancel_job(connection: Connection, tenant: str, job_id: UUID) -> bool:
    """Cancel a job; return False where it has ended."""
    return (await connection.execute(statement("cancel_job"), {"tenant": tenant, "job_id": job_id})).rowcount == 1


async def has_taken(connection: Connection, job: Job, actor: str, subject: str) -> bool:
    """Tell whether somebody began to take a file of a job away before."""
    values = {"tenant": job.tenant, "since": job.finished_at, "actor": actor, "subject": subject}
    return (await connection.execute(statement("find_download"), values)).rowcount == 1


@asynccontextmanager
async def as_exporter(site: Site) -> AsyncIterator[Connection]:
    """Lend a connection in a transaction that sees the jobs of all tenants."""
    async with site.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE sojourn_exporter")
        await connection.execute("SET LOCAL search_path = sojourn; SET LOCAL TimeZone = 'UTC'")
        yield connection


async def take_job(connection: Connection, worker: str) -> Job | None:
    """Take a job that waits, or whose worker is gone; one worker after the other, so that each sees what runs."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sojourn.export_job'))")
    found = await _jobs(connection, "take_job", {"worker": worker, "lease": LEASE})
    return found[0] if found else None


async def renew_lease(connection: Connection, job: Job, rows_written: int, rows_expected: int | None) -> bool:
    """Say how far a job is; return False where it is not this worker's any more."""
    values = {**_fence(job), "rows_written": rows_written, "rows_expected": rows_expected, "lease": LEASE}
    return (await connection.execute(statement("renew_lease"), values)).rowcount == 1


async def hold_job(connection: Connection, job: Job) -> bool:
    """Keep a job from others up to the end of the transaction; return False where it is not this worker's any more."""
    return (await connection.execute(statement("hold_job"), _fence(job))).rowcount == 1


async def finish_job(connection: Connection, job: Job, manifest: Manifest | None, error: str | None = None) -> bool:
    """End a job, well or with an error; return False where it is not this worker's any more."""
    values = {
        **_fence(job),
        "state": "failed" if manifest is None else "done",
        "manifest": None if manifest is None else Jsonb(msgspec.to_builtins(manifest)),
        "rows": None if manifest is None else manifest.rows,
        "error": error,
        "kept": None if manifest is None else KEPT,
    }
    return (await connection.execute(statement("finish_job"), values)).rowcount == 1


async def release_job(connection: Connection, job: Job, *, is_attempt: bool) -> None:
    """Let another worker have a job."""
    await connection.execute(statement("release_job"), {**_fence(job), "uncounted": 0 if is_attempt else 1})


async def expire_jobs(connection: Connection) -> None:
    """Let jobs whose files were kept long enough expire."""
    await connection.execute(statement("expire_jobs"))


async def forgotten(connection: Connection, job_ids: Collection[UUID]) -> set[UUID]:
    """Return which of these jobs need no files any more."""
    cursor = await connection.execute(statement("forgotten_jobs"), {"job_ids": list(job_ids)})
    return {job_id for (job_id,) in await cursor.fetchall()}


def _fence(job: Job) -> dict[str, Any]:
    return {"tenant": job.tenant, "job_id": job.job_id, "attempts": job.attempts}


async def _jobs(connection: Connection, name: str, values: Mapping[str, Any]) -> list[Job]:
    async with connection.cursor(row_factory=class_row(Job)) as cursor:
        await cursor.execute(statement(name), values)
        return await cursor.fetchall()
