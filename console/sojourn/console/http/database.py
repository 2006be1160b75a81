"""What the gateway asks of the database, on a few connections and as its own role."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, NamedTuple

from psycopg import AsyncConnection, OperationalError

from sojourn.console.http.credentials import Shown
from sojourn.events.embedded.database import Database
from sojourn.events.errors import Unreachable
from sojourn.events.types import CommandAnswer

CONNECTIONS_MAX: Final = 4  # a lookup takes less than a millisecond; a server takes 100 connections of all processes
ANSWER_SECONDS_MAX: Final = 10.0  # a restart takes a second; a client that waits longer gives up first
COMMANDS_MAX: Final = 100  # in one answer; the next poll gets the rest

Row = tuple[Any, ...]


class Token(NamedTuple):
    """Who asks: the brokers and, unless None, the tenants that they may speak for."""

    token_id: str
    sources: frozenset[str]
    tenants: frozenset[str] | None


class Pending(NamedTuple):
    """A command that waits for its broker, with the bytes of its request."""

    tenant: str
    command_id: str
    session_id: str
    broker: str
    state: str
    expires_at: datetime
    event: bytes


class Addressed(NamedTuple):
    """A command that a broker answers."""

    tenant: str
    command_id: str
    session_id: str
    broker: str
    state: str


@cache
def statement(name: str) -> LiteralString:
    """Return the statement that sql/`name`.sql holds."""
    return files("sojourn.console.http").joinpath("sql", f"{name}.sql").read_text()


class GatewayDatabase:
    """Single statements; each raises `Unreachable` while the server is away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[AsyncConnection[Row]] = []
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)

    async def find_token(self, shown: Shown) -> Token | None:
        """Return the token if it is known, its secret is right and it is still good."""
        rows = await self._run("find_token", {"token_id": shown.token_id})
        kept, sources, tenants, valid, stale = rows[0] if rows else (None, (), None, False, False)
        if not shown.is_of(kept) or not valid:
            return None
        if stale:
            await self._run("note_use", {"token_id": shown.token_id})
        return Token(shown.token_id, frozenset(sources), None if tenants is None else frozenset(tenants))

    async def pending(self, token_ids: Collection[str]) -> dict[str, list[Pending]]:
        """Return by token what waits for its brokers."""
        rows = await self._run("pending_commands", {"token_ids": list(token_ids), "commands_max": COMMANDS_MAX})
        found: dict[str, list[Pending]] = {}
        for token_id, *command in rows:
            found.setdefault(token_id, []).append(Pending(*command))
        return found

    async def command(self, token: Token, command_id: str) -> Addressed | None:
        """Return the one command of this id that the token's brokers may answer."""
        tenants = None if token.tenants is None else list(token.tenants)
        values = {"command_id": command_id, "sources": list(token.sources), "tenants": tenants}
        rows = await self._run("find_command", values)
        return Addressed(*rows[0]) if len(rows) == 1 else None

    async def known(self, answers: Sequence[CommandAnswer]) -> list[bool]:
        """Tell of each answer whether it is about a command that its source got for that session."""
        if not answers:
            return []
        values = {
            "tenants": [answer.tenant for answer in answers],
            "commands": [answer.data.command for answer in answers],
            "sessions": [answer.subject for answer in answers],
            "sources": [answer.source for answer in answers],
        }
        numbers = {number for (number,) in await self._run("known_commands", values)}
        return [number in numbers for number in range(1, len(answers) + 1)]

    async def close(self) -> None:
        """Close what nobody uses now."""
        while self._idle:
            await self._idle.pop().close()

    async def _run(self, name: str, values: dict[str, Any]) -> list[Row]:
        """Run a statement, a second time if only the connection was an old one that the server had closed."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX), self._free:
                try:
                    return await self._attempt(name, values)
                except OperationalError:
                    await self.close()
                    return await self._attempt(name, values)
        except (TimeoutError, OperationalError) as error:
            raise Unreachable(f"the database does not answer: {type(error).__name__}") from error

    async def _attempt(self, name: str, values: dict[str, Any]) -> list[Row]:
        connection = self._idle.pop() if self._idle else await self._database.connect(autocommit=True)
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL ROLE sojourn_gateway")
                cursor = await connection.execute(statement(name), values)
                rows = [] if cursor.description is None else await cursor.fetchall()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return rows
