"""Saved views: a list's filter, order and columns under a name, for the account that saved them."""

from typing import Final, NamedTuple

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from sojourn.console.http.problems import Problem, malformed
from sojourn.console.pages.render import AnyRequest, Pages, segment
from sojourn.console.site.access import Who, needs
from sojourn.console.site.principal import Principal
from sojourn.console.site.site import Site

PAGES: Final = ("sessions", "history")
NAME_CHARACTERS_MAX: Final = 60  # a line of the menu
QUERY_CHARACTERS_MAX: Final = 2000  # what every browser takes as a URL
VIEWS_MAX: Final = 50  # of one account and page: more are not found again

_LOAD: Final = "SELECT name, query FROM saved_view WHERE account_id = %s AND page = %s ORDER BY lower(name), name"
_SAVE: Final = """
    INSERT INTO saved_view (tenant, account_id, page, name, query, saved_at) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant, account_id, page, name) DO UPDATE SET query = excluded.query, saved_at = excluded.saved_at
"""
_DROP: Final = "DELETE FROM saved_view WHERE account_id = %s AND page = %s AND name = %s"


class SavedView(NamedTuple):
    """A name, and the query of the URL that it stands for."""

    name: str
    query: str


async def saved_views(site: Site, principal: Principal, page: str) -> list[SavedView] | None:
    """Return what the account saved for a page; None for who has no account, as a token."""
    if principal.account_id is None:
        return None
    async with site.console(principal.tenant) as connection:
        cursor = await connection.execute(_LOAD, [principal.account_id, page])
        return [SavedView(*row) for row in await cursor.fetchall()]


def view_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handlers that save a view and forget it."""

    @post("/t/{tenant:str}/views", opt=needs("read"), include_in_schema=False, status_code=303)
    async def save(request: AnyRequest, principal: Who) -> Redirect:
        form = await request.form()
        page, name, query = (str(form.get(field, "")).strip() for field in ("page", "name", "query"))
        query = query.lstrip("?")
        if page not in PAGES or principal.account_id is None:
            raise malformed("views are saved for lists, by who is signed in")
        if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
            raise Problem(400, "bad-name", "no name", f"a view's name has 1 to {NAME_CHARACTERS_MAX} characters")
        if len(query) > QUERY_CHARACTERS_MAX or not query.isprintable():
            raise malformed(f"a view's filter has at most {QUERY_CHARACTERS_MAX} characters")
        async with pages.site.console(principal.tenant) as connection:
            if form.get("drop"):
                await connection.execute(_DROP, [principal.account_id, page, name])
            else:
                cursor = await connection.execute(_LOAD, [principal.account_id, page])
                if len(await cursor.fetchall()) >= VIEWS_MAX:
                    raise Problem(409, "too-many-views", "too many views", f"at most {VIEWS_MAX}; drop one first")
                values = [principal.tenant, principal.account_id, page, name, query, pages.site.now()]
                await connection.execute(_SAVE, values)
        return Redirect(f"/t/{segment(principal.tenant)}/{page}" + (f"?{query}" if query else ""), status_code=303)

    return [save]
