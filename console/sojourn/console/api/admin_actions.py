"""`GET /v1/admin-actions`: who did what, why, from where, and what came of it."""

from typing import Annotated, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import Struct

from sojourn.console.api.paging import AnyRequest, Paged, link_header
from sojourn.console.api.parameters import DAY_OR_INSTANT, PAGE_ROWS, TEXT, Cursor, Limit, range_of
from sojourn.console.api.users import known_tenant
from sojourn.console.identity.trail import Act, ActFilter, acts_page
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site

_ACTOR: Final = "Who, as the trail names them, in any case."
_ACTION: Final = "What, as `user.add`."

Actor = Annotated[str | None, QueryParameter(description=_ACTOR, **TEXT)]
Action = Annotated[str | None, QueryParameter(description=_ACTION, **TEXT)]
NotBefore = Annotated[
    str | None, QueryParameter(name="from", schema_extra=DAY_OR_INSTANT, description="Not before this instant, or day.")
]
Before = Annotated[
    str | None, QueryParameter(name="to", schema_extra=DAY_OR_INSTANT, description="Before this instant, or day.")
]


class ActsAnswer(Struct, frozen=True):
    """A page of the trail, the newest first."""

    admin_actions: list[Act]
    next: str | None
    previous: str | None


def admin_action_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handler of the trail."""

    @get(
        "/v1/admin-actions",
        opt=needs("audit"),
        operation_id="listAdminActions",
        tags=["audit"],
        summary="The trail of administrative acts",
    )
    async def acts(
        request: AnyRequest,
        principal: Who,
        *,
        actor: Actor = None,
        action: Action = None,
        from_: NotBefore = None,
        to: Before = None,
        limit: Limit = PAGE_ROWS,
        cursor: Cursor = None,
    ) -> Response[ActsAnswer]:
        """List the acts of the tenant, refused ones too, the newest first."""
        which = ActFilter(actor, action, *range_of(from_, to))
        tenant = await known_tenant(site, principal)
        paged = Paged(await site.cursors(), tenant, ["admin-actions", which])
        place = paged.place(cursor)
        async with site.console(tenant) as connection:
            page = await acts_page(connection, tenant, which, place, limit)
        beside = paged.beside(page)
        answer = ActsAnswer(msgspec.convert(page.rows, list[Act]), beside["next"], beside["previous"])
        return Response(answer, headers=link_header(request, beside))

    return [acts]
