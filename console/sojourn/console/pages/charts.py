"""The pictures by name, and their files: Vega-Lite for the script that draws them, and their numbers as data."""

import csv
import gzip
import io
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.http.problems import Problem
from sojourn.console.output import instant
from sojourn.console.pages import pictures, timesheet
from sojourn.console.pages.asked import Asked, asked
from sojourn.console.pages.figures import Figures
from sojourn.console.pages.pictures import Data, Picture
from sojourn.console.pages.render import GZIP_BYTES_MIN, GZIP_LEVEL, AnyRequest, Pages, View, tenant_zone
from sojourn.console.pages.specs import LARGE, MEDIUM, SMALL, Size
from sojourn.console.pages.terms import LEFT_OUT
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Connection
from sojourn.events.errors import UsageError
from sojourn.exporters.csv import EVALUATED
from sojourn.projections.read import HistoryFilter
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.concurrency import concurrency
from sojourn.projections.statistics.distribution import access, terminals
from sojourn.projections.statistics.durations import durations
from sojourn.projections.statistics.frequency import TOP_MAX, frequency
from sojourn.projections.statistics.hours import hours
from sojourn.projections.statistics.rules import Answer
from sojourn.projections.statistics.work_hours import USERS_MAX, Page, work_hours

USERS: Final = 50  # of a page
SIZES: Final = {"small": SMALL, "medium": MEDIUM}
JSON: Final = "application/json"
CSV: Final = "text/csv; charset=utf-8"

_SKIP_DIGITS_MAX: Final = 9  # more users than that has nobody
_EVALUATED: Final = re.compile(EVALUATED)

Load = Callable[[Connection, StatisticsCache, HistoryFilter, str], Awaitable[Answer]]
Draw = Callable[[Any, Figures, Size], Picture]


class Topic(NamedTuple):
    """A statistic: its name in paths, its title, how it is asked for, and its pictures by their names.

    `load_all` is for files, where `load` gives the first of many only.
    """

    name: str
    title: str
    load: Load
    draws: dict[str, Draw]
    load_all: Load | None = None


async def _everybody(connection: Connection, cache: StatisticsCache, filters: HistoryFilter, zone: str) -> Answer:
    """Return work hours with all users; raises `UsageError` where those are too many for a file."""
    answer = await work_hours(connection, cache, filters, zone, Page(USERS_MAX))
    if answer.users_total > USERS_MAX:
        raise UsageError(f"a file has at most {USERS_MAX} users; name some of the {answer.users_total} by a filter")
    return answer


async def _most_frequent(connection: Connection, cache: StatisticsCache, filters: HistoryFilter, zone: str) -> Answer:
    return await frequency(connection, cache, filters, zone, TOP_MAX)


TOPICS: Final = {
    topic.name: topic
    for topic in (
        Topic(
            "work-hours",
            "Work hours",
            work_hours,
            {"work-days": timesheet.work_days, "timesheet": timesheet.timesheet},
            _everybody,
        ),
        Topic(
            "frequency",
            "Access frequency",
            frequency,
            {"sessions": pictures.sessions, "users": pictures.users, "desktops": pictures.desktops},
            _most_frequent,
        ),
        Topic("concurrency", "Sessions at the same time", concurrency, {"concurrency": pictures.concurrency}),
        Topic("hours", "Hours of the week", hours, {"hours": pictures.hours}),
        Topic("durations", "Durations", durations, {"durations": pictures.durations, "endings": pictures.endings}),
        Topic("terminals", "Terminals", terminals, {"terminals": pictures.terminals, "systems": pictures.systems}),
        Topic("access", "Access", access, {"access": pictures.access}),
    )
}
TOPIC_OF: Final = {chart: topic for topic in TOPICS.values() for chart in topic.draws}


