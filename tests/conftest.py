"""Fixtures of all tests: a fresh data directory, settings that name one with an empty database, and that database."""

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.postgres import Patience, PostgresServer
from sojourn.events.settings import Settings

FIRST_START_SECONDS_MAX = 60  # it takes one; the machine may be busy


@pytest.fixture(scope="session")
def new_database() -> Iterator[Path]:
    """Make one data directory to copy from: that takes a tenth of the second that a new one takes."""
    with tempfile.TemporaryDirectory(prefix="sojourn-test-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "new"
        server = PostgresServer(path)
        server.open(Patience(FIRST_START_SECONDS_MAX, FIRST_START_SECONDS_MAX))
        server.leave(Patience(FIRST_START_SECONDS_MAX, FIRST_START_SECONDS_MAX))
        (path / "postgres.log").unlink()
        yield path


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Name a data directory that does not exist yet, in a folder that root's PostgreSQL can enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="sojourn-test-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def settings(data_dir: Path, new_database: Path) -> Settings:
    """Name a data directory with an empty database that does not run yet."""
    subprocess.run(["cp", "--archive", str(new_database), str(data_dir)], check=True)
    return Settings(data_dir)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Open the empty database, and stop it afterwards."""
    database = await open_database(settings)
    yield database
    await database.close()
