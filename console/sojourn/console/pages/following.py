"""What has come of a request to disconnect: a strip above the list that follows each command, and a page of each."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.http.problems import Problem
from sojourn.console.pages.drawer import event_words
from sojourn.console.pages.render import AnyRequest, Pages, View
from sojourn.console.site.access import Who, needs
from sojourn.console.site.site import Connection
from sojourn.projections.read import statement_of
from sojourn.projections.read_commands import COMMAND_COLUMNS, commands_query, load_steps
from sojourn.projections.read_requests import Followed, Request, find_request, follow
from sojourn.projections.requests import Answer

_WAYPOINTS: Final = ("requested", "delivered", "acknowledged")  # what comes before the end, in this order

_NAMES: Final = """
    SELECT DISTINCT ON (session_id) session_id, coalesce(nullif(user_name, ''), user_id),
        coalesce(nullif(desktop_name, ''), desktop_id)
    FROM session_revision WHERE session_id = ANY (%s) ORDER BY session_id, appended_at DESC, "offset" DESC
"""


class Whose(NamedTuple):
    """Who is connected to what."""

    name: str
    desktop: str | None = None


class Line(NamedTuple):
    """One command in the strip; `state` is how it ended, None while it is on its way."""

    name: str
    session_id: str
    command_id: str | None
    passed: Sequence[str]
    state: str | None
    at: datetime | None
    detail: str | None


class Strip(NamedTuple):
    """One request; `waiting` commands are not concluded, and none is carried out after `expires_at`."""

    request: Request
    lines: Sequence[Line]
    waiting: int
    expires_at: datetime


async def load_strip(connection: Connection, view: View, request_id: str | None) -> Strip | None:
    """Return the request that a URL follows, as the tenant's reader; None for none that one may follow."""
    if request_id is None or not view.may("disconnect"):
        return None
    try:
        asked = await find_request(connection, UUID(request_id))
    except ValueError:
        return None
    assert view.principal is not None
    if asked is None:
        return None
    followed = await follow(connection, view.principal.tenant, asked.answers)
    names = await names_of(connection, [answer.session_id for answer in asked.answers])
    lines = [_line(answer, followed.get(answer.command_id or ""), names) for answer in asked.answers]
    waiting = sum(line.state is None for line in lines)
    return Strip(asked, lines, waiting, asked.requested_at + timedelta(seconds=asked.expires_seconds))


async def names_of(connection: Connection, session_ids: Iterable[str]) -> dict[str, Whose]:
    """Return whose sessions these are, as the tenant's reader; one of which nothing is known goes by its id."""
    session_ids = list(session_ids)
    cursor = await connection.execute(_NAMES, [session_ids])
    known = {session_id: Whose(user or session_id, desktop) for session_id, user, desktop in await cursor.fetchall()}
    return {session_id: known.get(session_id, Whose(session_id)) for session_id in session_ids}


def command_page_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handler of the page that traces one command."""

    @get("/t/{tenant:str}/commands/{command_id:str}", opt=needs("read"), include_in_schema=False)
    async def command(request: AnyRequest, principal: Who, command_id: FromPath[str]) -> Response[bytes]:
        if "\0" in command_id:
            raise _no_such_command()
        async with pages.site.reader(principal.tenant) as connection:
            view = await pages.view(request, principal, connection)
            text, values = statement_of(commands_query(command_id=command_id))
            row = await (await connection.execute(text, values)).fetchone()
            if row is None:
                raise _no_such_command()
            found = dict(zip(COMMAND_COLUMNS, row, strict=True))
            steps = await load_steps(connection, principal.tenant, command_id)
            names = await names_of(connection, [found["session_id"]])
        context = {
            "command": found,
            "steps": steps,
            "titles": {
                **event_words(view.words),
                "destroyed": view.words.gettext("Confirmed: the session ended"),  # only an end that the command made
            },
            "name": names[found["session_id"]].name,
        }
        return pages.answer(view, "command.html", context)

    return [command]


def _line(answer: Answer, followed: Followed | None, names: dict[str, Whose]) -> Line:
    name = names[answer.session_id].name
    if answer.status == "refused":
        return Line(name, answer.session_id, None, [], "refused", None, answer.detail)
    standing = None if followed is None else followed.standing
    seen = {"requested"} | {
        step.event_type.removeprefix("disconnect_") for step in ([] if followed is None else followed.steps)
    }
    passed = [word for word in _WAYPOINTS if word in seen]
    if standing is None or standing.concluded_at is None:
        return Line(name, answer.session_id, answer.command_id, passed, None, None, None)
    return Line(
        name,
        answer.session_id,
        answer.command_id,
        [word for word in passed if word != standing.state],
        standing.state,
        standing.concluded_at,
        standing.detail,
    )


def _no_such_command() -> Problem:
    return Problem(404, "not-found", "no such command", "there is none of this id that you may see")
