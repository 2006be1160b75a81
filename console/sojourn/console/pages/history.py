"""The page of historical sessions: those of a range of time, filtered, ordered, and how each ended."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from sojourn.console.api.paging import Paged
from sojourn.console.pages.asked import Asked, asked
from sojourn.console.pages.endings import Ending, ending, told
from sojourn.console.pages.lists import ROWS, columns_of, direction_of, page_at, remembered, sort_of, ways
from sojourn.console.pages.render import AnyRequest, Pages, View, tenant_path, with_query
from sojourn.console.pages.statistics import form
from sojourn.console.pages.views import saved_views
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Connection
from sojourn.projections.counts import matching
from sojourn.projections.listing import HistoryOrder, history_page

SORTS: Final[Mapping[str, HistoryOrder]] = {
    "logout": "logout_at",
    "login": "login_at",
    "online": "online_seconds",
    "user": "user_name",
    "desktop": "desktop_name",
}
SORT_DEFAULT: Final = "-logout"  # what ended last stands first
COLUMNS: Final[Mapping[str, str]] = {
    "desktop": "Desktop",
    "terminal": "Terminal",
    "login": "Login",
    "logout": "Logout",
    "online": "Online",
    "ended": "How it ended",
    "address": "Address",
    "access": "Access",
    "broker": "Broker",
    "protocol": "Protocol",
}
COLUMNS_DEFAULT: Final = ("desktop", "terminal", "login", "logout", "online", "ended", "address", "access")
COLUMNS_COOKIE: Final = "columns-history"
# The pictures above the table, and the statistic that each opens.
PICTURES: Final = (
    ("sessions", "Sessions per day", "frequency"),
    ("terminals", "Terminals", "terminals"),
    ("work-days", "Hours per day", "work-hours"),
    ("concurrency", "Sessions at the same time", "concurrency"),
)


class Listed(NamedTuple):
    """How the list is shown: its order, its columns, and where the page begins."""

    sort: str
    columns: Sequence[str]
    cursor: str | None


class Row(NamedTuple):
    """A session as the template shows it; the login is unknown where only its end came."""

    session_id: str
    user: str
    user_id: str
    desktop: str
    pool: str
    terminal: str
    terminal_os: str
    login_at: datetime | None
    logout_at: datetime
    online_seconds: float | None
    ending: Ending
    address: str
    access: str
    broker: str
    protocol: str


def history_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers of the historical list."""

    @get("/t/{tenant:str}/history", opt=needs("read"), include_in_schema=False)
    async def history(request: AnyRequest, principal: Who) -> Response[bytes]:
        listed = _listed(request)
        cursors = await pages.site.cursors()
        async with pages.site.reader(principal.tenant) as connection:
            view = await pages.view(request, principal, connection)
            wanted = asked(request.query_params, view.zone, view.times.now)
            context = _said(view, wanted, listed, request.query_params.getall("column", []))
            if wanted.problem is None:
                paged = Paged(cursors, principal.tenant, ["history", wanted.filters, listed.sort])
                context |= await _list(connection, paged, view, wanted, listed, context["query"])
        context["views"] = await saved_views(pages.site, principal, "history")
        answer = pages.answer(view, "history.html", context, status=400 if wanted.problem else 200)
        if "column" in request.query_params:
            answer.cookies.append(remembered(COLUMNS_COOKIE, listed.columns))
        return answer

    return [history]


def _listed(request: AnyRequest) -> Listed:
    columns = columns_of(request, COLUMNS_COOKIE, COLUMNS, COLUMNS_DEFAULT)
    return Listed(sort_of(request, SORTS, SORT_DEFAULT), columns, request.query_params.get("cursor") or None)


async def _list(
    connection: Connection, paged: Paged, view: View, wanted: Asked, listed: Listed, query: Mapping[str, Any]
) -> dict[str, Any]:
    order, direction = SORTS[listed.sort.removeprefix("-")], direction_of(listed.sort)
    page = await page_at(
        paged.place(listed.cursor),
        lambda place: history_page(connection, wanted.filters, order, direction, place, ROWS),
    )
    known = await told(connection, page.rows)
    return {
        "rows": [_row(row, ending(row, known, view)) for row in page.rows],
        "matching": await matching(connection, wanted.filters),
        **ways(paged, page, query),
    }


def _row(row: Mapping[str, Any], end: Ending) -> Row:
    return Row(
        session_id=row["session_id"],
        user=row["user_name"] or row["user_id"] or "",
        user_id=row["user_id"] or "",
        desktop=row["desktop_name"] or row["desktop_id"] or "",
        pool=row["desktop_pool"] or "",
        terminal=row["terminal_type"] or "",
        terminal_os=row["terminal_os"] or "",
        login_at=row["login_at"],
        logout_at=row["logout_at"],
        online_seconds=row["online_seconds"],
        ending=end,
        address=row["client_ip"] or "",
        access=row["access"] or "",
        broker=row["broker"],
        protocol=row["protocol"] or "",
    )


def _said(view: View, wanted: Asked, listed: Listed, columns: Sequence[str]) -> dict[str, Any]:
    """Return what the template needs beside the rows."""
    sort = None if listed.sort == SORT_DEFAULT else listed.sort
    query: dict[str, Any] = {**wanted.query, "sort": sort, "column": list(columns)}
    return {
        **form(wanted),
        "action": f"{tenant_path(view)}/history",
        "here": with_query(query, cursor=listed.cursor),
        "listed": listed,
        "COLUMNS": COLUMNS,
        "PICTURES": PICTURES,
        "query": query,
        "extra": {"sort": sort},
        "exported": wanted.exported(view.times.machine),
    }
