"""`/v1/sessions`: who is connected now, one session, and what happened to it."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Struct

from sojourn.console.api.filters import State
from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import PAGE_ROWS, Broker, Cursor, Desktop, From, Limit, Search, To, User, range_of
from sojourn.console.http.problems import Problem
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site
from sojourn.events.fields import Access, TerminalType
from sojourn.projections.counts import current_counts, matching
from sojourn.projections.listing import CurrentOrder, Direction, current_page
from sojourn.projections.read import CurrentFilter
from sojourn.projections.timeline import Entry, session_detail, timeline

_TAGS: Final = ["sessions"]

WithState = Annotated[State | None, QueryParameter(name="state")]  # the name itself is the framework's


class CurrentSession(Struct, frozen=True):
    """An open session; `ended_after` and `ended_before` of a lost one are between when it ended, if it did."""

    tenant: str
    session_id: str
    user_id: str
    user_name: str
    desktop_id: str
    desktop_name: str
    desktop_pool: str
    terminal_type: str
    terminal_os: str
    client_ip: str
    access: str
    protocol: str
    broker: str
    login_at: datetime
    state: str
    last_seen_at: datetime
    duration_seconds: float
    current_client_ip: str
    ended_after: datetime | None
    ended_before: datetime | None


class Count(Struct, frozen=True):
    """How many rows a list has; there are more than `rows` where `is_more`."""

    rows: int
    is_more: bool


class SessionsAnswer(Struct, frozen=True):
    """A page of the open sessions; `counts` are those of all of the tenant, `matching` of the filter."""

    as_of: datetime
    sessions: list[CurrentSession]
    counts: dict[str, int]
    matching: Count
    next: str | None
    previous: str | None


class SessionAnswer(Struct, frozen=True):
    """A session that is open, or the newest revision of one that has ended; what is unknown, or not yet, is null."""

    tenant: str
    session_id: str
    user_id: str | None
    user_name: str | None
    desktop_id: str | None
    desktop_name: str | None
    desktop_pool: str | None
    terminal_type: str | None
    terminal_os: str | None
    terminal_version: str | None
    terminal_name: str | None
    client_ip: str | None
    access: str | None
    protocol: str | None
    broker: str
    login_at: datetime | None
    state: str
    last_seen_at: datetime | None
    duration_seconds: float | None
    current_client_ip: str | None
    idle_seconds: int | None
    round_trip_ms: int | None
    logout_at: datetime | None
    online_seconds: float | None
    outcome: str | None
    reason: str | None
    reason_detail: str | None
    ended_after: datetime | None
    ended_before: datetime | None
    command: str | None
    predecessor: str | None
    revision: int
    partition: int
    offset: int
    appended_at: datetime


class TimelineAnswer(Struct, frozen=True):
    """What happened to a session, in the order of the log."""

    session_id: str
    events: list[Entry]


def session_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers about sessions, open or ended."""

    @get(
        "/v1/sessions",
        opt=needs("read"),
        operation_id="listSessions",
        tags=_TAGS,
        summary="Who is connected now",
    )
    async def sessions(
        request: AnyRequest,
        principal: Who,
        *,
        user: User = None,
        desktop: Desktop = None,
        terminal: FromQuery[TerminalType | None] = None,
        access: FromQuery[Access | None] = None,
        broker: Broker = None,
        state_: WithState = None,
        search: Search = None,
        from_: From = None,
        to: To = None,
        order: FromQuery[CurrentOrder] = "login_at",
        direction: FromQuery[Direction] = "descending",
        limit: Limit = PAGE_ROWS,
        cursor: Cursor = None,
    ) -> Response[SessionsAnswer]:
        """List the open sessions of the tenant, those who came last first unless another order is asked for."""
        filters = CurrentFilter(user, desktop, terminal, access, broker, *range_of(from_, to), state_, search)
        paged = Paged(await site.cursors(), principal.tenant, ["sessions", filters, order, direction])
        place = paged.place(cursor)
        async with site.reader(principal.tenant) as connection:
            as_of: Any = await (await connection.execute("SELECT now()")).fetchone()
            page = await current_page(connection, filters, order, direction, place, limit)
            counts = await current_counts(connection)
            found = (
                Count(sum(counts.values()), is_more=False)
                if filters == CurrentFilter()
                else Count(*await matching(connection, filters))
            )
        beside = paged.beside(page)
        rows = msgspec.convert(page.rows, list[CurrentSession])
        answer = SessionsAnswer(as_of[0], rows, counts, found, beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    return [sessions, *_one_handlers(site)]


def _one_handlers(site: Site) -> list[HTTPRouteHandler]:
    @get(
        "/v1/sessions/{session_id:str}",
        opt=needs("read"),
        operation_id="getSession",
        tags=_TAGS,
        summary="One session, open or ended",
    )
    async def session(principal: Who, session_id: FromPath[str]) -> SessionAnswer:
        """Show the session as it is, or as it ended in its newest revision."""
        refuse_nul(session_id)
        async with site.reader(principal.tenant) as connection:
            found = await session_detail(connection, session_id)
        if found is None:
            raise no_such_session()
        return msgspec.convert(found, SessionAnswer)

    @get(
        "/v1/sessions/{session_id:str}/timeline",
        opt=needs("read"),
        operation_id="getSessionTimeline",
        tags=_TAGS,
        summary="What happened to one session",
    )
    async def events(principal: Who, session_id: FromPath[str]) -> TimelineAnswer:
        """Tell every event with its place in the log, what became of it, what it changed, and its command."""
        refuse_nul(session_id)
        async with site.reader(principal.tenant) as connection:
            entries = await timeline(connection, session_id)
        if not entries:
            raise no_such_session()
        return TimelineAnswer(session_id, entries)

    return [session, events]


def refuse_nul(session_id: str) -> None:
    """Raise the problem that there is no such session, for an id that none can have and PostgreSQL does not take."""
    if "\0" in session_id:
        raise no_such_session()


def no_such_session() -> Problem:
    """Return the answer to the id of no session, or of another tenant's."""
    return Problem(404, "no-such-session", "no such session", "there is none of this id, open or ended")
