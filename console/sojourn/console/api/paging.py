"""Pages of lists over HTTP: signed cursors in the body, and as links in the header that RFC 8288 describes."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Request

from sojourn.console.site.cursors import Cursors
from sojourn.projections.listing import Page, Place

AnyRequest = Request[Any, Any, Any]


class Paged:
    """One list as one tenant reads it: its cursors go on with this list, filter and order only."""

    def __init__(self, cursors: Cursors, tenant: str, about: Any) -> None:
        self._cursors, self._tenant, self._about = cursors, tenant, about

    def place(self, cursor: str | None) -> Place | None:
        """Return where the page begins; raises the problem that the cursor is another list's."""
        return None if cursor is None else self._cursors.open(self._tenant, self._about, cursor, Place)

    def beside(self, page: Page) -> dict[str, str | None]:
        """Return the cursors of the pages beside this one, `next` and `previous`."""
        return {"next": self._seal(page.next), "previous": self._seal(page.previous)}

    def _seal(self, place: Place | None) -> str | None:
        return None if place is None else self._cursors.seal(self._tenant, self._about, place)


def link_header(request: AnyRequest, beside: Mapping[str, str | None]) -> dict[str, str]:
    """Return the header with the links to the pages beside, if there are any."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    links = [
        f'<{request.url.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="{relation}"'
        for relation, cursor in (("next", beside["next"]), ("prev", beside["previous"]))
        if cursor is not None
    ]
    return {"Link": ", ".join(links)} if links else {}
