"""The queries over one tenant that users compose, and how they are run: as the reader, from one snapshot, streamed."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, LiteralString

import sqlalchemy as sa
from msgspec import Struct
from psycopg import AsyncConnection, sql
from sqlalchemy.dialects.postgresql import psycopg as dialects
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from sojourn.events.errors import SojournError, UsageError
from sojourn.projections import tables

_IDENTITY: Final = (
    "tenant",
    "session_id",
    "user_id",
    "user_name",
    "desktop_id",
    "desktop_name",
    "desktop_pool",
    "terminal_type",
    "terminal_os",
    "client_ip",
    "access",
    "protocol",
    "broker",
    "login_at",
)
_INTERVAL: Final = ("ended_after", "ended_before")  # of what is lost, or ended so
CURRENT_COLUMNS: Final = (*_IDENTITY, "state", "last_seen_at", "duration_seconds", "current_client_ip", *_INTERVAL)
HISTORY_COLUMNS: Final = (
    *_IDENTITY,
    "logout_at",
    "online_seconds",
    "outcome",
    "reason",
    *_INTERVAL,
    "command",
    "revision",
)

STATES: Final = ("active", "lost", "unconfirmed")

CHUNK_ROWS_MAX: Final = 2000  # half a megabyte: a round trip is then a hundredth of the time that its rows take

_HIGHEST: Final = chr(0x10FFFF)  # no address has it
_SHOWN: Final = {"from_at": "from", "to_at": "to"}  # as the command line and manifests call them
# In one round trip: a page has few others. A plan that fits any filter fits none.
_SNAPSHOT: Final = sql.SQL(
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL ROLE {}; SET LOCAL search_path = sojourn; "
    "SET LOCAL TimeZone = 'UTC'; SET LOCAL plan_cache_mode = force_custom_plan; "
)
_DIALECT: Final = dialects.dialect()  # type: ignore[no-untyped-call]

Rows = sa.Select[*tuple[Any, ...]]
Columns = ReadOnlyColumnCollection[str, Any]
Conditions = Iterator[sa.ColumnElement[bool]]


class NoSuchTenant(SojournError):
    """the tenant does not exist"""

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"no such tenant; one exists from its first event on, so check the name, or publish an event: {tenant!r}"
        )
        self.tenant = tenant


class CurrentFilter(Struct, frozen=True, omit_defaults=True, rename=_SHOWN):
    """Which open sessions; `user` and `desktop` are an id, or a part of the name in any case.

    `from_at` and `to_at` keep those that overlap [from, to). `search` is a part of a user's or a desktop's id or name
    in any case, or the beginning of the address at login.
    """

    user: str | None = None
    desktop: str | None = None
    terminal: str | None = None
    access: str | None = None
    broker: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None
    state: str | None = None
    search: str | None = None


class HistoryFilter(Struct, frozen=True, omit_defaults=True, rename=_SHOWN):
    """Which sessions of the history; `user`, `desktop`, `search` and the range are those of `CurrentFilter`.

    A session whose login is unknown lasted for the instant of its logout.
    """

    user: str | None = None
    desktop: str | None = None
    outcome: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None
    terminal: str | None = None
    access: str | None = None
    reason: str | None = None
    broker: str | None = None
    search: str | None = None


def current_query(filters: CurrentFilter) -> Rows:
    """Return `CURRENT_COLUMNS` of the open sessions, by login and session id."""
    c = tables.current_session.c
    return current_rows(filters).order_by(c.login_at, by_bytes(c.session_id), c.offset)


def current_rows(filters: CurrentFilter) -> Rows:
    """Return `CURRENT_COLUMNS` of the open sessions, in no order."""
    c = tables.current_session.c
    # As of the transaction: every row of a list is as old as the others.
    duration = sa.cast(sa.func.greatest(0, sa.extract("epoch", sa.func.now() - c.login_at)), sa.Double)
    computed = {"duration_seconds": duration.label("duration_seconds")}
    columns = (computed[name] if name in computed else c[name] for name in CURRENT_COLUMNS)
    return sa.select(*columns).where(*current_conditions(c, filters))


def current_conditions(c: Columns, filters: CurrentFilter) -> Conditions:
    """Yield what a filter says of the columns of an open session."""
    yield from _named(c, filters)
    if filters.state in STATES:
        # Not as an equality: the planner would expect hardly any row, and sort all of them for a page.
        yield c.state.not_in([state for state in STATES if state != filters.state])
    else:
        yield from _equal(c.state, filters.state)
    yield from _searched(c, filters.search)
    yield from _begun(c, filters)
    yield from _open_since(filters)


def history_query(filters: HistoryFilter, *, with_open: bool = False, revisions: bool = False) -> Rows:
    """Return `HISTORY_COLUMNS` of the ended sessions; `with_open` adds the open ones, `revisions` all revisions.

    A row stands at the instant of its logout, or of its login while that is open; then come session id and offset.
    """
    if revisions:
        c = tables.session_revision.c
        return _history_rows(c, filters, some_open=True).order_by(
            sa.func.coalesce(c.logout_at, c.login_at), by_bytes(c.session_id), c.offset
        )
    ended = tables.ended_session.c
    if not with_open:
        return ended_rows(filters).order_by(ended.logout_at, by_bytes(ended.session_id), ended.offset)
    rows = sa.union_all(_history_rows(ended, filters).add_columns(ended.offset), _open_rows(filters)).subquery()
    return sa.select(*(rows.c[name] for name in HISTORY_COLUMNS)).order_by(
        sa.func.coalesce(rows.c.logout_at, rows.c.login_at), by_bytes(rows.c.session_id), rows.c.offset
    )


def ended_rows(filters: HistoryFilter) -> Rows:
    """Return `HISTORY_COLUMNS` of the ended sessions, in no order."""
    return _history_rows(tables.ended_session.c, filters)


def _history_rows(c: Columns, filters: HistoryFilter, *, some_open: bool = False) -> Rows:
    return sa.select(*(c[name] for name in HISTORY_COLUMNS)).where(*history_conditions(c, filters, some_open=some_open))


def history_conditions(c: Columns, filters: HistoryFilter, *, some_open: bool = False) -> Conditions:
    """Yield what a filter says of the columns of an ended session."""
    yield from _named(c, filters)
    yield from _equal(c.outcome, filters.outcome)
    yield from _equal(c.reason, filters.reason)
    yield from _searched(c, filters.search)
    yield from _begun(c, filters)
    yield from _lasting(c, filters, some_open=some_open)


def _open_rows(filters: HistoryFilter) -> Rows:
    c = tables.current_session.c
    columns = (c[name] if name in c else sa.null().label(name) for name in HISTORY_COLUMNS)
    rows = sa.select(*columns, c.offset).where(*_named(c, filters), *_begun(c, filters), *_open_since(filters))
    has_ended = filters.outcome is not None or filters.reason is not None
    return rows.where(sa.false()) if has_ended else rows.where(*_searched(c, filters.search))


def _named(c: Columns, filters: CurrentFilter | HistoryFilter) -> Conditions:
    for name in ("user", "desktop"):
        text = _utf8(getattr(filters, name))
        if text is not None:
            yield sa.or_(c[f"{name}_id"] == text, c[f"{name}_name"].icontains(text, autoescape=True))
    yield from _equal(c.terminal_type, filters.terminal)
    yield from _equal(c.access, filters.access)
    yield from _equal(c.broker, filters.broker)


def _searched(c: Columns, search: str | None) -> Conditions:
    text = _utf8(search)
    if text is not None:
        named = (c.user_id, c.user_name, c.desktop_id, c.desktop_name)
        yield sa.or_(
            *(column.icontains(text, autoescape=True) for column in named),
            address_range(c, text),
        )


def address_range(c: Columns, text: str) -> sa.ColumnElement[bool]:
    """Tell whether the address at login begins with a text, in a way that an index can be used for."""
    address = by_bytes(c.client_ip)
    return sa.and_(address >= text, address < text + _HIGHEST)


def _equal(column: sa.Column[Any], text: str | None) -> Conditions:
    if text is not None:
        yield column == _utf8(text)


def _begun(c: Columns, filters: CurrentFilter | HistoryFilter) -> Conditions:
    if filters.to_at is not None:
        unknown = [sa.and_(c.login_at.is_(None), c.logout_at < filters.to_at)] if "logout_at" in c else []
        # No coalesce(): row-level security takes it for a function that may leak, and then uses no index.
        yield sa.or_(c.login_at < filters.to_at, *unknown)


def ended_since(c: Columns, filters: HistoryFilter) -> Conditions:
    """Yield what a filter says of the end of ended sessions."""
    yield from _lasting(c, filters, some_open=False)


def _lasting(c: Columns, filters: HistoryFilter, *, some_open: bool) -> Conditions:
    if filters.from_at is not None:
        yield sa.or_(c.logout_at >= filters.from_at, *([c.logout_at.is_(None)] if some_open else []))


def _open_since(filters: CurrentFilter | HistoryFilter) -> Conditions:
    if filters.from_at is not None:
        yield sa.literal(filters.from_at, tables.INSTANT) <= sa.func.now()


def by_bytes(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Order alike whatever the database's locale, and as a replay in Python does."""
    return sa.collate(column, "C")


