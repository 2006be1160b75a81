"""Searching names without looking at all sessions: first which users and desktops are meant, then their sessions."""

import re
from collections.abc import Sequence
from typing import Any, Final, get_args

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.events.fields import Reason
from sojourn.events.types import NORMAL_REASONS
from sojourn.projections.read import Columns, CurrentFilter, HistoryFilter, address_range

NAMES_MAX: Final = 2000  # more of them are so many sessions that going through the list in its order is faster

_REASONS: Final = {  # by whether they are normal
    True: sorted(NORMAL_REASONS),
    False: sorted({*get_args(Reason), "lost"} - NORMAL_REASONS),
}
_ADDRESS: Final = re.compile(r"[0-9a-fA-F.:]+")


async def narrowed(
    connection: AsyncConnection[Any], filters: CurrentFilter | HistoryFilter, c: Columns
) -> list[sa.ColumnElement[bool]]:
    """Return what an index can use of a filter, beside the filter itself; as the tenant's reader."""
    if isinstance(filters, CurrentFilter):
        found = await _narrowed_state(connection, filters, c)
    else:
        found = [] if filters.outcome is None else [c.reason.in_(_REASONS[filters.outcome == "normal"])]
    if filters.user is not None:
        (users,) = await _find(connection, filters.user, "user")
        if users is not None:
            found.append(_among(c.user_id, [*users, filters.user]))
    if filters.desktop is not None:
        (desktops,) = await _find(connection, filters.desktop, "desktop")
        if desktops is not None:
            found.append(_among(c.desktop_id, [*desktops, filters.desktop]))
    if filters.search is not None:
        users, desktops = await _find(connection, filters.search, "user", "desktop")
        if users is not None and desktops is not None:
            by_address = [address_range(c, filters.search)] if _ADDRESS.fullmatch(filters.search) else []
            found.append(sa.or_(_among(c.user_id, users), _among(c.desktop_id, desktops), *by_address))
    return found


def _among(column: sa.Column[Any], ids: list[str]) -> sa.ColumnElement[bool]:
    """Keep some ids, in one value: to write out a thousand costs more than to look for them."""
    return column == sa.any_(sa.literal(ids, sa.ARRAY(sa.Text)))


async def _narrowed_state(
    connection: AsyncConnection[Any], filters: CurrentFilter, c: Columns
) -> list[sa.ColumnElement[bool]]:
    if filters.state == "lost":
        return [c.lost_at.is_not(None)]
    if filters.state == "unconfirmed":
        cursor = await connection.execute(
            "SELECT DISTINCT broker FROM current_count WHERE state = 'unconfirmed' AND sessions > 0"
        )
        return [c.broker.in_([row[0] for row in await cursor.fetchall()])]
    return []


async def _find(connection: AsyncConnection[Any], text: str, *kinds: str) -> Sequence[list[str] | None]:
    """Return the ids of users or desktops with this text in id or name, None for too many, or for all."""
    if not text:
        return [None] * len(kinds)
    calls = ", ".join(["sojourn_v1.find_names(%s, %s, %s)"] * len(kinds))
    values = [value for kind in kinds for value in (kind, text, NAMES_MAX)]
    row = await (await connection.execute(f"SELECT {calls}".encode(), values)).fetchone()
    assert row is not None
    return [None if found is None else sorted(set(found)) for found in row]