def chart_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers of what stands in a picture, as files."""

    @get("/t/{tenant:str}/charts/{file:str}", opt=needs("read"), include_in_schema=False)
    async def chart(request: AnyRequest, principal: Who, file: FromPath[str]) -> Response[bytes]:
        name, _, kind = file.rpartition(".")
        topic = TOPIC_OF.get(name)
        if topic is None or kind not in {"json", "csv"}:
            raise Problem(404, "not-found", "there is no such picture")
        async with pages.site.reader(principal.tenant) as connection:
            view = View(request, principal, pages.site.now(), await tenant_zone(connection))
            whole = topic.load_all or topic.load
            load = whole if kind == "csv" else of_page(topic, skipped(request.query_params))
            answer = await answered(connection, pages.site.statistics, demanded(request, view), view, load)
        picture = topic.draws[name](answer, Figures(view), SIZES.get(request.query_params.get("size", ""), LARGE))
        if kind == "csv":
            return attached(written(picture.data), CSV, f"{principal.tenant}-{file}")
        return packed(view, msgspec.json.encode(_drawn(picture)), JSON)

    return [chart]


def of_page(topic: Topic, skip: int) -> Load:
    """Return how a statistic is asked for behind so many users, where it has pages of them."""

    async def load(connection: Connection, cache: StatisticsCache, filters: HistoryFilter, zone: str) -> Answer:
        return await work_hours(connection, cache, filters, zone, Page(USERS, skip))

    return load if topic.load is work_hours else topic.load


def skipped(query: Mapping[str, str]) -> int:
    """Return how many users a page skips."""
    text = query.get("skip", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _SKIP_DIGITS_MAX else 0


def demanded(request: AnyRequest, view: View) -> Asked:
    """Return what a request for a file asks; raises the problem that it is not clear."""
    wanted = asked(request.query_params, view.zone, view.times.now)
    if wanted.problem is not None:
        raise Problem(400, "bad-choice", "the range or a filter cannot be", f"{wanted.problem.field}: {wanted.problem}")
    return wanted


async def answered(connection: Connection, cache: StatisticsCache, wanted: Asked, view: View, load: Load) -> Answer:
    """Return a statistic of what is asked; raises the problem that it is too much."""
    try:
        return await load(connection, cache, wanted.filters, view.zone_name)
    except UsageError as error:
        raise Problem(400, "too-much", "this cannot be counted", str(error)) from None


def written(data: Data) -> bytes:
    """Return data as CSV that no spreadsheet evaluates; what is not known is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(data.names)
    writer.writerows([_value(value) for value in row] for row in data.rows)
    return text.getvalue().encode()


def attached(content: bytes, kind: str, name: str) -> Response[bytes]:
    """Return a file to keep."""
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def packed(view: View, content: bytes, kind: str) -> Response[bytes]:
    """Return a document, in fewer bytes where the browser takes them."""
    headers = {"Vary": "Accept-Encoding, Accept-Language, Cookie"}
    if view.takes_gzip and len(content) >= GZIP_BYTES_MIN:
        content = gzip.compress(content, GZIP_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=kind, headers=headers)


def _drawn(picture: Picture) -> dict[str, Any]:
    """Return the picture as Vega-Lite; beside it stands what it says, or the one number that it would show."""
    said = {"title": picture.title, "says": picture.says, "figure": picture.figure if picture.spec is None else None}
    return {**(picture.spec or {}), "description": f"{picture.title}. {picture.says}", "usermeta": said}


def _value(raw: Any) -> Any:
    if isinstance(raw, datetime):
        return instant(raw)
    if isinstance(raw, date):
        return raw.isoformat()
    return f"'{raw}" if isinstance(raw, str) and _EVALUATED.match(raw) else raw


def facts(answer: Answer, figures: Figures) -> Sequence[str]:
    """Return which sessions a statistic is made of, in sentences."""
    say, count = figures.say, figures.count
    told = [say("%(count)s sessions counted.") % {"count": count(answer.sessions)}]
    if answer.open:
        told.append(say("%(count)s of them are open.") % {"count": count(answer.open)})
    if answer.uncertain:
        told.append(say("%(count)s of them were lost and count as a range.") % {"count": count(answer.uncertain)})
    left = [say(LEFT_OUT[key]) % {"count": count(number)} for key, number in answer.left_out.items() if number]
    return [*told, say("Left out: %(sessions)s.") % {"sessions": ", ".join(left)} if left else say("None left out.")]