def _utf8(text: str | None) -> str | None:
    try:
        return text if text is None else text.encode().decode()
    except UnicodeEncodeError:
        raise UsageError(f"this is no UTF-8: {text!r}") from None


@asynccontextmanager
async def as_reader(connection: AsyncConnection[Any], tenant: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Read one tenant in one snapshot; raises `NoSuchTenant`."""
    name = _utf8(tenant)
    is_there = sql.SQL("SET LOCAL sojourn.tenant = {0}; SELECT FROM tenant WHERE tenant = {0}").format(name)
    async with connection.transaction():
        cursor = await connection.execute(_SNAPSHOT.format(sql.Identifier("sojourn_reader")) + is_there)
        while cursor.nextset():
            pass
        if cursor.rowcount == 0:
            raise NoSuchTenant(tenant)
        yield connection


@asynccontextmanager
async def as_auditor(connection: AsyncConnection[Any]) -> AsyncIterator[AsyncConnection[Any]]:
    """Read all tenants in one snapshot."""
    async with connection.transaction():
        await connection.execute(_SNAPSHOT.format(sql.Identifier("sojourn_auditor")))
        yield connection


async def stream(connection: AsyncConnection[Any], query: sa.Select[Any]) -> AsyncGenerator[tuple[Any, ...]]:
    """Yield all rows of the query, holding one chunk of them at a time."""
    text, values = statement_of(query)
    async with connection.cursor(name="sojourn_stream") as cursor:
        cursor.itersize = CHUNK_ROWS_MAX
        await cursor.execute(text, values)
        async for row in cursor:
            yield row


def statement_of(query: sa.Select[Any]) -> tuple[LiteralString, dict[str, Any]]:
    """Return the query as psycopg takes it: text with placeholders, and their values."""
    compiled = query.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return compiled.string, dict(compiled.params)
