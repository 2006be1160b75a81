"""The page of exports: those that were asked for and how far they are, new ones, and schedules."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect

from sojourn.console.api.paging import Paged
from sojourn.console.http.problems import Problem
from sojourn.console.jobs.asking import ask, begin_schedule, cancel, stop_schedule
from sojourn.console.jobs.schedules import Schedule, list_schedules
from sojourn.console.jobs.store import Job, jobs_page
from sojourn.console.pages.export_forms import (
    DATASET_WORDS,
    EVERY_WORDS,
    FORMAT_WORDS,
    Form,
    asked_order,
    asked_timing,
    field_of,
    form_of,
    format_name,
    shown,
    told,
)
from sojourn.console.pages.render import AnyRequest, Pages, View, segment, tenant_path, with_query
from sojourn.console.site.access import Who, needs
from sojourn.console.site.principal import Principal

ROWS: Final = 50  # of one page: a tenant has some exports a day

_STOP_POLLING: Final = 286  # what htmx takes for the last answer
_ABOUT: Final = "exports-page"
_BAD_INPUT: Final = frozenset({400, 404, 409, 422, 429})


def export_page_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers of the page."""

    @get("/t/{tenant:str}/exports", opt=needs("export"), include_in_schema=False)
    async def exports(request: AnyRequest, principal: Who) -> Response[bytes]:
        return await _page(pages, request, principal)

    @post("/t/{tenant:str}/exports", opt=needs("export"), include_in_schema=False, status_code=303)
    async def create(request: AnyRequest, principal: Who) -> Response[Any]:
        form: Form = {}
        try:
            form = await form_of(request)
            job = await ask(pages.site, principal, asked_order(form, pages.site))
        except Problem as problem:
            return await _mended(pages, request, principal, problem, form)
        return Redirect(f"/t/{segment(principal.tenant)}/exports#job-{job.job_id}", status_code=303)

    @post("/t/{tenant:str}/exports/{job_id:uuid}/cancel", opt=needs("export"), include_in_schema=False, status_code=303)
    async def cancel_(request: AnyRequest, principal: Who, job_id: FromPath[UUID]) -> Response[Any]:
        return await _done(pages, request, principal, cancel(pages.site, principal, job_id), f"job-{job_id}")

    return [exports, create, cancel_, *_schedule_handlers(pages)]


def _schedule_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    @post("/t/{tenant:str}/exports/schedules", opt=needs("export"), include_in_schema=False, status_code=303)
    async def begin(request: AnyRequest, principal: Who) -> Response[Any]:
        form: Form = {}
        try:
            form = await form_of(request)
            order = asked_order(form, pages.site, dataset="history")
            await begin_schedule(pages.site, principal, asked_timing(form), order)
        except Problem as problem:
            return await _mended(pages, request, principal, problem, {**form, "form": "schedule"})
        return Redirect(f"/t/{segment(principal.tenant)}/exports#schedules", status_code=303)

    @post(
        "/t/{tenant:str}/exports/schedules/{schedule_id:uuid}/end",
        opt=needs("export"),
        include_in_schema=False,
        status_code=303,
    )
    async def end(request: AnyRequest, principal: Who, schedule_id: FromPath[UUID]) -> Response[Any]:
        return await _done(pages, request, principal, stop_schedule(pages.site, principal, schedule_id), "schedules")

    return [begin, end]


async def _done(
    pages: Pages, request: AnyRequest, principal: Principal, act: Awaitable[Any], place: str
) -> Response[Any]:
    """Act and show the page at the place of it; an export that ended meanwhile is told there."""
    try:
        await act
    except Problem as problem:
        return await _mended(pages, request, principal, problem, {})
    return Redirect(f"/t/{segment(principal.tenant)}/exports#{place}", status_code=303)


async def _mended(
    pages: Pages, request: AnyRequest, principal: Principal, problem: Problem, form: Form
) -> Response[bytes]:
    """Show the page with what is wrong and what was filled in."""
    if problem.status not in _BAD_INPUT:
        raise problem
    return await _page(pages, request, principal, form, [(field_of(problem), told(problem))], problem.status)


async def _page(
    pages: Pages,
    request: AnyRequest,
    principal: Principal,
    form: Form | None = None,
    errors: Sequence[tuple[str, str]] = (),
    status: int = 200,
) -> Response[bytes]:
    tenant = principal.tenant
    paged = Paged(await pages.site.cursors(), tenant, _ABOUT)
    cursor = request.query_params.get("cursor") if request.method == "GET" else None
    place = paged.place(cursor)
    async with pages.site.reader(tenant) as connection:
        view = await pages.view(request, principal, connection)
        page = await jobs_page(connection, tenant, place, ROWS)
    async with pages.site.console(tenant) as connection:
        schedules = await list_schedules(connection, tenant)
    jobs, older = [Job(**row) for row in page.rows], paged.beside(page)["next"]
    active = any(job.state in {"queued", "running"} for job in jobs)
    context = {
        **_rows(view, jobs, cursor),
        "older": None if older is None else with_query({}, cursor=older),
        "is_active": active,
        "schedules": [_schedule(schedule, view) for schedule in schedules],
        "destinations": sorted(pages.site.destinations),
        "form": {} if form is None else form,
        "errors": list(errors),
        "formats": FORMAT_WORDS,
        "datasets": DATASET_WORDS,
        "every": EVERY_WORDS,
    }
    if view.is_part:
        return pages.answer(view, "export_rows.html", context, status=200 if active else _STOP_POLLING)
    return pages.answer(view, "exports.html", context, status=status)


def _rows(view: View, jobs: Sequence[Job], cursor: str | None) -> Mapping[str, Any]:
    path = f"{tenant_path(view)}/exports"
    return {
        "jobs": [shown(job, view) for job in jobs],
        "path": path,
        "here": path + with_query({}, cursor=cursor),
        "newer": None if cursor is None else path,
    }


def _schedule(schedule: Schedule, view: View) -> Mapping[str, Any]:
    _ = view.words.gettext
    return {
        "schedule": schedule,
        "format": _(FORMAT_WORDS[format_name(schedule.format, neutralised=schedule.neutralised)]),
        "every": _(EVERY_WORDS[schedule.every]),
    }
