"""The trail of administrative acts, read from its end."""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct

from sojourn.console.site.site import Connection, Site

# All acts of the connection's tenant; what a filter leaves out is null.
_ACTS: Final = """
    SELECT action_id, at, actor, action, subject, reason, origin, result FROM admin_action
    WHERE tenant = %(tenant)s
        AND (%(actor)s::text IS NULL OR lower(actor) = lower(%(actor)s))
        AND (%(action)s::text IS NULL OR action = %(action)s)
        AND (%(from)s::timestamptz IS NULL OR at >= %(from)s)
        AND (%(to)s::timestamptz IS NULL OR at < %(to)s)
        AND (%(before_at)s::timestamptz IS NULL OR (at, action_id) < (%(before_at)s, %(before_id)s))
    ORDER BY at DESC, action_id DESC LIMIT %(limit)s
"""


_Row = tuple[UUID, datetime, str, str, str, str | None, str | None, str]


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


class _Place(NamedTuple):
    """Where a page of the trail ended."""

    at: datetime
    action_id: UUID


async def page_of_acts(
    site: Site, tenant: str, which: ActFilter, cursor: str | None, limit: int
) -> tuple[list[Act], str | None]:
    """Return a page of the trail, the newest first, and the cursor of the next page.

    Raises the problem that the cursor is another list's.
    """
    cursors, about = await site.cursors(), ["admin-actions", which]
    before = None if cursor is None else cursors.open(tenant, about, cursor, _Place)
    async with site.console(tenant) as connection:
        found = await _read_acts(connection, tenant, which, before, limit + 1)
    shown = found[:limit]
    on = None if len(found) <= limit else cursors.seal(tenant, about, _Place(shown[-1].at, shown[-1].action_id))
    return shown, on


async def _read_acts(
    connection: Connection, tenant: str, which: ActFilter, before: _Place | None, limit: int
) -> list[Act]:
    """Return the newest acts, or those before a place."""
    values: dict[str, Any] = {
        "tenant": tenant,
        "actor": which.actor,
        "action": which.action,
        "from": which.from_at,
        "to": which.to_at,
        "before_at": None if before is None else before.at,
        "before_id": None if before is None else before.action_id,
        "limit": limit,
    }
    rows: list[_Row] = await (await connection.execute(_ACTS, values)).fetchall()
    return [Act(*row, _outcome(row[-1])) for row in rows]


def _outcome(result: str) -> Literal["done", "refused"]:
    """Tell whether an act was refused; commands to brokers keep their result as JSON."""
    if result.startswith("{"):
        try:
            return "refused" if msgspec.json.decode(result).get("outcome") == "refused" else "done"
        except msgspec.DecodeError:
            return "done"
    return "refused" if result.startswith("refused") else "done"
