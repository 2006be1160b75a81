"""How sessions ended, in words: why, between which instants, who disconnected them, and what was corrected."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sojourn.console.pages.render import View
from sojourn.console.pages.terms import REASONS
from sojourn.console.site.site import Connection
from sojourn.projections.statements import statement

LOST: Final = "lost"

_CORRECTED_REVISION_MIN: Final = 3  # the first opened the session, the second ended it
_SHORT_SECONDS: Final = 60  # within them two instants may show the same minute


class Order(NamedTuple):
    """Who asked for a session to be disconnected, and why."""

    by: str
    reason: str | None


class Taken(NamedTuple):
    """How a session was taken to have ended, before something else was known."""

    logout_at: datetime
    reason: str
    ended_after: datetime | None
    ended_before: datetime | None


class Told(NamedTuple):
    """What is known of the ends of some sessions beside their rows, by session."""

    orders: Mapping[str, Order]
    corrected: Mapping[str, Taken]


class Ending(NamedTuple):
    """An end in words: what happened, more about it, and what was corrected; empty for nothing."""

    text: str
    detail: str
    correction: str
    is_lost: bool


async def told(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Told:
    """Return what else is known of the rows of a page of the history, as the tenant's reader."""
    named = {row["session_id"]: row["command"] for row in rows if row["command"]}
    revised = [row["session_id"] for row in rows if row["revision"] >= _CORRECTED_REVISION_MIN]
    orders: dict[str, Order] = {}
    corrected: dict[str, Taken] = {}
    if named:
        values = {"session_ids": list(named), "command_ids": list(named.values())}
        cursor = await connection.execute(statement("load_orders"), values)
        orders = {row[0]: Order(*row[1:]) for row in await cursor.fetchall()}
    if revised:
        cursor = await connection.execute(statement("load_corrected"), {"session_ids": revised})
        corrected = {row[0]: Taken(*row[1:]) for row in await cursor.fetchall()}
    return Told(orders, corrected)


def ending(row: Mapping[str, Any], known: Told, view: View) -> Ending:
    """Return how a session ended."""
    say = view.words.gettext
    is_lost = row["reason"] == LOST
    text, detail = say(REASONS.get(row["reason"], row["reason"])), ""
    order = known.orders.get(row["session_id"]) if row["command"] else None
    if is_lost and row["ended_before"] is not None:
        detail = _between(row["ended_after"] or row["logout_at"], row["ended_before"], view)
    elif order is not None:
        text = say("disconnected by %(name)s") % {"name": order.by}
        detail = f"“{order.reason}”" if order.reason else ""
    before = known.corrected.get(row["session_id"])
    correction = "" if before is None else say("corrected; was: %(end)s") % {"end": _was(before, view)}
    return Ending(text, detail, correction, is_lost)


def _was(taken: Taken, view: View) -> str:
    text = view.words.gettext(REASONS.get(taken.reason, taken.reason))
    if taken.ended_before is not None:
        return f"{text} {_between(taken.ended_after or taken.logout_at, taken.ended_before, view)}"
    return f"{text} {view.times.moment(taken.logout_at)}"


def _between(first: datetime, last: datetime, view: View) -> str:
    times = view.times
    clock = times.clock_seconds if (last - first).total_seconds() <= _SHORT_SECONDS else times.clock
    if times.day(first) != times.day(last):
        clock = times.moment
    return view.words.gettext("between %(first)s and %(last)s") % {"first": clock(first), "last": clock(last)}
