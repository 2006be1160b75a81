"""Fixtures of all tests: a fresh data directory, the settings that name it, and the database in it."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sojourn.events.embedded.database import Database, open_database
from sojourn.events.settings import Settings


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Name a data directory that does not exist yet; removed afterwards, with what lies behind its links."""
    path = tmp_path / "data"
    yield path
    cluster = path / "postgres"
    if cluster.is_symlink():  # root's temporary directories are closed to the server's account
        shutil.rmtree(cluster.resolve(), ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """Name the embedded database."""
    return Settings(data_dir)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Open a new, empty embedded database and stop it afterwards."""
    database = await open_database(settings)
    yield database
    await database.close()
