"""`GET /v1/dead-letters`: what brokers sent about the tenant's sessions and could not be read or applied."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import Struct

from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import PAGE_ROWS, Cursor, Limit
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site
from sojourn.projections.read_letters import letters_page

All = Annotated[bool, QueryParameter(name="all", description="Those that were resolved, too.")]


class DeadLetter(Struct, frozen=True):
    """A record with its place in the log and the reason; `parked_behind` counts the events that wait behind it."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    tenant: str
    session_id: str | None
    appended_at: datetime
    parked_behind: int
    resolution: str | None
    resolved_offset: int | None
    resolved_appended_at: datetime | None
    waits: bool


class DeadLettersAnswer(Struct, frozen=True):
    """A page of dead letters, the newest first."""

    dead_letters: list[DeadLetter]
    next: str | None
    previous: str | None


def dead_letter_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handler about dead letters."""

    @get(
        "/v1/dead-letters",
        opt=needs("audit"),
        operation_id="listDeadLetters",
        tags=["dead letters"],
        summary="What could not be read or applied",
    )
    async def dead_letters(
        request: AnyRequest, principal: Who, *, all_: All = False, limit: Limit = PAGE_ROWS, cursor: Cursor = None
    ) -> Response[DeadLettersAnswer]:
        """List the dead letters that name the tenant and that nobody has resolved, the newest first."""
        paged = Paged(await site.cursors(), principal.tenant, ["dead-letters", all_])
        place = paged.place(cursor)
        async with site.console(principal.tenant) as connection:
            page = await letters_page(connection, place, limit, resolved=all_)
        beside = paged.beside(page)
        answer = DeadLettersAnswer(msgspec.convert(page.rows, list[DeadLetter]), beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    return [dead_letters]
