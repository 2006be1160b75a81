"""Fixtures of the fault tests: a machine with an empty, running database, and events for it."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.projections import schema
from tests.fault.harness import Forks, Machine
from tests.fault.workload import Workload


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Import everything once for all processes of all tests."""
    forks = Forks()
    yield forks
    forks.close()


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


@pytest.fixture
def workload() -> Workload:
    """Give events that are the same in every run but for their times."""
    return Workload(4, datetime.now(UTC))
