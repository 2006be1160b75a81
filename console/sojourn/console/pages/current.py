"""The page of current sessions: who is connected now, searched, filtered, ordered, and kept up to date."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from sojourn.console.api.paging import Paged
from sojourn.console.http.problems import malformed
from sojourn.console.pages.following import load_strip
from sojourn.console.pages.lists import ROWS, columns_of, direction_of, page_at, remembered, sort_of, ways
from sojourn.console.pages.render import AnyRequest, Pages, View, tenant_path, with_query
from sojourn.console.pages.views import saved_views
from sojourn.console.site.access import UNASKED, Who, needs
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Connection
from sojourn.console.stream.messages import event_id
from sojourn.projections.changes import load_places
from sojourn.projections.counts import current_counts, matching
from sojourn.projections.listing import CurrentOrder, current_page
from sojourn.projections.read import CurrentFilter

TEXT_CHARACTERS_MAX: Final = 200  # of a search; ids have no more
SORTS: Final[Mapping[str, CurrentOrder]] = {
    "login": "login_at",
    "duration": "duration_seconds",
    "user": "user_name",
    "desktop": "desktop_name",
    "terminal": "terminal_type",
    "address": "client_ip",
    "access": "access",
    "state": "state",
    "seen": "last_seen_at",
}
SORT_DEFAULT: Final = "-login"  # who came last stands first
FILTERS: Final = ("search", "terminal", "access", "state", "broker")
COLUMNS: Final = ("desktop", "terminal", "login", "duration", "address", "access", "broker", "protocol", "seen")
COLUMNS_DEFAULT: Final = ("desktop", "terminal", "login", "duration", "address", "access")
COLUMNS_COOKIE: Final = "columns-current"

_PENDING: Final = "SELECT session_id FROM command WHERE concluded_at IS NULL AND kind <> 'send_message'"


class Question(NamedTuple):
    """What the URL asks for; `query` are its parameters, without those that say nothing."""

    filters: CurrentFilter
    sort: str
    columns: Sequence[str]
    cursor: str | None
    query: Mapping[str, Any]

    @property
    def about(self) -> list[Any]:
        """What a cursor is bound to."""
        return ["current", self.filters, self.sort]

    @property
    def set_names(self) -> list[str]:
        """The filters that are set."""
        return [name for name in FILTERS if getattr(self.filters, name) is not None]


class Row(NamedTuple):
    """A session as the template shows it."""

    session_id: str
    user: str
    user_id: str
    desktop: str
    pool: str
    terminal: str
    terminal_os: str
    login_at: datetime
    state: str
    seen_at: datetime
    address: str
    address_now: str
    access: str
    broker: str
    protocol: str


def current_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers of the live list."""

    @get("/t/{tenant:str}/sessions", opt=needs("read"), include_in_schema=False)
    async def sessions(request: AnyRequest, principal: Who) -> Response[bytes]:
        question = asked(request)
        view = View(request, principal, pages.site.now())
        if UNASKED in request.headers and view.is_part and question.query["follow"] is None:
            # Made once for all who look at the same: it says nothing of who asks but what is in the key.
            key = (principal.permissions, view.words.locale, view.takes_gzip, view.query, *question.columns)
            return await pages.site.shared.get(principal.tenant, key, lambda: answered(request, principal, question))
        return await answered(request, principal, question)

    async def answered(request: AnyRequest, principal: Principal, question: Question) -> Response[bytes]:
        paged = Paged(await pages.site.cursors(), principal.tenant, question.about)
        async with pages.site.reader(principal.tenant) as connection:
            view = await pages.view(request, principal, connection)
            context = await _list(connection, paged, question)
            context["strip"] = await load_strip(connection, view, question.query["follow"])
        if not view.is_part:
            context["views"] = await saved_views(pages.site, principal, "sessions")
        template = "sessions_list.html" if view.is_part else "sessions.html"
        answer = pages.answer(view, template, {**context, **_said(view, question)})
        if "column" in request.query_params:
            answer.cookies.append(remembered(COLUMNS_COOKIE, question.columns))
        return answer

    return [sessions]


def asked(request: AnyRequest) -> Question:
    """Return what a URL asks for; raises the problem that it asks for what no list has."""
    given = request.query_params
    texts = {name: given.get(name, "").strip() or None for name in FILTERS}
    if any(text is not None and (len(text) > TEXT_CHARACTERS_MAX or "\0" in text) for text in texts.values()):
        raise malformed(f"a filter has at most {TEXT_CHARACTERS_MAX} characters, and no NUL")
    sort = sort_of(request, SORTS, SORT_DEFAULT)
    columns = given.getall("column", [])
    follow = given.get("follow") or None
    query = {**texts, "sort": None if sort == SORT_DEFAULT else sort, "column": columns, "follow": follow}
    shown = columns_of(request, COLUMNS_COOKIE, COLUMNS, COLUMNS_DEFAULT)
    return Question(msgspec.convert(texts, CurrentFilter), sort, shown, given.get("cursor") or None, query)


async def _list(connection: Connection, paged: Paged, question: Question) -> dict[str, Any]:
    order, direction = SORTS[question.sort.removeprefix("-")], direction_of(question.sort)
    page = await page_at(
        paged.place(question.cursor),
        lambda place: current_page(connection, question.filters, order, direction, place, ROWS),
    )
    pending = {row[0] for row in await (await connection.execute(_PENDING)).fetchall()}
    return {
        "rows": [_row(row, pending) for row in page.rows],
        "places": event_id(await load_places(connection)),
        "counts": await current_counts(connection),
        "matching": await matching(connection, question.filters) if question.set_names else None,
        **ways(paged, page, question.query),
    }


def _row(row: Mapping[str, Any], pending: set[str]) -> Row:
    is_leaving = row["session_id"] in pending
    return Row(
        session_id=row["session_id"],
        user=row["user_name"] or row["user_id"],
        user_id=row["user_id"],
        desktop=row["desktop_name"] or row["desktop_id"],
        pool=row["desktop_pool"],
        terminal=row["terminal_type"],
        terminal_os=row["terminal_os"],
        login_at=row["login_at"],
        state="disconnecting" if is_leaving and row["state"] != "lost" else row["state"],
        seen_at=row["last_seen_at"],
        address=row["client_ip"],
        address_now=row["current_client_ip"],
        access=row["access"],
        broker=row["broker"],
        protocol=row["protocol"],
    )


def _said(view: View, question: Question) -> dict[str, Any]:
    """Return what the template needs beside the rows."""
    return {
        "question": question,
        "query": question.query,
        "path": f"{tenant_path(view)}/sessions",
        "here": with_query(question.query, cursor=question.cursor),
        "all_columns": COLUMNS,
    }
