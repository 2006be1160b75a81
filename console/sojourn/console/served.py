"""What one process serves over HTTP: the pages and the API, and beside them HTTP in and answers about its health."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.router import Router

from sojourn.console.api.document import openapi
from sojourn.console.api.handlers import api_handlers, api_router
from sojourn.console.api.options import option_handlers
from sojourn.console.http.commands import command_handlers
from sojourn.console.http.events import event_handler
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.server import StoppingServer, stopping_server
from sojourn.console.identity.accounts import Accounts
from sojourn.console.identity.gate import Gate
from sojourn.console.identity.oidc import OtherSignIn
from sojourn.console.identity.passwords import Passwords
from sojourn.console.identity.signing_in import SigningIn
from sojourn.console.pages.handlers import page_handlers
from sojourn.console.pages.people import audit_page_handlers, token_page_handlers, user_page_handlers
from sojourn.console.pages.problem import problem_handlers
from sojourn.console.pages.render import Pages
from sojourn.console.pages.signing_in import own_account_handlers, sign_in_handlers
from sojourn.console.site.server import site_app, site_router
from sojourn.console.site.settings import SiteSettings
from sojourn.console.site.site import Site
from sojourn.console.stream.hub import Hub
from sojourn.events.embedded.database import Database
from sojourn.events.log import Log


def served(
    database: Database,
    log: Log,
    data_dir: Path,
    gateway: Gateway | None,
    others: Sequence[HTTPRouteHandler],
    destinations: Mapping[str, Path] = MappingProxyType({}),
    settings: SiteSettings = SiteSettings(),  # noqa: B008 - frozen
) -> StoppingServer:
    """Return a server of all handlers; with a gateway, brokers publish here as well."""
    site = Site(database, log, data_dir, destinations)
    pages = Pages(site)
    gate = Gate(site, settings)
    hub = Hub(site)
    passwords = Passwords()
    accounts = Accounts(site, passwords)
    operations = api_handlers(site, gate, hub, accounts)
    shown = [*page_handlers(pages), *_identity_handlers(pages, gate, passwords, accounts)]
    own = site_router(gate, [api_router(operations), *option_handlers(shown), *shown])
    beside: list[BaseRouteHandler] = [*others]
    if gateway is not None:
        beside += [event_handler(gateway), *command_handlers(gateway)]
    beneath = Router("/", route_handlers=beside, include_in_schema=False)
    app = site_app([own, beneath], openapi(operations), problem_handlers(pages))

    def stop() -> None:
        hub.stop()
        if gateway is not None:
            gateway.stop()

    return stopping_server(app, stop, [hub.aclose, site.close, *([] if gateway is None else [gateway.close])])


def _identity_handlers(pages: Pages, gate: Gate, passwords: Passwords, accounts: Accounts) -> list[BaseRouteHandler]:
    """Return the handlers of the pages about who somebody is, and who did what."""
    signing_in = SigningIn(pages.site, passwords)
    oidc = gate.settings.oidc
    other = None if oidc is None else OtherSignIn(pages.site, oidc)
    return [
        *sign_in_handlers(pages, gate, signing_in, other),
        *own_account_handlers(pages, gate, signing_in),
        *user_page_handlers(pages, accounts),
        *token_page_handlers(pages),
        *audit_page_handlers(pages),
    ]
