"""What goes wrong, told on a page to who reads pages: what happened, what to do, and the id of it in the log."""

import secrets
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import structlog
from litestar import Request, Response
from litestar.response import Redirect
from litestar.types import ExceptionHandlersMap
from msgspec.structs import replace

from sojourn.console.http.problems import HANDLERS, PREFIX, Problem
from sojourn.console.pages.language import came_from
from sojourn.console.pages.render import Pages, View
from sojourn.console.site.access import no_such_tenant
from sojourn.console.site.server import FRESH, HEADERS
from sojourn.projections.listing import TooManyToSort
from sojourn.projections.read import NoSuchTenant

_ID_BYTES: Final = 6  # names one line of a log
_SERVER_ERROR: Final = 500
_UNAUTHORIZED: Final = 401
_DOORS: Final = {"unauthorized": "/sign-in", "choose-password": "/account", "confirm-password": "/confirm"}
_NO_PAGES: Final = ("/v1/", "/static/", "/health")  # programs ask for these, whatever they say that they accept

_log = structlog.get_logger("sojourn.pages")


class _Told(msgspec.Struct):
    """What a problem's document says."""

    title: str
    status: int
    type: str = ""
    detail: str = ""


def problem_handlers(pages: Pages) -> ExceptionHandlersMap:
    """Return the handlers of what goes wrong: as a page where a page was asked for, as RFC 9457 has it elsewhere."""
    return {kind: _telling(pages, answerer) for kind, answerer in _ANSWERERS.items()}


def _no_such_tenant(_: Any, __: NoSuchTenant) -> Response[bytes]:
    return no_such_tenant().response()


def _too_many_to_sort(_: Any, error: TooManyToSort) -> Response[bytes]:
    return Problem(400, "too-many-to-sort", "too many to sort", str(error)).response()


_ANSWERERS: Final[ExceptionHandlersMap] = {
    **HANDLERS,
    NoSuchTenant: _no_such_tenant,
    TooManyToSort: _too_many_to_sort,
}


def _telling(pages: Pages, answerer: Any) -> Any:
    def tell(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        plain: Response[bytes] = answerer(request, error)
        return _page(pages, request, plain) if _wants_page(request) else plain

    return tell


def _wants_page(request: Request[Any, Any, Any]) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(_NO_PAGES)


def _page(pages: Pages, request: Request[Any, Any, Any], plain: Response[bytes]) -> Response[Any]:
    told = msgspec.json.decode(plain.content, type=_Told)
    view = View(request, request.scope.get("user"), pages.site.now())
    kind = told.type.removeprefix(PREFIX)
    if kind == "no-such-tenant" and view.principal is not None:  # whose pages nothing may lead to
        view.principal = replace(view.principal, tenant=view.principal.home)
    if kind in _DOORS and (request.method == "GET" or kind != "unauthorized"):
        return _to_door(view, _DOORS[kind], None if request.method == "GET" else came_from(request))
    request_id = secrets.token_hex(_ID_BYTES)
    log = _log.error if told.status >= _SERVER_ERROR else _log.info
    log("page.problem", request_id=request_id, status=told.status, problem=kind)
    context = {
        "problem": told,
        "kind": kind,
        "request_id": request_id,
        "home": request.path_params.get("tenant"),
        "is_read": request.method == "GET",
    }
    headers = {**HEADERS, "Cache-Control": FRESH, **_kept(plain)}
    return pages.answer(view, "problem.html", context, status=told.status, headers=headers)


def _to_door(view: View, door: str, form: str | None) -> Response[Any]:
    """Lead to the page where that can be mended, and from there back, to the form if one was sent."""
    after = form or (f"{view.path}?{view.query}" if view.query else view.path)
    path = f"{door}?" + urlencode({"next": after})
    headers = {**HEADERS, "Cache-Control": FRESH}
    if view.is_part:  # a script would put that page into the list
        return Response(b"", status_code=_UNAUTHORIZED, headers={**headers, "HX-Redirect": path})
    return Redirect(path, status_code=303, headers=headers)


def _kept(plain: Response[bytes]) -> dict[str, str]:
    return {name: value for name, value in plain.headers.items() if name.lower() in {"retry-after", "allow"}}
