"""The language that somebody chooses by hand, which their browser keeps."""

from typing import Final
from urllib.parse import urlsplit

from litestar import post
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from sojourn.console.http.problems import malformed
from sojourn.console.pages.render import LANGUAGE_COOKIE, AnyRequest
from sojourn.console.pages.words import LOCALES
from sojourn.console.site.access import OPEN

_KEPT_SECONDS: Final = 365 * 86400  # one chooses it once


def language_handler() -> HTTPRouteHandler:
    """Return the handler that keeps the choice and goes back to the page."""

    @post("/language", opt=OPEN, include_in_schema=False, status_code=303)
    async def choose(request: AnyRequest) -> Redirect:
        locale = (await request.form()).get("locale")
        if locale not in LOCALES:
            raise malformed("the pages do not speak this language")
        cookie = Cookie(key=LANGUAGE_COOKIE, value=str(locale), max_age=_KEPT_SECONDS, samesite="lax", httponly=True)
        return Redirect(came_from(request), status_code=303, cookies=[cookie])

    return choose


def came_from(request: AnyRequest) -> str:
    """Return the path of the page of this site that a form was on."""
    referer = urlsplit(request.headers.get("referer", ""))
    if referer.netloc != request.headers.get("host") or not referer.path.startswith("/"):
        return "/"
    path = "/" + referer.path.lstrip("/")  # //host would name another site
    return f"{path}?{referer.query}" if referer.query else path
