"""What people do wrong, and what their machines do to them: one line that says what to do, and the exit code."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
import pytest

from sojourn.events.embedded.database import Database
from sojourn.exporters.dataset import Manifest, Source, write_dataset
from tests.integration.command import EVENTS, Command, free_port
from tests.integration.command_line import Run, run_here, up_with_examples
from tests.integration.server_processes import OTHER, as_root, with_other_user

PASSWORD: Final = "s3cret"  # noqa: S105 - of nobody; it must be seen nowhere
NOWHERE: Final = f"postgresql://joe:{PASSWORD}@127.0.0.1:1/sessions"
EXAMPLES: Final = EVENTS / "examples.ndjson"
ALL_BUT_ONE: Final = ",".join(f"{partition}:0" for partition in range(11))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_dir: Path) -> Iterator[Run]:
    with run_here(monkeypatch, capfd, data_dir) as run:
        yield run


@pytest.fixture(scope="module")
def up() -> Iterator[Command]:
    with up_with_examples() as command:
        yield command


EXPORT: Final = ("export", "history", "--tenant", "acme", "--format")

WRONG_USAGE: Final = {
    "explode": "no such command; see `sojourn --help`: 'explode'",
    "dead-letters explode": "no such command; see `sojourn dead-letters --help`: 'explode'",
    "sessions": "a value is missing; see `sojourn sessions --help`: --tenant",
    "sessions --tenant": "a value is missing; see `sojourn sessions --help`: --tenant",
    "sessions --tenant acme --tenat x": "no such option; see `sojourn sessions --help`: --tenat",
    "sessions --tenant acme --tenant x": "this may be given once only; see `sojourn sessions --help`: --tenant",
    "sessions --tenant acme globex": "one value too many; see `sojourn sessions --help`: 'globex'",
    "sessions --tenant acme --access indoors": "--access is one of internal, public, not: 'indoors'",
    "sessions --tenant acme --user \udcff": r"this is no UTF-8: '\udcff'",
    "export current --format csv --out x --tenant \udcff": r"this is no UTF-8: '\udcff'",
    "sessions --user= --tenant acme": "a value is empty, perhaps that of an unset variable, after: --user=",
    "history --tenant acme --from yesterday": "which --from is not: 'yesterday'",
    "history --tenant acme --to 2026-02-30": "which --to is not: '2026-02-30'",
    "history --tenant acme --from 2026-01-02 --to 2026-01-01": "later than --from 2026-01-02: '2026-01-01'",
    "export history --tenant acme --format xls --out x": "--format is one of parquet, csv, not: 'xls'",
    "export future --tenant acme --format csv --out x": "WHAT is one of current, history, not: 'future'",
    "export history --tenant acme --format csv": "a value is missing; see `sojourn export --help`: --out",
    "export history --tenant acme --format csv --out x --to 1": "which --to is not: '1'",
    "export history --tenant acme --format parquet --out x --raw": "--raw is for --format csv, not for: parquet",
    "replay --out x --to soon": "which --to is not: 'soon'",
    "replay --out x --to lifecycle@0:1,0:2": "a position names each partition once, not: 'lifecycle@0:1,0:2'",
    "replay --out x --to lifecycle@0:1,x": "each partition once, not: 'lifecycle@0:1,x'",
    f"replay --out x --to lifecycle@0:{'9' * 5000}": f"{'9' * 100}'",
    "dead-letters show": "a value is missing; see `sojourn dead-letters show --help`: PLACE",
    "dead-letters show here": "a place is written like lifecycle@3:17, not: 'here'",
    "publish": "a value is missing; see `sojourn publish --help`: FILE",
    "publish --jsn": "no such option; a file of this name is written with ./ before it: --jsn",
    "simulate --sessions 0 --seed 1": "the number of sessions is 1 to 10000000, not: 0",
    "simulate --sessions many --seed 1": "--sessions is a whole number, not: 'many'",
    "simulate --sessions 9 --seed 1 --speed -1": "--speed must be > 0, unlike: -1.0",
    "simulate --sessions 9 --seed 1 --speed nan": "unlike: nan",
    "simulate --sessions 9 --seed 1 --tenants 0": "--tenants must be >= 1, unlike: 0",
    "up --port 65536": "--port must be <= 65535, unlike: 65536",
}


@pytest.mark.parametrize("line", WRONG_USAGE)
def test_wrong_usage_is_one_line_and_starts_nothing(run: Run, data_dir: Path, line: str) -> None:
    words = line.split(" ")

    said = run(*words)

    assert said.line(2).endswith(WRONG_USAGE[line])
    assert not data_dir.exists(), "no database is started for what cannot be meant"


def test_an_empty_value_is_refused_for_it_comes_from_an_unset_variable(run: Run, data_dir: Path) -> None:
    said = run("status", "--data-dir", "")

    assert said.line(2) == "a value is empty, perhaps that of an unset variable, after: --data-dir"
    assert not data_dir.exists()


def test_what_cannot_be_read_or_written_is_named_before_a_database_starts(
    run: Run, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    simulate = ("simulate", "--sessions", "5", "--seed", "1", "--truth")

    replay = ("replay", "--to", "2026-01-01", "--out")

    said = [
        run("publish", tmp_path / "nothing"),
        run("publish", tmp_path),
        run(*simulate, tmp_path / "no" / "truth"),
        run(*simulate, tmp_path),
        run(*simulate, tmp_path / "pipe"),
        run(*replay, tmp_path / "file"),
        run(*replay, tmp_path),
    ]

    assert [what.line(1) for what in said] == [
        f"cannot read the events (no such file or directory): {tmp_path}/nothing",
        f"cannot read the events (is a directory): {tmp_path}",
        f"cannot write the truth (no such file or directory): {tmp_path}/no/truth",
        f"cannot write the truth (this is no file): {tmp_path}",
        f"cannot write the truth (this is no file): {tmp_path}/pipe",
        f"a replay needs an empty folder; name another: {tmp_path}/file",
        f"a replay needs an empty folder; name another: {tmp_path}",
    ]
    assert not data_dir.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


EVERY_COMMAND: Final = (
    "sessions --tenant acme",
    "history --tenant acme",
    "status",
    "dead-letters list",
    "dead-letters show lifecycle@0:1",
    "export current --tenant acme --format csv --out OUT",
    "replay --to 2026-01-01 --out OUT",
    "simulate --sessions 5 --seed 1 --truth OUT",
    "db upgrade",
    f"up --port {free_port()}",
)


def refusals(run: Run, out: Path, code: int) -> set[str]:
    """Run every command that needs a database and return what they say, which leaves nothing behind."""
    lines = {run(*line.replace("OUT", str(out)).split()).line(code) for line in EVERY_COMMAND}
    published = run("publish", EXAMPLES, "--json")
    assert published.out == '{"published":0}\n'
    assert list(out.parent.iterdir()) == []
    return lines | {published._replace(out="").line(code)}


def test_a_database_that_is_down_is_named_without_its_password(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOJOURN_DATABASE_DSN", NOWHERE)

    (line,) = refusals(run, tmp_path / "out", 3)
    shown = run("config", "show")

    assert line.endswith("check that it runs, and SOJOURN_DATABASE_DSN: 127.0.0.1:1")
    assert PASSWORD not in line
    assert PASSWORD not in shown.out
    assert shown.code == 0


def test_a_connection_string_that_is_none_is_wrong_usage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_DATABASE_DSN", f"{PASSWORD} is the password")

    said = run("status")

    assert said.line(2).endswith("in SOJOURN_DATABASE_DSN")
    assert PASSWORD not in said.error


def test_a_data_directory_of_a_newer_version_is_left_alone(run: Run, data_dir: Path, tmp_path: Path) -> None:
    data_dir.mkdir()
    (data_dir / "layout").write_text("99\n")

    (line,) = refusals(run, tmp_path / "out", 1)

    assert line.startswith("a newer Sojourn wrote this data directory (layout 99, this one knows 1); run pip install")
    assert line.endswith(f": {data_dir}")
    assert {path.name for path in data_dir.iterdir()} == {"layout", "up.lock"}


def test_a_schema_of_a_newer_version_is_left_alone(
    run: Run, migrated_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOJOURN_DATABASE_DSN", migrated_database.dsn)
    with psycopg.connect(migrated_database.dsn) as connection:
        connection.execute("UPDATE sojourn.alembic_version SET version_num = '9999'")

    (line,) = refusals(run, tmp_path / "out", 1)

    assert line == "the database was upgraded by a newer Sojourn; install that one: schema 9999"


def test_what_the_database_does_not_hold_is_said_with_what_to_do(
    run: Run, up: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOJOURN_DATA_DIR", str(up.data_dir))
    too_far = f"lifecycle@{ALL_BUT_ONE},11:99"
    tenant = "no such tenant; one exists from its first event on, so check the name, or publish an event: 'acne'"

    said = {
        "sessions": run("sessions", "--tenant", "acne"),
        "history": run("history", "--tenant", "acne", "--json"),
        "export": run("export", "current", "--tenant", "acne", "--format", "csv", "--out", tmp_path / "out"),
        "place": run("dead-letters", "show", "lifecycle@99:0"),
        "short": run("replay", "--to", f"lifecycle@{ALL_BUT_ONE}", "--out", tmp_path / "out"),
        "far": run("replay", "--to", too_far, "--out", tmp_path / "out"),
    }

    lines = {name: what.line(1) for name, what in said.items()}
    assert lines.pop("far").startswith("partition 11 ends at ")
    assert lines == {
        "sessions": tenant,
        "history": tenant,
        "export": tenant,
        "place": "no dead letter stands there; `sojourn dead-letters list --all` shows all: 'lifecycle@99:0'",
        "short": "the position must name each of the 12 partitions once: [11]",
    }
    assert list(tmp_path.iterdir()) == []


def test_an_export_goes_only_where_nothing_is(
    run: Run, up: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOJOURN_DATA_DIR", str(up.data_dir))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    full, link, file = (
        run(*EXPORT, "csv", "--out", tmp_path / place).line(1) for place in ("full", "link", "full/letter")
    )
    replayed = run("replay", "--to", "2026-01-01", "--out", tmp_path / "link").line(1)

    assert full == f"an export needs an empty folder; name another than that of: {tmp_path}/full/letter"
    assert link == f"an export goes into no symbolic link; name the folder itself: {tmp_path}/link"
    assert file == f"an export needs a folder, and this is none: {tmp_path}/full/letter"
    assert replayed == f"a replay needs an empty folder; name another: {tmp_path}/link"
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_up_and_a_port_in_use_name_who_has_it(
    run: Run, up: Command, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        in_use = run("up", "--port", str(port)).line(1)
    monkeypatch.setenv("SOJOURN_DATA_DIR", str(up.data_dir))
    second = run("up").line(1)

    assert in_use.endswith(f"choose another --port: {port}")
    assert not (data_dir / "postgres").exists()
    assert second.startswith("sojourn up runs here already, as process ")
    assert second.endswith(f"stop it, or name another --data-dir: {up.data_dir}")


AS_ANOTHER_USER: Final = """
import asyncio, importlib, os, pkgutil, pwd, sys
import sojourn.console
from sojourn.console.cli import main

