"""Fault 8: the disk under the database runs full while `sojourn up` works; what it does meanwhile, and afterwards."""

import asyncio
import contextlib
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.errors import SojournError
from sojourn.events.settings import Settings
from sojourn.projections import schema
from tests.conftest import open_folder
from tests.fault.harness import Machine, until
from tests.fault.workload import Workload
from tests.forks import Forks
from tests.integration.command import free_port
from tests.integration.server_processes import as_root

DISK_MEGABYTES = 400
LEFT_BYTES = 12 << 20  # less than a segment of WAL: soon nothing can be written
CHUNK_VALUES = 60  # of one append


@pytest.fixture
def small_data_dir(new_database: Path) -> Iterator[Path]:
    """Give a data directory with an empty database that is a disk of its own."""
    with open_folder() as folder:
        path = folder / "data"
        path.mkdir(mode=0o755)
        options = f"size={DISK_MEGABYTES}m,mode=755"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False)
        if mounted.returncode != 0:
            pytest.skip("a small tmpfs needs the right to mount")
        try:
            subprocess.run(["cp", "--archive", f"{new_database}/.", str(path)], check=True)
            yield path
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
async def small_machine(forks: Forks, small_data_dir: Path) -> AsyncIterator[Machine]:
    """Give a machine on that disk."""
    database = await open_database(Settings(small_data_dir))
    await schema.upgrade(database)
    async with await database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(database)
    machine = Machine(forks, small_data_dir, database, log)
    yield machine
    machine.close()
    await log.close()
    await database.close()


@as_root
@pytest.mark.timeout(240)
async def test_a_full_disk_is_told_and_waited_out_and_nothing_is_skipped(
    small_machine: Machine, workload: Workload
) -> None:
    machine, port = small_machine, free_port()
    process = machine.up(port=port)
    await process.says("Sojourn is running")
    await machine.publish(workload.chunk(CHUNK_VALUES))
    await machine.applied(process)
    assert await health(port) == 200
    async with going_on(machine, workload):
        filler = fill(machine.data_dir, leave=LEFT_BYTES)
        await process.says("partition.retry")
        await until(lambda: says(port, 503), "health says that it stands still", process)

        filler.unlink()
        await until(lambda: says(port, 200), "health says that it goes on", process)

    await machine.publish(workload.chunk(CHUNK_VALUES))
    await machine.applied(process)
    assert await process.stops() == 0, process.output
    await machine.conclude()


@contextlib.asynccontextmanager
async def going_on(machine: Machine, workload: Workload) -> AsyncIterator[None]:
    """Publish all the time while the block runs, also after the log refused some."""
    ending = asyncio.Event()

    async def go_on() -> None:
        while not ending.is_set():
            with contextlib.suppress(SojournError, psycopg.Error):
                await machine.publish(workload.chunk(CHUNK_VALUES))

    publishing = asyncio.create_task(go_on())
    try:
        yield
    finally:
        ending.set()
        await publishing


def fill(disk: Path, *, leave: int) -> Path:
    """Write until only `leave` bytes are free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while shutil.disk_usage(disk).free > leave:
            out.write(b"x" * 65536)
    return filler


async def says(port: int, status: int) -> bool:
    return await health(port) == status


async def health(port: int) -> int | None:
    """Return the status of the health page, None where nobody answers."""

    def ask() -> int | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    return await asyncio.to_thread(ask)
