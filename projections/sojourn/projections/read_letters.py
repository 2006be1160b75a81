"""The queries about dead letters, over all tenants."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from psycopg import AsyncConnection

from sojourn.projections import tables
from sojourn.projections.listing import Page, Place, Unpaged, page_of
from sojourn.projections.read import stream


class Listed(NamedTuple):
    """A dead letter without its bytes; `parked_behind` counts what waits in the queue of its session behind it."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    tenant: str | None
    session_id: str | None
    appended_at: datetime
    parked_behind: int
    resolution: str | None
    resolved_offset: int | None
    resolved_appended_at: datetime | None
    waits: bool


class Shown(NamedTuple):
    """A dead letter with what the table keeps of its bytes; `headers` are pairs of name and hexadecimal value."""

    listed: Listed
    key: bytes | None
    headers: list[list[str]]
    value: bytes
    value_bytes: int
    mended: bytes | None


_letter = tables.dead_letters.alias("letter")
_other = tables.dead_letters.alias("other")
_BYTES = ("key", "headers", "value", "value_bytes", "mended")


def _order(letter: sa.FromClause) -> sa.Tuple:
    return sa.tuple_(sa.func.coalesce(letter.c.came_at, letter.c.appended_at), letter.c.offset)


def _columns() -> list[sa.ColumnElement[Any]]:
    behind = (
        sa.select(sa.func.count())
        .where(_letter.c.waits, _letter.c.reason != "parked", _other.c.waits)
        .where(_other.c.partition == _letter.c.partition, _other.c.tenant == _letter.c.tenant)
        .where(_other.c.session_id == _letter.c.session_id, _order(_other) > _order(_letter))
        .correlate(_letter)
        .scalar_subquery()
    )
    computed = {
        "parked_behind": behind.label("parked_behind"),
        "waits": sa.func.coalesce(_letter.c.waits, sa.false()).label("waits"),
    }
    return [computed[name] if name in computed else _letter.c[name] for name in Listed._fields]


async def dead_letters(connection: AsyncConnection[Any], *, resolved: bool = False) -> AsyncGenerator[Listed]:
    """Yield the dead letters that nobody has resolved, in the order of the log; `resolved` adds the others."""
    query = sa.select(*_columns()).order_by(
        _letter.c.topic.desc(), _letter.c.partition, _letter.c.offset, _letter.c.appended_at
    )
    if not resolved:
        query = query.where(_letter.c.resolution.is_(None))
    async with aclosing(stream(connection, query)) as rows:
        async for row in rows:
            yield Listed(*row)


async def letters_page(
    connection: AsyncConnection[Any], after: Place | None, rows_max: int, *, resolved: bool = False
) -> Page:
    """Return a page of the tenant's dead letters, the newest first, for a role that sees no others."""
    query = sa.select(*_columns()).where(_letter.c.tenant.is_not(None))
    if not resolved:
        query = query.where(_letter.c.resolution.is_(None))
    ties = (_letter.c.topic, _letter.c.partition, _letter.c.offset, _letter.c.appended_at)
    listed = Unpaged(query, Listed._fields, _letter.c.appended_at, ties, is_falling=True)
    return await page_of(connection, listed, after, rows_max)


async def letters_at(connection: AsyncConnection[Any], topic: str, partition: int, offset: int) -> list[Shown]:
    """Return the dead letters at an offset: several where a new log used it again, or one was refused once more."""
    query = (
        sa.select(*_columns(), *(_letter.c[name] for name in _BYTES))
        .where(_letter.c.topic == topic, _letter.c.partition == partition, _letter.c.offset == offset)
        .order_by(_letter.c.appended_at)
    )
    count = len(Listed._fields)
    async with aclosing(stream(connection, query)) as rows:
        return [Shown(Listed(*row[:count]), *row[count:]) async for row in rows]


async def queue_head(connection: AsyncConnection[Any], letter: Listed) -> Listed | None:
    """Return the letter for which a session waits; None where this one holds nothing back, and waits for nothing."""
    if not letter.waits:
        return None
    query = (
        sa.select(*_columns())
        .where(_letter.c.waits, _letter.c.partition == letter.partition)
        .where(_letter.c.tenant == letter.tenant, _letter.c.session_id == letter.session_id)
        .order_by(sa.func.coalesce(_letter.c.came_at, _letter.c.appended_at), _letter.c.offset)
        .limit(1)
    )
    async with aclosing(stream(connection, query)) as rows:
        async for row in rows:
            return Listed(*row)
    return None
