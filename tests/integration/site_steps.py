"""The console that is served on loopback, with tokens and sessions, and clients that ask it."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx
import psycopg

from sojourn.console.health import listen
from sojourn.console.http.gateway import Gateway
from sojourn.console.identity.sign_ins import COOKIE, sign_in_id
from sojourn.console.identity.tokens import new_api_token
from sojourn.console.served import served
from sojourn.console.site.principal import PERMISSIONS, Permission, Role
from sojourn.console.site.settings import SiteSettings
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from tests.integration.command import free_port

WAIT_SECONDS_MAX: Final = 60  # everything here takes milliseconds; the machine may be busy

PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of nobody
# The same, weakly, which takes no time.
PASSWORD_HASH: Final = "$argon2id$v=19$m=8,t=1,p=1$pzFwPLjdJOUpZrG3byaS5Q$BQqULHO2/rZ2ItWZ9yDwdVkyJ+HS5+SyoWz4zTnwjso"  # noqa: S105


class Console:
    """What a test needs of a console that runs."""

    def __init__(self, database: Database, log: EmbeddedLog, port: int) -> None:
        self.database, self.log, self.port = database, log, port
        self.url = f"http://127.0.0.1:{port}"
        self._clients: list[httpx.AsyncClient] = []

    async def execute(self, query: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser."""
        async with await self.database.connect(autocommit=True) as connection:
            cursor = await connection.execute(query.encode(), values)
            return [] if cursor.description is None else await cursor.fetchall()

    @asynccontextmanager
    async def rows(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Connect as the superuser, for the functions of tests/integration/rows.py."""
        async with await self.database.connect(autocommit=True) as connection:
            yield connection

    async def token(self, tenant: str, scopes: Sequence[Permission] = tuple(sorted(PERMISSIONS))) -> str:
        """Return a new token of the API."""
        made = new_api_token()
        await self.execute(
            "INSERT INTO sojourn.api_token"
            " (tenant, token_id, name, secret_sha256, scopes, created_by, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, 'test', now(), %s)",
            [
                tenant,
                made.token_id,
                f"test-{uuid.uuid4()}",
                made.secret_sha256,
                list(scopes),
                datetime.now(UTC) + timedelta(days=1),
            ],
        )
        return made.token

    async def client(self, tenant: str, *scopes: Permission) -> httpx.AsyncClient:
        """Return a client that shows a token of a tenant, with all scopes but `platform` if none is named."""
        token = await self.token(tenant, scopes or tuple(sorted(PERMISSIONS - {"platform"})))
        return self.visitor({"Authorization": f"Bearer {token}"})

    async def person(self, tenant: str, *roles: Role, name: str | None = None) -> httpx.AsyncClient:
        """Return a client of somebody who signed in: a viewer, if no role is named. `PASSWORD` is theirs."""
        name = name or f"person-{uuid.uuid4().hex[:8]}"
        account_id, now = uuid.uuid4(), datetime.now(UTC)
        await self.execute(
            "INSERT INTO sojourn.account (tenant, account_id, name, display_name, password_hash, roles, created_at,"
            " created_by) VALUES (%s, %s, %s, %s, %s, %s, %s, 'test')",
            [tenant, account_id, name, name.title(), PASSWORD_HASH, list(roles or ("viewer",)), now],
        )
        secret = secrets.token_urlsafe(32)
        await self.execute(
            "INSERT INTO sojourn.sign_in (tenant, sign_in_id, account_id, created_at, last_seen_at, confirmed_at,"
            " origin) VALUES (%s, %s, %s, %s, %s, %s, 'test')",
            [tenant, sign_in_id(secret), account_id, now, now, now],
        )
        return self.browser({COOKIE: secret})

    def browser(self, cookies: Mapping[str, str] = MappingProxyType({})) -> httpx.AsyncClient:
        """Return a client that sends what a browser would from a page of this console, with these cookies.

        httpx itself sends no cookie that is `Secure` without TLS, which browsers do on loopback.
        """
        shown = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        return self.visitor({"Origin": self.url, "Sec-Fetch-Site": "same-origin", "Accept": "text/html", **shown})

    def visitor(self, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
        """Return a client that shows nothing but these headers."""
        client = httpx.AsyncClient(base_url=self.url, timeout=WAIT_SECONDS_MAX, headers=headers)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def running_console(
    database: Database,
    data_dir: Path,
    destinations: Mapping[str, Path] | None = None,
    settings: SiteSettings | None = None,
) -> AsyncIterator[Console]:
    """Serve the console on a database of the newest schema until the block ends."""
    async with await database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(database)
    port = free_port()
    with listen(port) as listener:
        server = served(
            database, log, data_dir, Gateway(database, log), [], destinations or {}, settings or SiteSettings()
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        console = Console(database, log, port)
        yield console
        await console.close()
        server.should_exit = True
        await serving
    await log.close()
