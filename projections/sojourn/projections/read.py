"""The queries over one tenant that users compose, and how they are run: as the reader, from one snapshot, streamed."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, LiteralString

import sqlalchemy as sa
from msgspec import Struct
from psycopg import AsyncConnection
from sqlalchemy.dialects.postgresql import psycopg as dialects

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
CURRENT_COLUMNS: Final = (*_IDENTITY, "state", "last_seen_at", "duration_seconds", "current_client_ip")
HISTORY_COLUMNS: Final = (*_IDENTITY, "logout_at", "online_seconds", "outcome", "reason", "revision")

CHUNK_ROWS_MAX: Final = 2000  # half a megabyte: a round trip is then a hundredth of the time that its rows take

_SHOWN: Final = {"from_at": "from", "to_at": "to"}  # as the command line and manifests call them
_DIALECT: Final = dialects.dialect()  # type: ignore[no-untyped-call]

Rows = sa.Select[*tuple[Any, ...]]


class NoSuchTenant(SojournError):
    """the tenant does not exist"""

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"no such tenant; one exists from its first event on, so check the name, or publish an event: {tenant!r}"
        )
        self.tenant = tenant


class CurrentFilter(Struct, frozen=True, omit_defaults=True, rename=_SHOWN):
    """Which open sessions; `user` and `desktop` are an id, or a part of the name in any case.

    `from_at` and `to_at` keep those that overlap [from, to).
    """

    user: str | None = None
    desktop: str | None = None
    terminal: str | None = None
    access: str | None = None
    broker: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


class HistoryFilter(Struct, frozen=True, omit_defaults=True, rename=_SHOWN):
    """Which sessions of the history; `user`, `desktop` and the range are those of `CurrentFilter`.

    A session whose login is unknown lasted for the instant of its logout.
    """

    user: str | None = None
    desktop: str | None = None
    outcome: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


def current_query(filters: CurrentFilter) -> Rows:
    """Return `CURRENT_COLUMNS` of the open sessions, by login and session id."""
    c = tables.current_session.c
    # As of the transaction: every row of a list is as old as the others.
    duration = sa.cast(sa.func.greatest(0, sa.extract("epoch", sa.func.now() - c.login_at)), sa.Double)
    computed = {"duration_seconds": duration.label("duration_seconds")}
    return (
        sa.select(*(computed[name] if name in computed else c[name] for name in CURRENT_COLUMNS))
        .where(*_named(c, filters), *_equal(c.terminal_type, filters.terminal), *_equal(c.access, filters.access))
        .where(*_equal(c.broker, filters.broker), *_begun(c, filters), *_open_since(filters))
        .order_by(c.login_at, _by_bytes(c.session_id), c.offset)
    )


def history_query(filters: HistoryFilter, *, with_open: bool = False, revisions: bool = False) -> Rows:
    """Return `HISTORY_COLUMNS` of the ended sessions; `with_open` adds the open ones, `revisions` all revisions.

    A row stands at the instant of its logout, or of its login while that is open; then come session id and offset.
    """
    if revisions:
        c = tables.session_revision.c
        return _history_rows(c, filters, some_open=True).order_by(
            sa.func.coalesce(c.logout_at, c.login_at), _by_bytes(c.session_id), c.offset
        )
    ended = tables.ended_session.c
    if not with_open:
        return _history_rows(ended, filters).order_by(ended.logout_at, _by_bytes(ended.session_id), ended.offset)
    rows = sa.union_all(_history_rows(ended, filters).add_columns(ended.offset), _open_rows(filters)).subquery()
    return sa.select(*(rows.c[name] for name in HISTORY_COLUMNS)).order_by(
        sa.func.coalesce(rows.c.logout_at, rows.c.login_at), _by_bytes(rows.c.session_id), rows.c.offset
    )


Columns = sa.ColumnCollection[str, sa.Column[Any]]
Conditions = Iterator[sa.ColumnElement[bool]]


def _history_rows(c: Columns, filters: HistoryFilter, *, some_open: bool = False) -> Rows:
    return sa.select(*(c[name] for name in HISTORY_COLUMNS)).where(
        *_named(c, filters),
        *_equal(c.outcome, filters.outcome),
        *_begun(c, filters),
        *_lasting(c, filters, some_open=some_open),
    )


def _open_rows(filters: HistoryFilter) -> Rows:
    c = tables.current_session.c
    columns = (c[name] if name in c else sa.null().label(name) for name in HISTORY_COLUMNS)
    rows = sa.select(*columns, c.offset).where(*_named(c, filters), *_begun(c, filters), *_open_since(filters))
    return rows if filters.outcome is None else rows.where(sa.false())


def _named(c: Columns, filters: CurrentFilter | HistoryFilter) -> Conditions:
    for name in ("user", "desktop"):
        text = _utf8(getattr(filters, name))
        if text is not None:
            yield sa.or_(c[f"{name}_id"] == text, c[f"{name}_name"].icontains(text, autoescape=True))


def _equal(column: sa.Column[Any], text: str | None) -> Conditions:
    if text is not None:
        yield column == _utf8(text)


def _begun(c: Columns, filters: CurrentFilter | HistoryFilter) -> Conditions:
    if filters.to_at is not None:
        unknown = [sa.and_(c.login_at.is_(None), c.logout_at < filters.to_at)] if "logout_at" in c else []
        # No coalesce(): row-level security takes it for a function that may leak, and then uses no index.
        yield sa.or_(c.login_at < filters.to_at, *unknown)


def _lasting(c: Columns, filters: HistoryFilter, *, some_open: bool) -> Conditions:
    if filters.from_at is not None:
        yield sa.or_(c.logout_at >= filters.from_at, *([c.logout_at.is_(None)] if some_open else []))


def _open_since(filters: CurrentFilter | HistoryFilter) -> Conditions:
    if filters.from_at is not None:
        yield sa.literal(filters.from_at, tables.INSTANT) <= sa.func.now()


def _by_bytes(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
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
    async with _snapshot(connection, "SET LOCAL ROLE sojourn_reader"):
        await connection.execute("SELECT set_config('sojourn.tenant', %s, true)", [_utf8(tenant)])
        cursor = await connection.execute("SELECT FROM tenant WHERE tenant = %s", [tenant])
        if cursor.rowcount == 0:
            raise NoSuchTenant(tenant)
        yield connection


@asynccontextmanager
async def as_auditor(connection: AsyncConnection[Any]) -> AsyncIterator[AsyncConnection[Any]]:
    """Read all tenants in one snapshot."""
    async with _snapshot(connection, "SET LOCAL ROLE sojourn_auditor"):
        yield connection


@asynccontextmanager
async def _snapshot(connection: AsyncConnection[Any], as_role: LiteralString) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute(as_role)
        await connection.execute("SET LOCAL search_path = sojourn; SET LOCAL TimeZone = 'UTC'")
        yield


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
    compiled = query.compile(dialect=_DIALECT)
    return compiled.string, dict(compiled.params)
