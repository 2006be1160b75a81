"""One session: what is known of it, and its timeline; a page of its own, which scripts show beside the list."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from sojourn.console.http.problems import Problem
from sojourn.console.pages.render import AnyRequest, Pages, View
from sojourn.console.pages.words import Words
from sojourn.console.site.access import Who, needs
from sojourn.projections.timeline import ENTRIES_MAX, Change, Entry, session_detail, timeline

DECIDED: Final = frozenset(
    {"lost", "recovered", "lost_ended", "disconnect_requested", "disconnect_expired"}
)  # what Sojourn itself says, not a broker

_SELDOM: Final = frozenset({"tenant", "command", "state"})  # said by the entry itself


class Shown(NamedTuple):
    """An entry as the template shows it."""

    entry: Entry
    title: str
    changes: list[tuple[str, str, str]]
    is_decided: bool
    gap_seconds: float | None
    why: str | None


def drawer_handlers(pages: Pages) -> list[HTTPRouteHandler]:
    """Return the handler of one session."""

    @get("/t/{tenant:str}/sessions/{path:path}", opt=needs("read"), include_in_schema=False)
    async def session(request: AnyRequest, principal: Who, path: FromPath[str]) -> Response[bytes]:
        session_id = path.removeprefix("/")  # brokers may have slashes in their ids
        if "\0" in session_id:
            raise _no_such_session()
        async with pages.site.reader(principal.tenant) as connection:
            view = await pages.view(request, principal, connection)
            found = await session_detail(connection, session_id)
            entries = await timeline(connection, session_id) if found is not None else []
        if found is None:
            raise _no_such_session()
        context = {
            "session": found,
            "entries": [_shown(entry, view) for entry in entries],
            "entries_left_out": len(entries) == ENTRIES_MAX,
            "title": found["user_name"] or found["user_id"] or found["session_id"],
        }
        return pages.answer(view, "_drawer.html" if view.is_part else "drawer.html", context)

    return [session]


def event_words(language: Words) -> Mapping[str, str]:
    """Return what events are called in a timeline."""
    _ = language.gettext
    return {
        "established": _("Connected"),
        "destroyed": _("Ended"),
        "heartbeat": _("Heartbeat"),
        "lost": _("Lost: its heartbeats stopped"),
        "recovered": _("Recovered: its heartbeats came again"),
        "lost_ended": _("Ended while lost"),
        "disconnect_requested": _("Disconnect requested"),
        "disconnect_delivered": _("Delivered to the broker"),
        "disconnect_acknowledged": _("Acknowledged by the broker"),
        "disconnect_failed": _("The broker did not do it"),
        "disconnect_expired": _("The time for it was over"),
    }


def cause_words(language: Words) -> Mapping[str, str]:
    """Return why a revision corrects the one before."""
    _ = language.gettext
    return {
        "earlier_established": _("a beginning came late that counts before the known one"),
        "earlier_destroyed": _("an end came late that counts before the known one"),
        "established_found": _("its beginning came after its end"),
        "end_found": _("its end was told after it had been taken for lost"),
        "reopened": _("it was heard of after it had been taken for lost"),
    }


def _no_such_session() -> Problem:
    return Problem(404, "no-such-session", "no such session", "there is none of this id that you may see")


def _shown(entry: Entry, view: View) -> Shown:
    titles = event_words(view.words)
    gap = None
    if entry.event_type in {"lost", "recovered", "lost_ended"} and entry.silent_from and entry.silent_to:
        gap = (entry.silent_to - entry.silent_from).total_seconds()
    return Shown(
        entry=entry,
        title=titles.get(entry.event_type, entry.event_type),
        changes=[_said(change, view) for change in entry.changes if change.field not in _SELDOM],
        is_decided=entry.event_type in DECIDED,
        gap_seconds=gap,
        why=None if entry.supersedes is None else cause_words(view.words).get(entry.cause or ""),
    )


def _said(change: Change, view: View) -> tuple[str, str, str]:
    return (
        field_words(view.words).get(change.field, change.field),
        _value(change.before, view),
        _value(change.after, view),
    )


def _value(value: Any, view: View) -> str:
    match value:
        case None | "":
            return "–"
        case datetime():
            return view.times.moment(value)
        case float():
            return view.times.span(value)
        case _:
            return str(value)


def field_words(language: Words) -> Mapping[str, str]:
    """Return what the fields of a session are called."""
    _ = language.gettext
    return {
        "user_id": _("User id"),
        "user_name": _("User"),
        "desktop_id": _("Desktop id"),
        "desktop_name": _("Desktop"),
        "desktop_pool": _("Pool"),
        "terminal_type": _("Terminal"),
        "terminal_os": _("Terminal system"),
        "terminal_version": _("Client version"),
        "terminal_name": _("Terminal name"),
        "client_ip": _("Address"),
        "access": _("Access"),
        "protocol": _("Protocol"),
        "broker": _("Broker"),
        "predecessor": _("Session before"),
        "login_at": _("Login"),
        "logout_at": _("Logout"),
        "online_seconds": _("Online time"),
        "outcome": _("Outcome"),
        "reason": _("Reason"),
        "reason_detail": _("Detail"),
        "ended_after": _("Ended after"),
        "ended_before": _("Ended before"),
    }
