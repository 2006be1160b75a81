"""The page of help: the keys, the words of the pages, and how a broker is connected."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from sojourn.console.pages.render import AnyRequest, Pages, View
from sojourn.console.site.access import Who, needs
from sojourn.console.site.principal import PLATFORM


def help_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handler of the help."""

    @get("/t/{tenant:str}/help", opt=needs("read"), include_in_schema=False)
    async def help_(request: AnyRequest, principal: Who) -> Response[bytes]:
        if principal.tenant == PLATFORM:
            view = View(request, principal, pages.site.now())
        else:
            async with pages.site.reader(principal.tenant) as connection:
                view = await pages.view(request, principal, connection)
        return pages.answer(
            view, "_help.html" if view.is_part else "help.html", {"origin": str(request.base_url).rstrip("/")}
        )

    return [help_]
