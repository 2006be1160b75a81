"""Connections to PostgreSQL: the embedded one, which is started when needed, or one that the settings name."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from sojourn.events.embedded.data_directory import telling
from sojourn.events.embedded.postgres import RECOVERY_SECONDS_MAX, WAIT_SECONDS_MAX, Patience, PostgresServer
from sojourn.events.errors import SojournError, Unreachable, UsageError
from sojourn.events.settings import DATABASE_DSN, Settings

_RETRY_SECONDS = 0.05  # the server was ready a moment ago, so it is being killed again and again
_CONNECT_SECONDS_MAX = 10  # a host that drops packets would hold a command for minutes

_UTC = "-c TimeZone=UTC"

log = structlog.get_logger()


class Database(Protocol):
    """A PostgreSQL database."""

    @property
    def dsn(self) -> str:
        """The connection string, for psycopg and for ADBC; it may hold a password."""

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[TupleRow]:
        """Return a new connection whose time zone is UTC, or raise `Unreachable`."""

    async def close(self) -> None:
        """Let go of the database; the last process to do so stops an embedded server."""


async def open_database(settings: Settings) -> Database:
    """Return the database that the settings name; an embedded one runs when this returns."""
    if settings.database_dsn is not None:
        return ExternalDatabase(settings.database_dsn)
    database = EmbeddedDatabase(settings.data_dir)
    await database.open()
    return database


class EmbeddedDatabase:
    """The database in the data directory of one machine."""

    def __init__(self, data_dir: Path) -> None:
        self._server = PostgresServer(data_dir)
        self._restarting = asyncio.Lock()

    @property
    def dsn(self) -> str:
        """See `Database`."""
        return self._server.dsn

    async def open(self) -> None:
        """Start the server or join its users; a crash recovery is waited for."""
        try:
            await _in_thread(self._server.open, Patience(WAIT_SECONDS_MAX, RECOVERY_SECONDS_MAX))
        except asyncio.CancelledError:
            await self.close()  # it may have succeeded just before
            raise

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[TupleRow]:
        """See `Database`; starts the server again when it has died."""
        patience = Patience(WAIT_SECONDS_MAX, WAIT_SECONDS_MAX)
        if self._server.has_long_log:
            await asyncio.to_thread(self._server.trim_log)
        while True:
            try:
                return await psycopg.AsyncConnection.connect(self.dsn, autocommit=autocommit)
            except psycopg.OperationalError as error:
                if patience.is_over:
                    raise Unreachable(f"PostgreSQL takes no connection ({_reason(error)})") from error
                async with self._restarting:
                    await self._restart(patience)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _restart(self, patience: Patience) -> None:
        try:
            await _in_thread(self._server.restart, patience)
        except Unreachable:
            raise
        except SojournError as error:  # who runs for long must see one kind, and try again
            raise Unreachable(str(error)) from error

    async def close(self) -> None:
        """See `Database`."""
        try:
            await asyncio.to_thread(self._server.leave, Patience(WAIT_SECONDS_MAX, WAIT_SECONDS_MAX))
        except SojournError as error:  # the directory may have gone; nothing acknowledged depends on a clean stop
            log.warning("PostgreSQL was not stopped", reason=str(error))


async def _in_thread(step: Callable[[Patience], None], patience: Patience) -> None:
    """Run a blocking step beside the event loop; when we are cancelled, end its waiting and see it out."""
    running = asyncio.ensure_future(asyncio.to_thread(step, patience))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        patience.stop()
        await asyncio.gather(running, return_exceptions=True)
        raise


class ExternalDatabase:
    """A database that somebody else runs."""

    def __init__(self, dsn: str) -> None:
        try:
            given = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            # Without its text or cause: libpq quotes the part that it does not understand, which may be the password.
            raise UsageError(f"PostgreSQL does not understand the connection string in {DATABASE_DSN}") from None
        self._secrets = [str(value) for name, value in given.items() if "password" in name and value]
        self._place = f"{given.get('host') or given.get('hostaddr') or 'the local socket'}:{given.get('port') or 5432}"
        given.setdefault("connect_timeout", _CONNECT_SECONDS_MAX)
        given.setdefault("fallback_application_name", "sojourn")
        given["options"] = f"{given.get('options') or ''} {_UTC}".strip()
        self.dsn = make_conninfo("", **given)

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[TupleRow]:
        """See `Database`."""
        try:
            return await psycopg.AsyncConnection.connect(self.dsn, autocommit=autocommit)
        except psycopg.OperationalError as error:
            reason = _reason(error)
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        raise Unreachable(
            f"the database takes no connection ({reason}); check that it runs, and {DATABASE_DSN}: {self._place}"
        )

    async def close(self) -> None:
        """See `Database`; connections belong to who opened them."""


def _reason(error: psycopg.OperationalError) -> str:
    """Return what is telling in libpq's text, on one line."""
    text = (telling(str(error)) or str(error).splitlines() or ["no reason given"])[0]
    return text.rpartition("failed: ")[2]
