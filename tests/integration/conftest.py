"""A server with a migrated database for all tests, and a copy of that database for each of them."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sojourn.events.embedded.database import Database, ExternalDatabase
from sojourn.events.embedded.postgres import Patience, PostgresServer
from sojourn.projections import migrate
from tests.conftest import open_folder
from tests.integration.site_steps import Console, running_console

START_SECONDS_MAX: Final = 60  # it takes a tenth of a second; the machine may be busy

_numbers = count(1)


@pytest.fixture(scope="session")
def migrated_server(new_database: Path) -> Iterator[str]:
    """Run a server whose database `migrated` has the newest schema; return the connection string of another one."""
    with open_folder() as folder:
        subprocess.run(["cp", "--archive", str(new_database), str(folder / "data")], check=True)
        server = PostgresServer(folder / "data")
        server.open(Patience(START_SECONDS_MAX, START_SECONDS_MAX))
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE migrated")
        migrate.upgrade(make_conninfo(server.dsn, dbname="migrated"))
        yield server.dsn
        server.leave(Patience(START_SECONDS_MAX, START_SECONDS_MAX))


@pytest.fixture
def migrated_database(migrated_server: str) -> Iterator[Database]:
    """Give each test its own empty database of the newest schema."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(migrated_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated".encode())
    yield ExternalDatabase(make_conninfo(migrated_server, dbname=name))
    with psycopg.connect(migrated_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
async def migrated(migrated_database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Connect to it as the superuser."""
    async with await migrated_database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
async def console(migrated_database: Database, tmp_path: Path) -> AsyncIterator[Console]:
    """Serve the console on that database."""
    async with running_console(migrated_database, tmp_path) as console:
        yield console
