"""What the embedded PostgreSQL survives: `kill -9` of it and of its users, at any moment, and a full disk."""

import asyncio
import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sojourn.events.embedded import database as database_module
from sojourn.events.embedded.binaries import account_of, unprivileged_account
from sojourn.events.embedded.database import Database, open_database
from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.settings import Settings
from tests.integration.server_processes import (
    answer,
    as_root,
    finish,
    kill,
    kill_server,
    postmaster,
    server_processes,
    user_process,
    wait_until,
)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a file system that everybody can enter and that holds a new cluster (46 MB) and a restart, no more."""
    path = Path(tempfile.mkdtemp(prefix="sojourn-small-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=112m,mode=755", "tmpfs", str(path)], check=False)
    if mounted.returncode != 0:
        path.rmdir()
        pytest.skip("a small tmpfs needs the right to mount")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)
    path.rmdir()


async def store(database: Database, number: int) -> None:
    async with await database.connect() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        await connection.execute("INSERT INTO kept VALUES (%s)", (number,))


async def stored(database: Database) -> list[int]:
    async with await database.connect() as connection:
        rows = await (await connection.execute("SELECT number FROM kept ORDER BY number")).fetchall()
    return [number for (number,) in rows]


async def test_connect_starts_a_killed_server_again_with_all_that_was_committed(
    database: Database, data_dir: Path
) -> None:
    for number in range(3):
        await store(database, number)
        kill(postmaster(data_dir))

    assert await stored(database) == [0, 1, 2]


async def test_connect_survives_the_death_of_every_process_of_the_server(database: Database, data_dir: Path) -> None:
    await store(database, 1)

    await asyncio.to_thread(kill_server, data_dir)

    assert await stored(database) == [1]


async def test_connect_waits_while_the_server_recovers_from_a_killed_backend(
    database: Database, data_dir: Path
) -> None:
    await store(database, 1)
    async with await database.connect() as victim, await database.connect() as witness:
        kill(victim.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):  # the server has noticed, and ends everybody
            await witness.execute("SELECT pg_sleep(60)")

        assert await stored(database) == [1]
        with pytest.raises(psycopg.OperationalError):
            await victim.execute("SELECT 1")

    assert server_processes(data_dir)


async def test_many_that_connect_after_a_kill_all_get_a_connection(database: Database, data_dir: Path) -> None:
    await store(database, 1)
    starts = (data_dir / "postgres.log").read_text().count("starting PostgreSQL")
    await asyncio.to_thread(kill_server, data_dir)

    rows = await asyncio.gather(*(stored(database) for _ in range(20)))

    assert rows == [[1]] * 20
    assert (data_dir / "postgres.log").read_text().count("starting PostgreSQL") == starts + 1


def test_the_server_outlives_its_killed_users_and_the_next_one_stops_it(data_dir: Path) -> None:
    with user_process(data_dir) as first, user_process(data_dir) as second:
        assert [answer(first), answer(second)] == ["ready", "ready"]
        before = postmaster(data_dir)
        kill(first.pid, second.pid)

    with user_process(data_dir) as third:
        assert answer(third) == "ready"
        assert postmaster(data_dir) == before
        assert finish(third) == "closed"

    assert not server_processes(data_dir)


async def test_after_a_power_cut_everything_committed_is_there(settings: Settings) -> None:
    with user_process(settings.data_dir) as other:
        assert answer(other) == "ready"
        database = await open_database(settings)
        await store(database, 1)
        kill(other.pid)
        await asyncio.to_thread(kill_server, settings.data_dir)
        await database.close()

    again = await open_database(settings)
    rows = await stored(again)
    await again.close()

    assert rows == [1]


@pytest.mark.parametrize(
    "reached",
    [
        "start.lock",
        "postgres.new",
        "postgres.new/PG_VERSION",
        "postgres.new/base/5",
        "postgres",
        "postgres.log",
        "postgres/postmaster.pid",
    ],
)
def test_a_kill_at_any_moment_of_the_first_start_leaves_nothing_half_made(data_dir: Path, reached: str) -> None:
    with user_process(data_dir) as process:
        wait_until((data_dir / reached).exists, f"the start has made {reached}")
        kill(process.pid)

    with user_process(data_dir) as process:
        assert answer(process) == "ready"
        assert finish(process) == "closed"

    assert not server_processes(data_dir)
    assert not os.path.lexists(data_dir / "postgres.new")


@as_root
async def test_a_folder_of_the_socket_that_was_not_handed_over_yet_is_mended(settings: Settings) -> None:
    (settings.data_dir / "postgres" / "socket").mkdir(mode=0o700)  # as a kill between two system calls leaves it

    database = await open_database(settings)
    await database.close()

    assert not server_processes(settings.data_dir)


@pytest.mark.parametrize("lock", ["held", "lost"])
async def test_a_start_waits_for_orphans_that_hold_the_shared_memory(settings: Settings, lock: str) -> None:
    database = await open_database(settings)
    await store(database, 1)
    async with await database.connect() as orphan:
        backend = orphan.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # as one that is busy, it does not see that its parent has gone
        kill(postmaster(settings.data_dir))
        wait_until(lambda: server_processes(settings.data_dir) == {backend}, "the others have ended")
        if lock == "lost":  # as when somebody started this cluster by hand
            (settings.data_dir / "postgres.lock").unlink()

        opening = asyncio.create_task(open_database(settings))
        done, _ = await asyncio.wait([opening], timeout=1)
        kill(backend)
        again = await opening

    assert not done
    assert await stored(again) == [1]
    await again.close()
    await database.close()


def test_a_start_waits_for_what_a_killed_first_start_left_running(data_dir: Path) -> None:
    with user_process(data_dir) as process:
        wait_until((data_dir / "postgres.new" / "PG_VERSION").exists, "initdb has begun")
        orphans = children(process.pid)
        assert orphans
        for orphan in orphans:
            os.kill(orphan, signal.SIGSTOP)
        kill(process.pid)

    with user_process(data_dir) as process:
        assert process.stdout
        early, _, _ = select.select([process.stdout], [], [], 3)
        kill(*orphans)
        assert not early
        assert answer(process) == "ready"
        assert finish(process) == "closed"


def children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


async def test_orphans_that_stay_are_named_after_a_bounded_wait(
    database: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS_MAX", 0.5)
    async with await database.connect() as orphan:
        os.kill(orphan.info.backend_pid, signal.SIGSTOP)
        kill(postmaster(data_dir))

        with pytest.raises(Unreachable, match="processes of it still run") as caught:
            await database.connect()
        kill(orphan.info.backend_pid)

    assert str(caught.value).endswith(str(data_dir))


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that has nothing to do with PostgreSQL, as the user that the server runs as."""
    account = unprivileged_account() if os.geteuid() == 0 else account_of(os.geteuid())
    with subprocess.Popen(["sleep", "600"], user=account.uid if account.is_other else None) as process:
        yield process
        process.kill()


