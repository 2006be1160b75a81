"""What the pages of both lists ask of a URL and a browser: an order, columns, and the pages beside this one."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from litestar.datastructures import Cookie

from sojourn.console.api.paging import Paged
from sojourn.console.http.problems import malformed
from sojourn.console.pages.render import AnyRequest, with_query
from sojourn.projections.listing import Direction, Page, Place

ROWS: Final = 100  # of one page: five screens, in less than 100 kB

_KEPT_SECONDS: Final = 365 * 86400  # one chooses columns once


def sort_of(request: AnyRequest, sorts: Collection[str], default: str) -> str:
    """Return the order that a URL names, with - before it where it falls; raises the problem that it is none."""
    sort: str = request.query_params.get("sort") or default
    if sort.removeprefix("-") not in sorts:
        raise malformed(f"the list is ordered by one of: {', '.join(sorts)}")
    return sort


def direction_of(sort: str) -> Direction:
    """Return which way an order goes."""
    return "descending" if sort.startswith("-") else "ascending"


def columns_of(request: AnyRequest, cookie: str, known: Collection[str], default: Sequence[str]) -> list[str]:
    """Return the columns that the URL names, else those that were chosen last, else the usual ones."""
    named = request.query_params.getall("column", [])
    chosen = named or request.cookies.get(cookie, ".".join(default)).split(".")
    return [name for name in known if name in chosen]


def remembered(cookie: str, columns: Sequence[str]) -> Cookie:
    """Return what lets the browser remember columns."""
    return Cookie(key=cookie, value=".".join(columns), max_age=_KEPT_SECONDS, samesite="lax", httponly=True, path="/t")


async def page_at(place: Place | None, read: Callable[[Place | None], Awaitable[Page]]) -> Page:
    """Return the page that begins at a place; where nothing stands there any more, the first one."""
    page = await read(place)
    return page if page.rows or place is None else await read(None)


def ways(paged: Paged, page: Page, query: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the links to the pages beside this one, `newer` and `older`."""
    beside = paged.beside(page)
    return {
        name: None if cursor is None else with_query(query, cursor=cursor)
        for name, cursor in (("newer", beside["previous"]), ("older", beside["next"]))
    }
