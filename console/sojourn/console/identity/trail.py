"""The trail of administrative acts, read from its end."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from sojourn.console.site.site import Connection
from sojourn.projections.listing import Page, Place, Unpaged, page_of, ties_by
from sojourn.projections.tables import INSTANT, admin_action

_COLUMNS: Final = ("action_id", "at", "actor", "action", "subject", "reason", "origin", "result")


class Act(Struct, frozen=True):
    """Who did what, why, from where, and what came of it."""

    action_id: UUID
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    origin: str | None
    result: str
    outcome: Literal["done", "refused"]


class ActFilter(Struct, frozen=True):
    """Which acts: all for which everything that is given holds."""

    actor: str | None = None
    action: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


async def acts_page(connection: Connection, tenant: str, which: ActFilter, after: Place | None, rows_max: int) -> Page:
    """Return a page of the trail, the newest first; its rows are those of `Act`."""
    c = admin_action.c
    rows = sa.select(*(c[name] for name in _COLUMNS)).where(c.tenant == tenant, *_conditions(which))
    ties = ties_by(c.action_id, c.at)
    page = await page_of(connection, Unpaged(rows, _COLUMNS, c.at, ties, is_falling=True), after, rows_max)
    return page._replace(rows=[{**row, "outcome": _outcome(row["result"])} for row in page.rows])


def _conditions(which: ActFilter) -> Iterator[sa.ColumnElement[bool]]:
    c = admin_action.c
    if which.actor is not None:
        yield sa.func.lower(c.actor) == sa.func.lower(which.actor)
    if which.action is not None:
        yield c.action == which.action
    if which.from_at is not None:
        yield c.at >= sa.literal(which.from_at, INSTANT)
    if which.to_at is not None:
        yield c.at < sa.literal(which.to_at, INSTANT)


def _outcome(result: str) -> Literal["done", "refused"]:
    """Tell whether an act was refused; commands to brokers keep their result as JSON."""
    if result.startswith("{"):
        try:
            return "refused" if msgspec.json.decode(result).get("outcome") == "refused" else "done"
        except msgspec.DecodeError:
            return "done"
    return "refused" if result.startswith("refused") else "done"