async def test_a_stranger_with_the_number_of_a_dead_server_does_no_harm(
    database: Database, data_dir: Path, stranger: subprocess.Popen[bytes]
) -> None:
    await store(database, 1)
    files = [data_dir / "postgres" / "postmaster.pid", data_dir / "postgres" / "socket" / ".s.PGSQL.5432.lock"]
    texts = [file.read_text() for file in files]
    dead = str(postmaster(data_dir))
    await asyncio.to_thread(kill_server, data_dir)
    for file, text in zip(files, texts, strict=True):
        file.write_text(text.replace(dead, str(stranger.pid), 1))

    assert await stored(database) == [1]
    await database.close()

    assert stranger.poll() is None


async def kill_into_long_recovery(database: Database, data_dir: Path) -> Path:
    """End the server so that the next one recovers until the returned file is there."""
    async with await database.connect(autocommit=True) as connection:
        await connection.execute("ALTER SYSTEM SET restore_command = 'while [ ! -e gate ]; do sleep 0.05; done; false'")
    await asyncio.to_thread(kill_server, data_dir)
    (data_dir / "postgres" / "recovery.signal").touch()
    return data_dir / "postgres" / "gate"


def open_gate(gate: Path) -> None:
    gate.touch()


async def test_opening_waits_out_a_long_recovery(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await open_database(settings)
    await store(database, 1)
    gate = await kill_into_long_recovery(database, settings.data_dir)
    monkeypatch.setattr(database_module, "WAIT_SECONDS_MAX", 0.5)

    opening = asyncio.create_task(open_database(settings))
    done, _ = await asyncio.wait([opening], timeout=1.5)
    open_gate(gate)
    again = await opening

    assert not done
    assert await stored(again) == [1]
    await again.close()
    await database.close()


async def test_connecting_waits_for_a_long_recovery_only_so_long(
    database: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(database, 1)
    gate = await kill_into_long_recovery(database, data_dir)

    with monkeypatch.context() as patch:
        patch.setattr(database_module, "WAIT_SECONDS_MAX", 0.5)
        with pytest.raises(Unreachable, match="the database system is starting up"):
            await database.connect()
    open_gate(gate)

    assert await stored(database) == [1]


async def test_connecting_waits_for_another_process_that_starts_the_server_only_so_long(
    database: Database, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS_MAX", 0.5)

    with (data_dir / "start.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        await asyncio.to_thread(kill_server, data_dir)
        with pytest.raises(Unreachable, match="another process starts or stops PostgreSQL in: "):
            await database.connect()


async def test_a_start_that_is_cancelled_leaves_nothing_running(settings: Settings) -> None:
    database = await open_database(settings)
    await kill_into_long_recovery(database, settings.data_dir)
    await database.close()
    opening = asyncio.create_task(open_database(settings))
    await asyncio.to_thread(wait_until, lambda: server_processes(settings.data_dir), "the server recovers")

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    assert not server_processes(settings.data_dir)


@pytest.mark.parametrize("gone", ["everything", "the cluster"])
async def test_a_data_directory_that_vanishes_in_use_is_not_replaced_by_an_empty_one(
    database: Database, data_dir: Path, gone: str
) -> None:
    await asyncio.to_thread(kill_server, data_dir)
    shutil.rmtree(data_dir if gone == "everything" else data_dir / "postgres")

    for _ in range(2):  # a first one that had made something new would let the second one in
        with pytest.raises(Unreachable, match=r"no such file or directory|has gone while it was in use"):
            await database.connect()


@as_root
async def test_a_disk_too_small_for_a_new_database_is_named(small_disk: Path) -> None:
    fill(small_disk, leave=20 << 20)

    with pytest.raises(SojournError, match="free some for") as caught:
        await open_database(Settings(small_disk / "data"))

    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(str(small_disk / "data"))
    assert not (small_disk / "data" / "postgres").exists()
    assert not (small_disk / "data" / "postgres.new").exists()


@as_root
async def test_a_disk_without_a_byte_is_named(small_disk: Path) -> None:
    fill(small_disk, leave=0)

    with pytest.raises(SojournError, match="free some for") as caught:
        await open_database(Settings(small_disk / "data"))

    assert str(caught.value).endswith(str(small_disk / "data"))


@as_root
async def test_a_server_on_a_full_disk_comes_back_when_space_is_freed(small_disk: Path) -> None:
    settings = Settings(small_disk / "data")
    database = await open_database(settings)
    await store(database, 1)
    kill_server(settings.data_dir)
    filler = fill(small_disk, leave=0)

    with pytest.raises(Unreachable, match="free some for"):
        await database.connect()
    filler.unlink()

    assert await stored(database) == [1]
    await database.close()


def fill(disk: Path, *, leave: int) -> Path:
    """Write until only `leave` bytes are free."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while shutil.disk_usage(disk).free > leave:
            out.write(b"x" * 4096)
    return filler
