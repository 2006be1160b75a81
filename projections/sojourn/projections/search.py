"""Searching names without looking at all sessions: first which users and desktops are meant, then their sessions."""

import re
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.projections.read import Columns, CurrentFilter, HistoryFilter, address_range

NAMES_MAX: Final = 300  # more of them are so many sessions that going through the list in its order is faster

_ADDRESS: Final = re.compile(r"[0-9a-fA-F.:]+")


class Meant(NamedTuple):
    """Which ids a text means, of users and of desktops; None for so many that they narrow nothing down."""

    users: list[str] | None
    desktops: list[str] | None


async def narrowed(
    connection: AsyncConnection[Any], filters: CurrentFilter | HistoryFilter, c: Columns
) -> list[sa.ColumnElement[bool]]:
    """Return what an index can use of a filter, beside the filter itself; as the tenant's reader."""
    found = await _narrowed_state(connection, filters, c) if isinstance(filters, CurrentFilter) else []
    if filters.user is not None:
        users = await _find(connection, "user", filters.user)
        if users is not None:
            found.append(c.user_id.in_({*users, filters.user}))
    if filters.desktop is not None:
        desktops = await _find(connection, "desktop", filters.desktop)
        if desktops is not None:
            found.append(c.desktop_id.in_({*desktops, filters.desktop}))
    if filters.search is not None:
        users = await _find(connection, "user", filters.search)
        desktops = None if users is None else await _find(connection, "desktop", filters.search)
        if users is not None and desktops is not None:
            by_address = [address_range(c, filters.search)] if _ADDRESS.fullmatch(filters.search) else []
            found.append(sa.or_(c.user_id.in_(users), c.desktop_id.in_(desktops), *by_address))
    return found


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


async def _find(connection: AsyncConnection[Any], kind: str, text: str) -> list[str] | None:
    """Return the ids of the users or desktops with this text in id or name, None for too many, or for all."""
    if not text or (len(text) == 1 and text.isascii()):
        return None
    cursor = await connection.execute("SELECT sojourn_v1.find_names(%s, %s, %s)", [kind, text, NAMES_MAX + 1])
    found = [row[0] for row in await cursor.fetchall()]
    return None if len(found) > NAMES_MAX else sorted(set(found))
