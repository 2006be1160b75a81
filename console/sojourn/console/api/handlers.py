"""All handlers of the API, and the document that describes them."""

from collections.abc import Sequence
from typing import Final, TypeVar

from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.router import Router
from litestar.types import Guard
from msgspec import Struct

from sojourn.console.api.dead_letters import dead_letter_handlers
from sojourn.console.api.disconnects import disconnect_handlers
from sojourn.console.api.export_schedules import schedule_handlers
from sojourn.console.api.exports import export_handlers
from sojourn.console.api.freshness import freshness_handlers
from sojourn.console.api.history import history_handlers
from sojourn.console.api.parameters import HANDLERS, refuse_unknown
from sojourn.console.api.sessions import session_handlers
from sojourn.console.api.statistics import statistics_handlers
from sojourn.console.http.limits import Rate
from sojourn.console.http.problems import MEDIA_TYPE
from sojourn.console.site.access import AnyConnection
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Site

Handler = TypeVar("Handler", bound=BaseRouteHandler)

_TOKEN: Final = "token"  # noqa: S105 - the name of a scheme


class ProblemDocument(Struct, frozen=True, rename={"kind": "type"}):
    """What was wrong, as RFC 9457 has it; `type` stays the same from version to version."""

    kind: str
    title: str
    status: int
    detail: str | None = None


_PROBLEMS: Final = {
    400: "A parameter, a header or the body is not good; `detail` begins with its name.",
    401: "Nobody is known by this token, or none is shown.",
    403: "Who asks may not do this.",
    404: "There is no such thing, or it is another tenant's.",
    405: "The path takes other methods.",
    409: "The request contradicts itself, or what there is by now.",
    413: "The body is too large.",
    422: "The idempotency key was used for another request.",
    429: "Too many requests at once; `Retry-After` says when to send the next.",
    500: "An error of Sojourn; its log says where.",
    503: "The database or the log does not answer; `Retry-After` says when to ask again.",
}


def api_handlers(site: Site) -> list[Router]:
    """Return the handlers of the API, each with the answers that all may give."""
    handlers: list[HTTPRouteHandler] = [
        *session_handlers(site),
        *history_handlers(site),
        *freshness_handlers(site),
        *dead_letter_handlers(site),
        *disconnect_handlers(site),
        *export_handlers(site),
        *schedule_handlers(site),
        *statistics_handlers(site),
    ]
    guards = [_limited(Rate(advice="ask for larger pages, or open a stream")), refuse_unknown]
    return [
        Router(
            "/", route_handlers=described(handlers), guards=guards, exception_handlers=HANDLERS, security=[{_TOKEN: []}]
        )
    ]


def described(handlers: Sequence[Handler]) -> Sequence[Handler]:
    """Return the handlers; their description now tells the problems that all may answer."""
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            handler.responses = {**_problems(), **(handler.responses or {})}
    return handlers


def openapi() -> OpenAPIConfig:
    """Return how the API is described, at /v1/openapi.json."""
    token = SecurityScheme(type="http", scheme="bearer", description="A token of the API, `sja_…`.")
    return OpenAPIConfig(
        title="Sojourn",
        version="1",
        path="/v1",
        use_handler_docstrings=True,
        components=Components(security_schemes={_TOKEN: token}),
    )


def _problems() -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(ProblemDocument, generate_examples=False, description=text, media_type=MEDIA_TYPE)
        for status, text in _PROBLEMS.items()
    }


def _limited(rate: Rate) -> Guard:
    """Return a guard that lets an account or a token ask so often only."""

    def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:
        principal: Principal | None = connection.scope.get("user")
        if principal is not None:
            rate.spend(f"{principal.home}/{principal.actor}")

    return guard
