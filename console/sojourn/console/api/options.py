"""`OPTIONS`: which methods a path takes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from litestar import Response, route
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from sojourn.console.site.access import OPEN


def option_handlers(handlers: Iterable[BaseRouteHandler]) -> list[HTTPRouteHandler]:
    """Return handlers that name the methods of each path; Litestar's own know those of one handler only."""
    methods: defaultdict[str, set[str]] = defaultdict(set)
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            for path in handler.paths:
                methods[path] |= handler.http_methods
    return [_naming(path, sorted({*found, "OPTIONS"})) for path, found in methods.items()]


def _naming(path: str, methods: Sequence[str]) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", opt=OPEN, include_in_schema=False, status_code=204, sync_to_thread=False)
    def options() -> Response[None]:
        return Response(None, headers={"Allow": ", ".join(methods)})

    return options
