"""All handlers of the API, behind what holds for each of them."""

from collections.abc import Sequence

from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.router import Router
from litestar.types import Guard

from sojourn.console.api.admin_actions import admin_action_handlers
from sojourn.console.api.dead_letters import dead_letter_handlers
from sojourn.console.api.disconnects import disconnect_handlers
from sojourn.console.api.document import TOKEN
from sojourn.console.api.export_schedules import schedule_handlers
from sojourn.console.api.exports import export_handlers
from sojourn.console.api.freshness import freshness_handlers
from sojourn.console.api.history import history_handlers
from sojourn.console.api.options import option_handlers
from sojourn.console.api.parameters import HANDLERS, refuse_unknown
from sojourn.console.api.problems import described
from sojourn.console.api.requests import JsonRequest
from sojourn.console.api.sessions import session_handlers
from sojourn.console.api.statistics import statistics_handlers
from sojourn.console.api.stream import stream_handlers
from sojourn.console.api.tokens import token_handlers
from sojourn.console.api.users import user_handlers
from sojourn.console.http.limits import Rate
from sojourn.console.identity.accounts import Accounts
from sojourn.console.site.access import AnyConnection, Gate
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Site
from sojourn.console.stream.hub import Hub


def api_handlers(site: Site, gate: Gate, hub: Hub, accounts: Accounts) -> list[HTTPRouteHandler]:
    """Return the handlers of all operations."""
    return [
        *session_handlers(site),
        *history_handlers(site),
        *freshness_handlers(site),
        *stream_handlers(hub, gate),
        *statistics_handlers(site),
        *disconnect_handlers(site),
        *export_handlers(site),
        *schedule_handlers(site),
        *dead_letter_handlers(site),
        *admin_action_handlers(site),
        *user_handlers(site, accounts),
        *token_handlers(site),
    ]


def api_router(handlers: Sequence[HTTPRouteHandler]) -> Router:
    """Return the handlers with what all of them refuse, answer and are described by."""
    return Router(
        "/",
        route_handlers=[*option_handlers(handlers), *described(handlers)],
        guards=[_limited(Rate(advice="ask for larger pages, or open a stream")), refuse_unknown],
        exception_handlers=HANDLERS,
        request_class=JsonRequest,
        security=[{TOKEN: []}],
    )


def _limited(rate: Rate) -> Guard:
    """Return a guard that lets an account or a token ask so often only."""

    def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:
        principal: Principal | None = connection.scope.get("user")
        if principal is not None:
            rate.spend(f"{principal.home}/{principal.actor}")

    return guard
