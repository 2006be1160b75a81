"""`/v1/exports`: exports of any size as jobs, which one asks for, watches, cancels and takes the files of."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from sojourn.console.jobs.asking import ask, cancel, done_job, no_such_export
from sojourn.console.jobs.downloads import AnyRequest, answer, archive_of, file_of, is_from_start
from sojourn.console.jobs.orders import order_of
from sojourn.console.jobs.store import Job, Place, list_jobs, load_job
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import FileFormat, Manifest

PAGE_ROWS_MAX: Final = 200  # 100 kB; a tenant has some jobs a day
PAGE_ROWS: Final = 50  # a screen or two

_TAGS: Final = ["exports"]
_ABOUT: Final = "exports"  # what a cursor continues


class ExportRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which list, which of its rows, as what, and where to; `neutralised` is for CSV, where it is the default."""

    dataset: Dataset
    format: FileFormat
    filter: dict[str, Any] = {}
    neutralised: bool | None = None
    destination: str | None = None


class ExportAnswer(Struct, frozen=True):
    """An export and how far it is; `fraction` is none where nobody knows, and 1 when the files are there."""

    job_id: UUID
    state: str
    dataset: Dataset
    format: FileFormat
    neutralised: bool
    filter: dict[str, Any]
    destination: str | None
    schedule_id: UUID | None
    requested_at: datetime
    requested_by: str
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    rows_expected: int | None
    rows_written: int
    fraction: float | None
    attempts: int
    error: str | None
    as_of: datetime | None
    files: int | None
    bytes: int | None


class ExportsAnswer(Struct, frozen=True):
    """A page of exports, the newest first; `next_cursor` goes on with older ones."""

    exports: list[ExportAnswer]
    next_cursor: str | None


def shown(job: Job) -> ExportAnswer:
    """Return a job as the API tells of it."""
    manifest = None if job.manifest is None else job.written()
    return ExportAnswer(
        job_id=job.job_id,
        state=job.state,
        dataset=job.dataset,
        format=job.format,
        neutralised=job.neutralised,
        filter=job.filter,
        destination=job.destination,
        schedule_id=job.schedule_id,
        requested_at=job.requested_at,
        requested_by=job.requested_by,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        rows_expected=job.rows_expected,
        rows_written=job.rows_written,
        fraction=job.fraction(),
        attempts=job.attempts,
        error=job.error,
        as_of=None if manifest is None else manifest.as_of,
        files=None if manifest is None else len(manifest.files),
        bytes=None if manifest is None else sum(entry.bytes for entry in manifest.files),
    )


def export_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about export jobs."""

    @post(
        "/v1/exports",
        opt=needs("export"),
        operation_id="createExport",
        tags=_TAGS,
        summary="Ask for an export",
        status_code=202,
    )
    async def create(
        request: AnyRequest, principal: Who, data: Annotated[ExportRequest, Body()]
    ) -> Response[ExportAnswer]:
        """Rows of a list as files, as of one instant, whole however many there are; `Idempotency-Key` is honoured."""

        def make(_: Any) -> Any:
            return order_of(
                data.dataset,
                data.format,
                data.filter,
                data.destination,
                site.destinations,
                neutralised=data.neutralised,
            )

        job = await ask(site, principal, make, request.headers.get("idempotency-key"))
        return Response(shown(job), headers={"Location": f"/v1/exports/{job.job_id}"})

    @post(
        "/v1/exports/{job_id:uuid}/cancel",
        opt=needs("export"),
        operation_id="cancelExport",
        tags=_TAGS,
        summary="Cancel an export that has not ended",
        status_code=200,
    )
    async def cancel_(principal: Who, job_id: FromPath[UUID]) -> ExportAnswer:
        return shown(await cancel(site, principal, job_id))

    return [create, cancel_, *_job_handlers(site), *_file_handlers(site)]


def _job_handlers(site: Site) -> list[HTTPRouteHandler]:
    @get(
        "/v1/exports",
        opt=needs("export"),
        operation_id="listExports",
        tags=_TAGS,
        summary="The exports, the newest first",
    )
    async def list_(
        principal: Who,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS,
        cursor: Annotated[str | None, QueryParameter()] = None,
    ) -> ExportsAnswer:
        cursors = await site.cursors()
        tenant = principal.tenant
        before = None if cursor is None else cursors.open(tenant, _ABOUT, cursor, Place)
        async with site.console(tenant) as connection:
            jobs = await list_jobs(connection, tenant, before, limit + 1)
        last = jobs[limit - 1] if len(jobs) > limit else None
        on = None if last is None else cursors.seal(tenant, _ABOUT, Place(last.requested_at, last.job_id))
        return ExportsAnswer([shown(job) for job in jobs[:limit]], on)

    @get(
        "/v1/exports/{job_id:uuid}",
        opt=needs("export"),
        operation_id="getExport",
        tags=_TAGS,
        summary="One export, and how far it is",
    )
    async def one(principal: Who, job_id: FromPath[UUID]) -> ExportAnswer:
        async with site.console(principal.tenant) as connection:
            job = await load_job(connection, principal.tenant, job_id)
        if job is None:
            raise no_such_export()
        return shown(job)

    return [list_, one]


def _file_handlers(site: Site) -> list[HTTPRouteHandler]:
    @get(
        "/v1/exports/{job_id:uuid}/manifest",
        opt=needs("export"),
        operation_id="getExportManifest",
        tags=_TAGS,
        summary="What the files hold: rows, bytes, SHA-256, positions, filter",
    )
    async def manifest(principal: Who, job_id: FromPath[UUID]) -> Manifest:
        return (await done_job(site, principal, job_id, None)).written()

    @get(
        "/v1/exports/{job_id:uuid}/files/{number:int}",
        opt=needs("export"),
        operation_id="getExportFile",
        tags=_TAGS,
        summary="A file, by its place in the manifest, from 1 on; takes Range and If-Range",
    )
    async def file(request: AnyRequest, principal: Who, job_id: FromPath[UUID], number: FromPath[int]) -> Stream:
        taken = f"file {number}" if is_from_start(request) else None
        job = await done_job(site, principal, job_id, taken)
        return answer(request, await asyncio.to_thread(file_of, site.data_dir, job, number))

    @get(
        "/v1/exports/{job_id:uuid}/archive",
        opt=needs("export"),
        operation_id="getExportArchive",
        tags=_TAGS,
        summary="All files in one .zip; takes Range and If-Range",
    )
    async def archive(request: AnyRequest, principal: Who, job_id: FromPath[UUID]) -> Stream:
        job = await done_job(site, principal, job_id, "archive" if is_from_start(request) else None)
        return answer(request, await asyncio.to_thread(archive_of, site.data_dir, job))

    return [manifest, file, archive]
