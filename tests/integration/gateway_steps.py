"""A gateway that is served on loopback, with tokens, commands and what its log holds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import httpx
import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from sojourn.console.health import listen
from sojourn.console.http.credentials import new_token
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.server import gateway_server
from sojourn.events.codec import decode, encode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.decisions import disconnect_requested
from sojourn.events.embedded.database import Database, ExternalDatabase
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.log import Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.events.types import Event
from tests.integration.command import free_port
from tests.unit.events import to_bytes

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
WAIT_SECONDS_MAX: Final = 60  # everything here takes milliseconds; the machine may be busy

_numbers = count(1)


class Served:
    """What a test needs of a gateway that runs."""

    def __init__(self, gateway: Gateway, database: Database, log: EmbeddedLog, port: int) -> None:
        self.gateway, self.database, self.log, self.port = gateway, database, log, port
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS_MAX)

    async def execute(self, query: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser."""
        async with await self.database.connect(autocommit=True) as connection:
            cursor = await connection.execute(query.encode(), values)
            return [] if cursor.description is None else await cursor.fetchall()

    async def token(self, *sources: str, tenants: list[str] | None = None, **columns: Any) -> str:
        """Return a new token of these brokers."""
        made = new_token()
        row = {"expires_at": None, "revoked_at": None, **columns}
        await self.execute(
            "INSERT INTO sojourn.broker_token"
            " (token_id, name, secret_sha256, sources, tenants, created_at, expires_at, revoked_at)"
            " VALUES (%s, %s, %s, %s, %s, now(), %s, %s)",
            [
                made.token_id,
                f"token-{next(_numbers)}",
                made.secret_sha256,
                list(sources),
                tenants,
                row["expires_at"],
                row["revoked_at"],
            ],
        )
        return made.token

    async def command(self, broker: str, *, tenant: str = "acme", session_id: str = "s-1", **columns: Any) -> str:
        """Put in a command as the projector would, and return its id."""
        command_id = f"c-{next(_numbers)}"
        now = datetime.now(UTC)
        data = DisconnectRequestedData(command_id, "disconnect", broker, "why", "ada", now + timedelta(minutes=2))
        row = {
            "tenant": tenant,
            "command_id": command_id,
            "session_id": session_id,
            "broker": broker,
            "kind": data.kind,
            "state": "requested",
            "reason": data.reason,
            "requested_by": data.requested_by,
            "requested_at": now,
            "expires_at": data.expires_at,
            "partition": 0,
            "offset": 0,
            "appended_at": now,
            "event": encode(disconnect_requested(tenant, session_id, data, now)),
            **columns,
        }
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(f"%({name})s" for name in row)
        await self.execute(f"INSERT INTO sojourn_v1.command ({names}) VALUES ({places})", row)  # noqa: S608 - our names
        return command_id

    async def post(self, token: str, content: bytes, content_type: str = STRUCTURED, **headers: str) -> httpx.Response:
        """Post events."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Authorization": f"Bearer {token}", "Content-Type": content_type, **named}
        return await self.client.post("/v1/events", content=content, headers=sent)

    async def poll(self, token: str, wait: float = 0) -> list[dict[str, Any]]:
        """Return the commands that a poll brings."""
        answer = await self.client.get(f"/v1/commands?wait={wait}", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        commands: list[dict[str, Any]] = answer.json()["commands"]
        return commands

    async def records(self, source: str) -> list[Record]:
        """Return all that the log holds of a broker, lifecycle first."""
        found: list[Record] = []
        for topic in (LIFECYCLE, HEARTBEATS):
            for partition in range(await self.log.partitions(topic)):
                found += (await self.log.read(topic, partition, 0)).records
        return [record for record in found if decode(record.value).source == source]

    async def appended(self, source: str) -> list[Event]:
        """Return the events of `records`."""
        return [decode(record.value) for record in await self.records(source)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the server tells nobody of."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - as it says
            await asyncio.sleep(0.01)


def batch(*items: dict[str, Any] | bytes) -> bytes:
    """Return a batch of events, or of what is none."""
    return b"[" + b",".join(item if isinstance(item, bytes) else to_bytes(item) for item in items) + b"]"


@contextlib.asynccontextmanager
async def serving(server_dsn: str) -> AsyncIterator[Served]:
    """Serve a gateway on a database of its own, of the newest schema, and the log in it."""
    name = f"served_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as superuser:
        superuser.execute(f"CREATE DATABASE {name} TEMPLATE migrated".encode())
    database = ExternalDatabase(make_conninfo(server_dsn, dbname=name))
    async with await database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(database)
    gateway = Gateway(database, log)
    server = gateway_server(gateway, [])
    with listen(free_port()) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        served = Served(gateway, database, log, listener.getsockname()[1])
        yield served
        await served.client.aclose()
        server.should_exit = True
        await running
    await log.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(migrated_server: str) -> AsyncIterator[Served]:
    """Serve one gateway for the tests of a module, which use other brokers each."""
    async with serving(migrated_server) as served:
        yield served


@pytest.fixture
def source() -> str:
    """Name a broker that nothing is known of yet."""
    return f"/brokers/{next(_numbers)}"
