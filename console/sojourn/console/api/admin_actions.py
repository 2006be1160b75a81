"""`GET /v1/admin-actions`: who did what, why, from where, and what came of it."""

from datetime import datetime
from typing import Annotated, Final

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from msgspec import Struct

from sojourn.console.api.parameters import Cursor, FilterText, check_range
from sojourn.console.api.users import ANSWERS, known_tenant
from sojourn.console.identity.trail import Act, ActFilter, page_of_acts
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Site

PAGE_ROWS_MAX: Final = 500  # 100 kB of acts
PAGE_ROWS: Final = 100  # of a page, unless the client says otherwise


class ActsAnswer(Struct, frozen=True):
    """A page of the trail, the newest first; `next` is the cursor of older ones."""

    admin_actions: list[Act]
    next: str | None


def admin_action_handlers(site: Site) -> list[HTTPRouteHandler]:
    """Return the handler of the trail."""

    @get(
        "/v1/admin-actions", opt=needs("audit"), operation_id="listAdminActions", tags=["audit"],
        summary="The trail of administrative acts", exception_handlers=ANSWERS,
    )  # fmt: skip
    async def acts(
        principal: Who,
        actor: FilterText = None,
        action: FilterText = None,
        from_: Annotated[datetime | None, QueryParameter(name="from", description="Not before this instant.")] = None,
        to: Annotated[datetime | None, QueryParameter(description="Before this instant.")] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS,
        cursor: Cursor = None,
    ) -> ActsAnswer:
        """List the acts of the tenant, refused ones too, the newest first."""
        which = ActFilter(actor, action, *check_range(from_, to))
        return ActsAnswer(*await page_of_acts(site, await known_tenant(site, principal), which, cursor, limit))

    return [acts]
