"""The ways from a broker to Sojourn against their contract: the logs, and Sojourn's own HTTP server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from sojourn.console.http.credentials import NewToken, new_token
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.server import gateway_server
from sojourn.events.broker.transports import http_transport, kafka_transport, log_transport
from sojourn.events.codec import encode
from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.settings import Settings
from sojourn.events.types import DisconnectRequested
from sojourn.projections import schema
from tests.conftest import open_folder
from tests.contract.broker_contract import BrokerContract
from tests.contract.broker_ways import SOURCE, MemoryLog, Way, give
from tests.integration.server_processes import answer, kill_server, user_process
from tests.kafka_server import KafkaServer


@pytest.fixture(scope="module")
def shared() -> Iterator[Settings]:
    """Name a database that another process keeps running for all tests that may share one."""
    with open_folder() as folder:
        with user_process(folder / "data") as process:
            assert answer(process) == "ready"
            yield Settings(folder / "data")
        kill_server(folder / "data")


@pytest.fixture
async def server(shared: Settings) -> AsyncIterator[Database]:
    database = await open_database(shared)
    await schema.upgrade(database)
    async with await database.connect() as connection:
        await install(connection)
    yield database
    await database.close()


class TestMemory(BrokerContract):
    @pytest.fixture
    def way(self) -> Way:
        log = MemoryLog()
        return Way(lambda: log_transport(log), log, lambda event: give(log, event))


@pytest.mark.xdist_group("broker-transports")  # they share a database
class TestEmbedded(BrokerContract):
    @pytest.fixture
    async def way(self, server: Database) -> AsyncIterator[Way]:
        log = EmbeddedLog(server)
        yield Way(lambda: log_transport(EmbeddedLog(server)), log, lambda event: give(log, event))
        await log.close()


@pytest.mark.xdist_group("kafka-log")
class TestKafka(BrokerContract):
    @pytest.fixture
    async def way(self, kafka: KafkaServer) -> AsyncIterator[Way]:
        settings = KafkaSettings(kafka.bootstrap_servers)
        log = KafkaLog(settings)
        yield Way(lambda: kafka_transport(settings), log, lambda event: give(log, event))
        await log.close()


@pytest.mark.xdist_group("broker-transports")
class TestHttp(BrokerContract):
    @pytest.fixture
    async def way(self, server: Database) -> AsyncIterator[Way]:
        token = new_token()
        await insert_token(server, token)

        async def request(event: DisconnectRequested) -> None:
            async with await server.connect() as connection:
                await connection.execute(
                    "INSERT INTO sojourn_v1.command (tenant, command_id, session_id, broker, kind, state, reason,"
                    ' message, requested_by, requested_at, expires_at, partition, "offset", appended_at, event)'
                    " VALUES (%s, %s, %s, %s, %s, 'requested', %s, %s, %s, now(), %s, 0, 0, now(), %s)",
                    [
                        event.tenant,
                        event.data.command,
                        event.subject,
                        event.data.broker,
                        event.data.kind,
                        event.data.reason,
                        event.data.message,
                        event.data.requested_by,
                        event.data.expires_at,
                        encode(event),
                    ],
                )

        log = EmbeddedLog(server)
        async with serving(server, log) as url:
            yield Way(lambda: http_transport(url, token.token), log, request)
        await log.close()


async def insert_token(database: Database, token: NewToken) -> None:
    """Do as `sojourn brokers add` does."""
    async with await database.connect() as connection:
        await connection.execute(
            "INSERT INTO sojourn.broker_token (token_id, name, secret_sha256, sources, tenants, created_at)"
            " VALUES (%s, %s, %s, %s, NULL, now())",
            [token.token_id, token.token_id, token.secret_sha256, [SOURCE]],
        )


@asynccontextmanager
async def serving(database: Database, log: EmbeddedLog, port: int = 0) -> AsyncIterator[str]:
    """Serve HTTP on loopback while the block runs."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = gateway_server(Gateway(database, log), [])
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
