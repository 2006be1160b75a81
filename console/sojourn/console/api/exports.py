"""`/v1/exports`: exports of any size as jobs, which one asks for, watches, cancels and takes the files of."""

import asyncio
from datetime import datetime, tzinfo
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath, PathParameter
from litestar.response import Stream
from msgspec import Struct

from sojourn.console.api.filters import Destination, EndedFilter, OpenFilter
from sojourn.console.api.paging import Paged, link_header
from sojourn.console.api.parameters import PAGE_ROWS, Cursor, Key, Limit
from sojourn.console.api.problems import answers
from sojourn.console.jobs.asking import ask, cancel, done_job, no_such_export
from sojourn.console.jobs.downloads import AnyRequest, answer, archive_of, file_of, goes_on
from sojourn.console.jobs.orders import Order, order_of
from sojourn.console.jobs.store import Job, JobState, jobs_page, load_job
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import FileFormat, Manifest

_TAGS: Final = ["exports"]

_DONE: Final = answers(
    {
        409: "The export has no files yet, or none at all, or they are on another console's machine.",
        410: "The files were kept for a week.",
    }
)
_TAKEN: Final = {**_DONE, **answers({416: "There are no such bytes; `Content-Range` says how many there are."})}

Number = Annotated[int, PathParameter(ge=1, description="Its place in the manifest, from 1 on.")]


class CurrentExport(Struct, frozen=True, forbid_unknown_fields=True, tag_field="dataset", tag="current"):
    """The open sessions, as what, and where to; `neutralised` is for CSV, where it is the default."""

    format: FileFormat
    filter: OpenFilter = OpenFilter()
    neutralised: bool | None = None
    destination: Destination | None = None


class HistoryExport(Struct, frozen=True, forbid_unknown_fields=True, tag_field="dataset", tag="history"):
    """The ended sessions, as what, and where to; `neutralised` is for CSV, where it is the default."""

    format: FileFormat
    filter: EndedFilter = EndedFilter()
    neutralised: bool | None = None
    destination: Destination | None = None


ExportRequest = CurrentExport | HistoryExport


class ExportAnswer(Struct, frozen=True):
    """An export and how far it is; `fraction` is none where nobody knows, and 1 when the files are there."""

    job_id: UUID
    state: JobState
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
    """A page of exports, the newest first."""

    exports: list[ExportAnswer]
    next: str | None
    previous: str | None


def _shown(job: Job) -> ExportAnswer:
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
        principal: Who, data: Annotated[ExportRequest, Body()], idempotency_key: Key = None
    ) -> Response[ExportAnswer]:
        """Ask for rows of a list as files, as of one instant, whole however many there are."""

        def make(_: tzinfo) -> Order:
            listed: Dataset = "current" if isinstance(data, CurrentExport) else "history"
            filters = data.filter.made()
            return order_of(
                listed, data.format, filters, data.destination, site.destinations, neutralised=data.neutralised
            )

        job = await ask(site, principal, make, idempotency_key)
        return Response(_shown(job), headers={"Location": f"/v1/exports/{job.job_id}"})

    @post(
        "/v1/exports/{job_id:uuid}/cancel",
        opt=needs("export"),
        operation_id="cancelExport",
        tags=_TAGS,
        summary="Cancel an export that has not ended",
        status_code=200,
    )
    async def cancel_(principal: Who, job_id: FromPath[UUID]) -> ExportAnswer:
        """Stop an export with the batch in hand, and leave nothing of it."""
        return _shown(await cancel(site, principal, job_id))

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
        request: AnyRequest, principal: Who, limit: Limit = PAGE_ROWS, cursor: Cursor = None
    ) -> Response[ExportsAnswer]:
        """List the exports of the tenant, also those that failed, were cancelled, or whose files are gone."""
        paged = Paged(await site.cursors(), principal.tenant, ["exports"])
        place = paged.place(cursor)
        async with site.console(principal.tenant) as connection:
            page = await jobs_page(connection, principal.tenant, place, limit)
        beside = paged.beside(page)
        answer = ExportsAnswer([_shown(Job(**row)) for row in page.rows], beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    @get(
        "/v1/exports/{job_id:uuid}",
        opt=needs("export"),
        operation_id="getExport",
        tags=_TAGS,
        summary="One export, and how far it is",
    )
    async def one(principal: Who, job_id: FromPath[UUID]) -> ExportAnswer:
        """Show whether an export waits, runs or has ended, how far it is, and why it failed if it did."""
        async with site.console(principal.tenant) as connection:
            job = await load_job(connection, principal.tenant, job_id)
        if job is None:
            raise no_such_export()
        return _shown(job)

    return [list_, one]


def _file_handlers(site: Site) -> list[HTTPRouteHandler]:
    @get(
        "/v1/exports/{job_id:uuid}/manifest",
        opt=needs("export"),
        operation_id="getExportManifest",
        tags=_TAGS,
        summary="What the files hold: rows, bytes, SHA-256, positions, filter",
        responses=_DONE,
    )
    async def manifest(principal: Who, job_id: FromPath[UUID]) -> Manifest:
        """Show what an export that is done wrote, and as of when."""
        return (await done_job(site, principal, job_id)).written()

    @get(
        "/v1/exports/{job_id:uuid}/files/{number:int}",
        opt=needs("export"),
        operation_id="getExportFile",
        tags=_TAGS,
        summary="A file, by its place in the manifest, from 1 on; takes Range and If-Range",
        media_type="*/*",
        responses=_TAKEN,
    )
    async def file(request: AnyRequest, principal: Who, job_id: FromPath[UUID], number: Number) -> Stream:
        """Take a file; with `Range` (206) from where a download was cut off, whose `ETag` goes into `If-Range`."""
        job = await done_job(site, principal, job_id, f"file {number}", goes_on=goes_on(request))
        return answer(request, await asyncio.to_thread(file_of, site.data_dir, job, number))

    @get(
        "/v1/exports/{job_id:uuid}/archive",
        opt=needs("export"),
        operation_id="getExportArchive",
        tags=_TAGS,
        summary="All files in one .zip; takes Range and If-Range",
        media_type="application/zip",
        responses=_TAKEN,
    )
    async def archive(request: AnyRequest, principal: Who, job_id: FromPath[UUID]) -> Stream:
        """Take all files, the same bytes every time; with `Range` (206) from where a download was cut off."""
        job = await done_job(site, principal, job_id, "archive", goes_on=goes_on(request))
        return answer(request, await asyncio.to_thread(archive_of, site.data_dir, job))

    return [manifest, file, archive]
