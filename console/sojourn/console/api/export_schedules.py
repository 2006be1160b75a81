"""`/v1/export-schedules`: exports that are asked for whenever a day, week or month is over."""

from datetime import datetime, tzinfo
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from msgspec import Meta, Struct

from sojourn.console.api.filters import Destination, ScheduledFilter
from sojourn.console.jobs.asking import NAME_CHARACTERS_MAX, Timing, begin_schedule, stop_schedule
from sojourn.console.jobs.orders import Order, order_of
from sojourn.console.jobs.periods import TIME_OF_DAY, Every
from sojourn.console.jobs.schedules import Schedule, list_schedules
from sojourn.console.site.access import Who, needs
from sojourn.console.site.names import READABLE_PATTERN
from sojourn.console.site.site import Site
from sojourn.exporters.dataset import FileFormat

_TAGS: Final = ["exports"]

# What stands in `extra_json_schema` is for readers; `begin_schedule` judges it, with its own words.
_NAME: Final = {"pattern": READABLE_PATTERN, "maxLength": NAME_CHARACTERS_MAX}
_TIME: Final = {"pattern": f"^(?:{TIME_OF_DAY.pattern})$"}


class ScheduleRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The history of the day, week or month before, at a time of day of the tenant's zone, as 06:30."""

    name: Annotated[str, Meta(extra_json_schema=_NAME, examples=["daily"])]
    every: Every
    time_of_day: Annotated[str, Meta(extra_json_schema=_TIME, examples=["06:30"])]
    format: FileFormat
    filter: ScheduledFilter = ScheduledFilter()
    neutralised: bool | None = None
    destination: Destination | None = None


class ScheduleAnswer(Struct, frozen=True):
    """A schedule, and when it asks for its next export."""

    schedule_id: UUID
    name: str
    every: Every
    time_of_day: str
    format: FileFormat
    neutralised: bool
    filter: dict[str, Any]
    destination: str | None
    created_at: datetime
    created_by: str
    next_at: datetime


class SchedulesAnswer(Struct, frozen=True):
    """The schedules that go on, by name."""

    schedules: list[ScheduleAnswer]


def schedule_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about schedules."""

    @post(
        "/v1/export-schedules",
        opt=needs("export"),
        operation_id="createExportSchedule",
        tags=_TAGS,
        summary="Export whenever a day, week or month is over",
    )
    async def create(principal: Who, data: Annotated[ScheduleRequest, Body()]) -> Response[ScheduleAnswer]:
        """Begin with the period that is over next; a schedule goes on until somebody ends it."""
        timing = Timing(data.name, data.every, data.time_of_day)

        def make(_: tzinfo) -> Order:
            filters = data.filter.made()
            return order_of(
                "history", data.format, filters, data.destination, site.destinations, neutralised=data.neutralised
            )

        schedule_id = await begin_schedule(site, principal, timing, make)
        async with site.console(principal.tenant) as connection:
            found = {schedule.schedule_id: schedule for schedule in await list_schedules(connection, principal.tenant)}
        headers = {"Location": f"/v1/export-schedules/{schedule_id}"}
        return Response(_shown(found[schedule_id]), headers=headers)

    @get(
        "/v1/export-schedules",
        opt=needs("export"),
        operation_id="listExportSchedules",
        tags=_TAGS,
        summary="The schedules that go on",
    )
    async def list_(principal: Who) -> SchedulesAnswer:
        """List the schedules of the tenant; there are fifty at most."""
        async with site.console(principal.tenant) as connection:
            found = await list_schedules(connection, principal.tenant)
        return SchedulesAnswer([_shown(schedule) for schedule in found])

    @delete(
        "/v1/export-schedules/{schedule_id:uuid}",
        opt=needs("export"),
        operation_id="endExportSchedule",
        tags=_TAGS,
        summary="Export no more by a schedule; its exports stay",
    )
    async def end(principal: Who, schedule_id: FromPath[UUID]) -> None:
        """End a schedule; the exports that it asked for stay, and those under way go on."""
        await stop_schedule(site, principal, schedule_id)

    return [create, list_, end]


def _shown(schedule: Schedule) -> ScheduleAnswer:
    return ScheduleAnswer(
        schedule_id=schedule.schedule_id,
        name=schedule.name,
        every=schedule.every,
        time_of_day=schedule.time_of_day,
        format=schedule.format,
        neutralised=schedule.neutralised,
        filter=schedule.filter,
        destination=schedule.destination,
        created_at=schedule.created_at,
        created_by=schedule.created_by,
        next_at=schedule.next_at,
    )
