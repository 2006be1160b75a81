"""The statistics: all pictures at a glance, and a page for each with its rule, its table and its numbers as data."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.http.problems import Problem
from sojourn.console.pages.asked import RANGES, Asked, asked
from sojourn.console.pages.charts import (
    JSON,
    TOPICS,
    USERS,
    Topic,
    answered,
    attached,
    demanded,
    facts,
    of_page,
    skipped,
)
from sojourn.console.pages.figures import Figures
from sojourn.console.pages.render import AnyRequest, Pages, View, tenant_zone
from sojourn.console.pages.specs import LARGE
from sojourn.console.pages.terms import ACCESSES, OUTCOMES, REASONS, TERMINALS
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Connection
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.work_hours import WorkHours

CHARTS: Final[Mapping[str, str]] = {
    "work-days": "Hours per day",
    "sessions": "Sessions per day",
    "concurrency": "Sessions at the same time",
    "hours": "Hours of the week",
    "terminals": "Terminals",
    "access": "Access",
    "durations": "Durations",
    "endings": "How sessions ended",
}


def statistics_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers of the statistics."""

    @get("/t/{tenant:str}/statistics", opt=needs("read"), include_in_schema=False)
    async def overview(request: AnyRequest, principal: Who) -> Response[bytes]:
        async with pages.site.reader(principal.tenant) as connection:
            view = await pages.view(request, principal, connection)
        wanted = asked(request.query_params, view.zone, view.times.now)
        context = {**form(wanted), "topic": None, "charts_shown": CHARTS}
        return pages.answer(view, "statistics.html", context, status=400 if wanted.problem else 200)

    @get("/t/{tenant:str}/statistics/{name:str}", opt=needs("read"), include_in_schema=False)
    async def statistic(request: AnyRequest, principal: Who, name: FromPath[str]) -> Response[bytes]:
        topic = TOPICS.get(name.removesuffix(".json"))
        if topic is None:
            raise Problem(404, "not-found", "there is no such statistic")
        async with pages.site.reader(principal.tenant) as connection:
            if name.endswith(".json"):
                view = View(request, principal, pages.site.now(), await tenant_zone(connection))
                answer = await answered(
                    connection, pages.site.statistics, demanded(request, view), view, topic.load_all or topic.load
                )
                return attached(msgspec.json.encode(answer), JSON, f"{principal.tenant}-{name}")
            view = await pages.view(request, principal, connection)
            wanted = asked(request.query_params, view.zone, view.times.now)
            context = {**form(wanted), "topic": topic}
            if wanted.problem is None:
                context |= await _answer(
                    connection, pages.site.statistics, wanted, view, topic, skipped(request.query_params)
                )
        return pages.answer(view, "statistics_topic.html", context, status=400 if wanted.problem else 200)

    return [overview, statistic]


def form(wanted: Asked) -> dict[str, Any]:
    """Return what the form of range and filters shows, and the way to the statistics."""
    return {
        "topics": TOPICS,
        "CHARTS": CHARTS,
        "asked": wanted,
        "query": wanted.query,
        "RANGES": RANGES,
        "TERMINALS": TERMINALS,
        "ACCESSES": ACCESSES,
        "OUTCOMES": OUTCOMES,
        "REASONS": REASONS,
    }


async def _answer(
    connection: Connection, cache: StatisticsCache, wanted: Asked, view: View, topic: Topic, skip: int
) -> dict[str, Any]:
    answer = await answered(connection, cache, wanted, view, of_page(topic, skip))
    figures = Figures(view)
    return {
        "answer": answer,
        "span": f"{figures.moment(answer.range.from_at)} – {figures.moment(answer.range.to_at)}",
        "facts": facts(answer, figures),
        "pictures": [draw(answer, figures, LARGE) for draw in topic.draws.values()],
        "page_query": {**wanted.query, "skip": skip or None},
        **(_paged(answer, skip) if isinstance(answer, WorkHours) else {"newer": None, "older": None}),
    }


def _paged(answer: WorkHours, skip: int) -> dict[str, int | None]:
    more = skip + USERS
    return {
        "newer": max(0, skip - USERS) if skip else None,
        "older": more if more < answer.users_total else None,
    }
