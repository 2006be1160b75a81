"""What all tests share: which worker runs them, in which order; a data directory, settings and a database."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.postgres import Patience, PostgresServer
from sojourn.events.settings import Settings

FIRST_START_SECONDS_MAX = 60  # it takes one; the machine may be busy
MEMORY = Path("/dev/shm")  # noqa: S108 - writing a database there takes a tenth of the time
MEMORY_BYTES_MIN = 8 << 30  # two workers, each with a database that keeps up to 4 GB of WAL

# Groups that take longer than a minute, the longest first: a worker that began one at the end would run on alone.
LONGEST: Final = ("kafka-faults", "kafka-operations", "kafka-log", "xrdp")


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist keep the order below; by itself it begins with the groups that have most tests."""
    config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each module to one worker, so that what its tests share is started once, and begin with the longest."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{item.path.stem}"))
    items.sort(key=_place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a pytest with which xdist scatters groups, as 9.2 does to 3.8: what tests share is then started twice."""
    if session.config.getoption("loadgroup", default=False):
        scattered = [item.nodeid for item in session.items if "@" not in item.nodeid]
        assert not scattered, f"xdist does not see the group of {scattered[0]}"


def _place(item: pytest.Item) -> int:
    marker = item.get_closest_marker("xdist_group")
    group = marker.args[0] if marker else ""
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that root's PostgreSQL can enter, unlike pytest's."""
    has_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    with tempfile.TemporaryDirectory(prefix="sojourn-test-", dir=MEMORY if has_memory else None) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def new_database() -> Iterator[Path]:
    """Make one data directory to copy from: that takes a tenth of the second that a new one takes."""
    with open_folder() as folder:
        server = PostgresServer(folder / "new")
        server.open(Patience(FIRST_START_SECONDS_MAX, FIRST_START_SECONDS_MAX))
        server.leave(Patience(FIRST_START_SECONDS_MAX, FIRST_START_SECONDS_MAX))
        (folder / "new" / "postgres.log").unlink()
        yield folder / "new"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Name a data directory that does not exist yet."""
    with open_folder() as folder:
        yield folder / "data"


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
