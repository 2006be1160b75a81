"""What commands write: to terminals and pipes, when there is nothing to show, and when they are stopped."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from sojourn.events.topics import LIFECYCLE
from tests.integration.command import EVENTS, SOJOURN, WAIT_SECONDS_MAX, Command
from tests.integration.command_line import Run, Said, run_here, up_with_examples
from tests.integration.server_processes import kill_server, server_processes, wait_until
from tests.unit.test_docs import sections

# A background job starts with SIGINT ignored, and so may these tests.
AS_IN_A_TERMINAL: Final = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
BAR: Final = "━"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], up: Command) -> Iterator[Run]:
    with run_here(monkeypatch, capfd, up.data_dir) as run:
        yield run


@pytest.fixture(scope="module")
def up() -> Iterator[Command]:
    with up_with_examples() as command:
        yield command


def on_terminal(up: Command, columns: int, *words: str | Path) -> tuple[int, str]:
    """Run a command whose three streams are a terminal and return its exit code and what appeared there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen([SOJOURN, *map(str, words)], env=up.environ, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        seen = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                seen += chunk
        except OSError:  # so Linux tells that nobody has the terminal any more
            pass
        os.close(ours)
        return process.wait(WAIT_SECONDS_MAX), seen.decode().replace("\r\n", "\n")


def test_long_work_shows_its_progress_on_a_terminal_and_then_only_its_result(up: Command, tmp_path: Path) -> None:
    commands: dict[str, list[str | Path]] = {
        "publishing": ["publish", EVENTS / "examples.ndjson"],
        "simulating": ["simulate", "--sessions", "50", "--seed", "1"],
        "exporting": ["export", "history", "--tenant", "acme", "--format", "csv", "--out", tmp_path / "csv"],
        "replaying": ["replay", "--to", "2999-01-01", "--out", tmp_path / "replay"],
    }

    seen = {name: on_terminal(up, 80, *words) for name, words in commands.items()}

    assert all(code == 0 and BAR in text for code, text in seen.values()), seen
    assert "0%" in seen["publishing"][1]
    assert "0%" in seen["simulating"][1]
    assert "rows written" in seen["exporting"][1]
    assert "0%" in seen["replaying"][1]
    last = {name: text.rpartition("\x1b[2K")[2] for name, (_, text) in seen.items()}
    assert last["publishing"] == "published 14 events\n"
    assert BAR not in "".join(last.values()), "a bar that is done goes away"


def test_a_pipe_gets_results_and_no_progress(run: Run, tmp_path: Path) -> None:
    published = run("publish", EVENTS / "examples.ndjson")
    replayed = run("replay", "--to", "2020-01-01", "--out", tmp_path / "replay")
    listed = run("sessions", "--tenant", "acme")

    assert published == Said(0, "published 14 events\n", "")
    assert [line.partition(": 0 rows in 1 file, ")[0] for line in replayed.out.splitlines()] == [
        f"{tmp_path}/replay/current",
        f"{tmp_path}/replay/history",
    ]
    assert replayed.error == listed.error == ""
    assert "\x1b" not in listed.out


def test_a_list_on_a_terminal_is_not_cut_to_its_width(run: Run, up: Command) -> None:
    piped = run("history", "--tenant", "acme").out

    code, seen = on_terminal(up, 80, "history", "--tenant", "acme")

    assert (code, seen) == (0, piped)
    assert max(map(len, piped.splitlines())) > 80


def test_nothing_to_show_says_why_and_what_next(run: Run, up: Command, data_dir: Path) -> None:
    lines = (EVENTS / "examples.ndjson").read_bytes().splitlines()
    (ended,) = [line for line in lines if b"destroyed" in line and b"s-1002" in line]
    begun = lines[0].replace(b'"acme"', b'"early"')
    up.ok("publish", "-", stdin=begun + b"\n" + ended.replace(b'"acme"', b'"quiet"'))
    up.wait_applied()

    nobody = run("sessions", "--tenant", "quiet").out
    nothing_ended = run("history", "--tenant", "early").out
    filtered = run("sessions", "--tenant", "acme", "--user", "nobody").out
    no_letters = run("dead-letters", "list", "--data-dir", data_dir).out
    not_up = run("status", "--data-dir", data_dir).out

    assert nobody == "nobody is connected; `sojourn history` lists the sessions that have ended\n"
    assert nothing_ended == "no session has ended yet; --open adds those that are open\n"
    assert filtered == "no session matches; leave filters out to see more\n"
    assert no_letters == (
        "no open dead letters; `sojourn dead-letters list --all` shows those that were resolved, too\n"
    )
    assert "\nnobody applies what is published: start `sojourn up`\n" in not_up
    assert not_up.endswith("\ndispositions: none yet\nheartbeats: none yet\nnothing is known to be complete yet\n")


JSON_COMMANDS: Final = {
    "sessions": "sessions --tenant acme",
    "history": "history --tenant acme",
    "export": "export current --tenant acme --format csv --out OUT",
    "replay": "replay --to 2020-01-01 --out OUT",
    "status": "status",
    "dead-letters list": "dead-letters list",
    "dead-letters show": "dead-letters show PLACE",
    "publish": "publish /dev/null",
    "simulate": "simulate --sessions 1 --seed 1",
    "config show": "config show",
}
PAGES: Final = {
    "history": ("sessions",),
    "replay": ("export",),
    "dead-letters show": ("dead-letters list",),
}


@pytest.mark.parametrize("command", JSON_COMMANDS)
def test_the_keys_of_json_lines_stand_in_the_documentation(run: Run, tmp_path: Path, command: str) -> None:
    line = JSON_COMMANDS[command].replace("OUT", str(tmp_path / "out"))
    if "PLACE" in line:
        letter = json.loads(run("dead-letters", "list", "--json").out.splitlines()[0])
        line = line.replace("PLACE", f"{letter['topic']}@{letter['partition']}:{letter['offset']}")
    page = sections("docs/cli.md")
    text = "".join(page[f"sojourn {name}"] for name in (command, *PAGES.get(command, ())))

    rows = [json.loads(row) for row in run(*line.split(), "--json").out.splitlines()]

    assert rows
    assert {key for row in rows for key in row} <= set(re.findall(r"[a-z_]+", text))


def shell(up: Command, line: str) -> Said:
    """Run a line of a shell in which `sojourn` is ours."""
    script = f'sojourn() {{ "{SOJOURN}" "$@"; }}\n{line}'
    done = subprocess.run(
        ["bash", "-c", script], env=up.environ, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS_MAX
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_closed_and_full_standard_streams_are_named(up: Command) -> None:
    no_input = shell(up, "sojourn publish - <&-")
    no_output = shell(up, "sojourn sessions --tenant acme >&-")
    full = shell(up, "PYTHONUNBUFFERED= sojourn sessions --tenant acme --json >/dev/full")

    assert no_input.error.endswith("the standard input is closed; name a file, or write to it with a pipe\n")
    assert no_output == Said(1, "", "sojourn: the standard output is closed; send it to a file or to /dev/null\n")
    assert full == Said(1, "", "sojourn: cannot write to the standard output: no space left on device\n")


def test_a_reader_that_has_seen_enough_ends_a_list_quietly(up: Command) -> None:
    said = shell(up, "sojourn dead-letters list --json | true; echo ${PIPESTATUS[0]}")

    assert said == Said(0, "1\n", "")


def test_names_are_written_in_any_locale(up: Command) -> None:
    said = shell(up, "PYTHONIOENCODING=ascii sojourn sessions --tenant globex")

    assert "Žofie Nováková 王 (" in said.out
    assert said.error == ""


def start(up: Command, *words: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", AS_IN_A_TERMINAL, SOJOURN, *map(str, words)],
        env=up.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_publisher_that_is_stopped_on_a_quiet_pipe_says_what_is_acknowledged(
    up: Command, stop: signal.Signals
) -> None:
    before = appended(up)
    with start(up, "publish", "-") as publisher:
        assert publisher.stdin is not None
        publisher.stdin.write(b"no event\n" * 3)
        publisher.stdin.flush()
        wait_until(lambda: appended(up) == before + 3, "three lines are published")

        publisher.send_signal(stop)
        said = (publisher.wait(WAIT_SECONDS_MAX), publisher.stdout.read(), publisher.stderr.read())  # type: ignore[union-attr]

    assert said == (130, b"published 3 events\n", b"")


def appended(up: Command) -> int:
    """Return how many records the lifecycle log has, without a command's start."""
    socket = str(up.data_dir / "postgres" / "socket")
    with psycopg.connect(host=socket, user="sojourn", dbname="sojourn") as connection:
        cursor = connection.execute("SELECT sum(next_offset) FROM sojourn_log.log_head WHERE topic = %s", [LIFECYCLE])
        return int((cursor.fetchone() or (0,))[0])


def test_a_line_that_no_memory_should_hold_is_named_and_those_before_it_count(up: Command) -> None:
    done = up("publish", "-", stdin=b"one\n\ntwo\n" + bytes(20 << 20))

    assert done.returncode == 1
    assert done.stdout == "published 2 events\n"
    assert done.stderr == "sojourn: a line may have 16777216 bytes; longer is line 4\n"


def has_appended(command: Command) -> bool:
    try:
        return appended(command) == 1
    except psycopg.Error:  # it starts, or makes its tables
        return False


def test_a_publisher_outlives_its_database(data_dir: Path) -> None:
    command = Command(data_dir)
    with start(command, "publish", "-") as publisher:
        assert publisher.stdin is not None
        publisher.stdin.write(b"before\n")
        publisher.stdin.flush()
        wait_until(lambda: has_appended(command), "the first line is published")

        kill_server(data_dir)
        publisher.stdin.write(b"after\n")
        publisher.stdin.close()
        code, out = publisher.wait(WAIT_SECONDS_MAX), publisher.stdout.read()  # type: ignore[union-attr]

    assert (code, out) == (0, b"published 2 events\n")
    assert sum(row["end"] for row in command.rows("status") if row.get("topic") == "sojourn.lifecycle") == 2
    assert not server_processes(data_dir), "the last user stops the server"