for module in pkgutil.iter_modules(sojourn.console.__path__):  # the interpreter may lie where that user cannot read
    importlib.import_module(f"sojourn.console.{module.name}")
asyncio.run(asyncio.to_thread(int))
os.setgroups([])
os.setgid(pwd.getpwnam(sys.argv[1]).pw_gid)
os.setuid(pwd.getpwnam(sys.argv[1]).pw_uid)
for line in sys.stdin.read().splitlines():
    sys.argv = ["sojourn", *line.split()]
    code = main()
    sys.stdout.flush()
    print(code, file=sys.stderr)
"""


@as_root
@with_other_user
def test_another_user_is_told_what_he_may_not_do(data_dir: Path) -> None:
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    (data_dir / "sub").mkdir(parents=True)
    (data_dir / "sub" / "events").touch(mode=0o600)
    cases = {
        f"status --data-dir {closed}": f"or run as the owner of: {closed}",
        f"status --data-dir {closed}/new": f"or run as the owner of: {closed}/new",
        f"status --data-dir {data_dir}": f"or run as the owner of: {data_dir}",
        f"up --port {free_port()} --data-dir {data_dir}": f"or run as the owner of: {data_dir}",
        f"publish {data_dir}/sub/events": f"cannot read the events (permission denied): {data_dir}/sub/events",
        f"simulate --sessions 5 --seed 1 --truth {data_dir}/t": f"the truth (permission denied): {data_dir}/t",
        f"replay --to 2026-01-01 --out {closed}/r": f"(permission denied); name another folder: {closed}/r",
    }

    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, OTHER],
        input="\n".join(cases),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )

    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2 * len(cases), done.stderr
    for line, code, ending in zip(lines[::2], lines[1::2], cases.values(), strict=True):
        assert line.startswith("sojourn: ")
        assert line.endswith(ending)
        assert code == "1"
    assert not any(closed.iterdir())


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(path)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a small tmpfs needs the right to mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@as_root
def test_a_full_disk_is_one_line_and_leaves_no_half_result(
    run: Run, up: Command, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(data_dir.parent / "disk", "8m") as disk:
        database = run("status", "--data-dir", disk / "data").line(1)
    monkeypatch.setenv("SOJOURN_DATA_DIR", str(up.data_dir))
    with small_disk(data_dir.parent / "little", "16k") as disk:
        truth = run("simulate", "--sessions", "2000", "--seed", "1", "--truth", disk / "truth").line(1)
        (disk / "filling").write_bytes(bytes(12 << 10))
        export = run(*EXPORT, "csv", "--out", disk / "out").line(1)
        replay = run("replay", "--to", "2999-01-01", "--out", disk / "out").line(1)
        left = [path.name for path in disk.iterdir()]

    assert database == f"PostgreSQL needs more space on the disk; free some for: {data_dir.parent}/disk/data"
    assert truth == f"cannot write the truth (no space left on device): {disk}/truth"
    assert export == f"no space is left for the export; free some and run it again: {disk}/out"
    assert replay.startswith(f"no space is left for the export; free some and run it again: {disk}/out")
    assert left == ["filling"]


def test_a_replay_that_fails_with_its_second_list_keeps_neither(
    run: Run, up: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "out" / "current"
    was_written = []

    def write(batches: Any, source: Source, file_format: Literal["parquet"], out: Path, *, progress: Any) -> Manifest:
        if out != first:
            was_written.append(first.joinpath("_SUCCESS").exists())
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_dataset(batches, source, file_format, out, progress=progress)

    monkeypatch.setenv("SOJOURN_DATA_DIR", str(up.data_dir))
    monkeypatch.setattr("sojourn.console.replay.write_dataset", write)

    said = run("replay", "--to", "2999-01-01", "--out", tmp_path / "out")

    assert said.line(1) == "no space left on device; free some space"
    assert was_written == [True]
    assert not first.exists()
