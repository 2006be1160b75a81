"""`GET /v1/statistics/…`: what the sessions of a tenant come to, each number with its rule; docs/statistics.md."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from litestar import get
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from sojourn.console.api.filters import EndReason, Outcome
from sojourn.console.api.parameters import Broker, Desktop, From, Search, To, User, range_of
from sojourn.console.jobs.orders import refused
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Connection, Site
from sojourn.events.errors import UsageError
from sojourn.events.fields import Access, TerminalType
from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.concurrency import Concurrency, concurrency
from sojourn.projections.statistics.distribution import Accesses, Terminals, access, terminals
from sojourn.projections.statistics.durations import Durations, durations
from sojourn.projections.statistics.frequency import TOP_DEFAULT, TOP_MAX, Frequency, frequency
from sojourn.projections.statistics.hours import Hours, hours
from sojourn.projections.statistics.work_hours import USERS_DEFAULT, USERS_MAX, Page, WorkHours, work_hours

SKIP_MAX: Final = 10_000_000  # more users has nobody

Told = TypeVar("Told")
Statistic = Callable[[Connection, StatisticsCache, HistoryFilter, str | None], Awaitable[Told]]


async def asked(
    *,
    from_: From = None,
    to: To = None,
    user: User = None,
    desktop: Desktop = None,
    terminal: FromQuery[TerminalType | None] = None,
    access_: Annotated[Access | None, QueryParameter(name="access")] = None,
    outcome: FromQuery[Outcome | None] = None,
    reason: FromQuery[EndReason | None] = None,
    broker: Broker = None,
    search: Search = None,
) -> HistoryFilter:
    """Return the filter that the query names; raises the problem that its range is none."""
    return HistoryFilter(user, desktop, outcome, *range_of(from_, to), terminal, access_, reason, broker, search)


Filters = NamedDependency[HistoryFilter]


def statistics_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about statistics."""

    async def told(principal: Who, filters: HistoryFilter, statistic: Statistic[Told]) -> Told:
        async with site.reader(principal.tenant) as connection:
            row: Any = await (await connection.execute("SELECT time_zone FROM tenant")).fetchone()
            try:
                return await statistic(connection, site.statistics, filters, row[0])
            except UsageError as error:
                raise refused("from", str(error)) from None

    @get("/v1/statistics/work-hours", **_described("getWorkHours", "How long users worked, by user and by day"))
    async def get_work_hours(
        principal: Who,
        filters: Filters,
        users: Annotated[int, QueryParameter(ge=0, le=USERS_MAX, description="How many users")] = USERS_DEFAULT,
        skip: Annotated[int, QueryParameter(ge=0, le=SKIP_MAX, description="Behind so many others")] = 0,
    ) -> WorkHours:
        return await told(principal, filters, partial(work_hours, page=Page(users, skip)))

    @get("/v1/statistics/frequency", **_described("getFrequency", "How often users log in and desktops are used"))
    async def get_frequency(
        principal: Who,
        filters: Filters,
        top: Annotated[int, QueryParameter(ge=0, le=TOP_MAX, description="How many of each")] = TOP_DEFAULT,
    ) -> Frequency:
        return await told(principal, filters, partial(frequency, top=top))

    @get("/v1/statistics/terminals", **_described("getTerminals", "What users connect with"))
    async def get_terminals(principal: Who, filters: Filters) -> Terminals:
        return await told(principal, filters, terminals)

    @get("/v1/statistics/access", **_described("getAccess", "Whether users come from inside or the public internet"))
    async def get_access(principal: Who, filters: Filters) -> Accesses:
        return await told(principal, filters, access)

    @get("/v1/statistics/concurrency", **_described("getConcurrency", "How many sessions there are at the same time"))
    async def get_concurrency(principal: Who, filters: Filters) -> Concurrency:
        return await told(principal, filters, concurrency)

    @get("/v1/statistics/durations", **_described("getDurations", "How long sessions last, and how they end"))
    async def get_durations(principal: Who, filters: Filters) -> Durations:
        return await told(principal, filters, durations)

    @get("/v1/statistics/hours", **_described("getHours", "How many sessions there are in each hour of the week"))
    async def get_hours(principal: Who, filters: Filters) -> Hours:
        return await told(principal, filters, hours)

    return [get_work_hours, get_frequency, get_terminals, get_access, get_concurrency, get_durations, get_hours]


def _described(operation_id: str, summary: str) -> dict[str, Any]:
    return {
        "opt": needs("read"),
        "operation_id": operation_id,
        "tags": ["statistics"],
        "summary": summary,
        "dependencies": {"filters": Provide(asked)},
    }
