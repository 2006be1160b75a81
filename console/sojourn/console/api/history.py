"""`/v1/history`: the sessions that have ended."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from msgspec import Struct

from sojourn.console.api.filters import EndReason, Outcome
from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import PAGE_ROWS, Broker, Cursor, Desktop, From, Limit, Search, To, User, range_of
from sojourn.console.api.sessions import Count
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site
from sojourn.events.fields import Access, TerminalType
from sojourn.projections.counts import matching
from sojourn.projections.listing import Direction, HistoryOrder, history_page
from sojourn.projections.read import HistoryFilter


class EndedSession(Struct, frozen=True):
    """A session that has ended, in its newest revision; of one whose login is unknown, only the end is known."""

    tenant: str
    session_id: str
    user_id: str | None
    user_name: str | None
    desktop_id: str | None
    desktop_name: str | None
    desktop_pool: str | None
    terminal_type: str | None
    terminal_os: str | None
    client_ip: str | None
    access: str | None
    protocol: str | None
    broker: str
    login_at: datetime | None
    logout_at: datetime
    online_seconds: float | None
    outcome: str
    reason: str
    ended_after: datetime | None
    ended_before: datetime | None
    command: str | None
    revision: int


class HistoryAnswer(Struct, frozen=True):
    """A page of the ended sessions; `matching` counts those of the filter."""

    as_of: datetime
    sessions: list[EndedSession]
    matching: Count
    next: str | None
    previous: str | None


def history_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handler of the historical list."""

    @get(
        "/v1/history",
        opt=needs("read"),
        operation_id="listHistory",
        tags=["history"],
        summary="The sessions that have ended",
    )
    async def history(
        request: AnyRequest,
        principal: Who,
        *,
        user: User = None,
        desktop: Desktop = None,
        outcome: FromQuery[Outcome | None] = None,
        from_: From = None,
        to: To = None,
        terminal: FromQuery[TerminalType | None] = None,
        access: FromQuery[Access | None] = None,
        reason: FromQuery[EndReason | None] = None,
        broker: Broker = None,
        search: Search = None,
        order: FromQuery[HistoryOrder] = "logout_at",
        direction: FromQuery[Direction] = "descending",
        limit: Limit = PAGE_ROWS,
        cursor: Cursor = None,
    ) -> Response[HistoryAnswer]:
        """List the ended sessions of the tenant, those who left last first unless another order is asked for."""
        span = range_of(from_, to)
        filters = HistoryFilter(user, desktop, outcome, *span, terminal, access, reason, broker, search)
        paged = Paged(await site.cursors(), principal.tenant, ["history", filters, order, direction])
        place = paged.place(cursor)
        async with site.reader(principal.tenant) as connection:
            as_of: Any = await (await connection.execute("SELECT now()")).fetchone()
            page = await history_page(connection, filters, order, direction, place, limit)
            found = await matching(connection, filters)
        beside = paged.beside(page)
        rows = msgspec.convert(page.rows, list[EndedSession])
        answer = HistoryAnswer(as_of[0], rows, Count(*found), beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    return [history]
