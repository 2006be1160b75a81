"""Fixtures of the fault tests: a machine with an empty, running database, and events for it."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.projections import schema
from tests.conftest import open_folder
from tests.fault.cluster import Cluster, fresh_topics
from tests.fault.harness import Machine
from tests.fault.workload import Workload
from tests.forks import Forks, shared_forks
from tests.kafka_server import KafkaServer, demand_kafka


@pytest.fixture(scope="session")
def forks() -> Forks:
    return shared_forks()


@pytest.fixture
async def machine(forks: Forks, database: Database, data_dir: Path) -> AsyncIterator[Machine]:
    """Give a machine on which PostgreSQL runs already, since the test itself uses it."""
    await schema.upgrade(database)
    async with await database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(database)
    machine = Machine(forks, data_dir, database, log)
    yield machine
    machine.close()
    await log.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """Run one broker for all tests with workers; those that stop it start it again."""
    demand_kafka()
    with open_folder() as folder:
        server = KafkaServer(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def cluster(forks: Forks, database: Database, data_dir: Path, kafka: KafkaServer) -> AsyncIterator[Cluster]:
    """Give a cluster with empty topics and an empty database."""
    await schema.upgrade(database)
    await fresh_topics(kafka)
    cluster = Cluster(forks, data_dir, database, kafka)
    yield cluster
    cluster.close()
    await cluster.log.close()


@pytest.fixture
def workload() -> Workload:
    """Give events that are the same in every run but for their times."""
    return Workload(4, datetime.now(UTC))
