"""The application of the console: the API, the pages, and beside them what the process serves anyway."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.router import Router
from litestar.types import ExceptionHandlersMap, Message, Scope

from sojourn.console.site.access import Gate, access, principal_of
from sojourn.console.site.paths import divide

# What every answer of the site says to a browser: run nothing but our own files, and be shown in no other page.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
FRESH: Final = "no-store"  # for all that names no other: what one saw is not kept for the next

BODY_BYTES_MAX: Final = 1 << 20  # a thousand ids of sessions; the gateway judges events by itself

_RAW_HEADERS: Final = [(k.lower().encode(), v.encode()) for k, v in {**HEADERS, "Cache-Control": FRESH}.items()]

Handlers = Sequence[BaseRouteHandler | Router]


def site_router(gate: Gate, handlers: Handlers) -> Router:
    """Return the handlers with a guard before them; each tells `principal` who asks, where its route needs to know."""
    return Router(
        "/",
        route_handlers=handlers,
        guards=[access(gate)],
        dependencies={"principal": Provide(principal_of)},
        request_max_body_size=BODY_BYTES_MAX,
    )


def site_app(handlers: Handlers, openapi: OpenAPIConfig | None, problems: ExceptionHandlersMap) -> Litestar:
    """Return the application; `problems` tell what goes wrong."""
    return _Application(
        handlers, openapi_config=openapi, logging_config=None, exception_handlers=problems, before_send=[_guard]
    )


class _Application(Litestar):
    """Finds handlers by the path as it was sent."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        divide(scope)
        await super().__call__(scope, receive, send)


async def _guard(message: Message, _: Scope) -> None:
    """Add `HEADERS` to all that is answered: pages, problems, redirects, files, streams."""
    if message["type"] == "http.response.start":
        given = {name.lower() for name, _ in message["headers"]}
        message["headers"] = [*message["headers"], *(pair for pair in _RAW_HEADERS if pair[0] not in given)]
