"""Dead letters from the command line, with a `sojourn up` that runs: what waits, and what comes of a decision."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.log import Append
from sojourn.events.settings import Settings
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, session_key, session_partition
from tests.conftest import open_folder
from tests.integration.command import Command
from tests.integration.command_line import Run, run_here
from tests.unit.events import destroyed, established, heartbeat, to_bytes, with_data, without

WAIT_SECONDS_MAX: Final = 60  # an owner takes a moment; the machine may be busy


@pytest.fixture(scope="module")
def up() -> Iterator[Command]:
    with open_folder() as folder, (command := Command(folder / "data")).up():
        yield command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], up: Command) -> Iterator[Run]:
    with run_here(monkeypatch, capfd, up.data_dir) as run:
        yield run


def append(up: Command, topic: str, session: str, *events: dict[str, Any], shift: int = 0) -> None:
    """Append events as a producer does that finds the session's partition by its key; `shift` goes astray."""

    async def at_once() -> None:
        database = await open_database(Settings(up.data_dir))
        log = EmbeddedLog(database)
        partitions = await log.partitions(LIFECYCLE)
        partition = (session_partition("acme", session, partitions) + shift) % partitions
        key = session_key("acme", session)
        await log.append([Append(topic, partition, key, to_bytes(event)) for event in events])
        await log.close()
        await database.close()

    asyncio.run(at_once())


def letters(run: Run, session: str, *words: str) -> list[dict[str, Any]]:
    listed = run("dead-letters", "list", "--json", *words)
    assert listed.code == 0, listed.error
    return [row for row in map(json.loads, listed.out.splitlines()) if row["session_id"] == session]


def until(found: Callable[[], Any]) -> Any:
    """Wait until there is something, and return it."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (what := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return what


def place(row: dict[str, Any]) -> str:
    return f"{row['topic'].removeprefix('sojourn.')}@{row['partition']}:{row['offset']}"


def bad_and_parked(run: Run, up: Command, session: str) -> list[dict[str, Any]]:
    """Append a session whose beginning is bad, and return its dead letters: that and the end that waits."""
    bad = without(established(subject=session), "data.user")
    append(up, LIFECYCLE, session, bad, destroyed(subject=session))
    found: list[dict[str, Any]] = until(lambda: (rows := letters(run, session)) and len(rows) == 2 and rows)
    return found


def test_a_corrected_letter_is_applied_and_with_it_what_waited(run: Run, up: Command, tmp_path: Path) -> None:
    bad, parked = bad_and_parked(run, up, "mended")
    corrected = tmp_path / "corrected.json"
    corrected.write_bytes(to_bytes(established(subject="mended")) + b"\n")

    as_it_is = run("dead-letters", "requeue", place(bad), "--reason", "again")
    of_parked = run("dead-letters", "requeue", place(parked), "--reason", "again")
    done = run("dead-letters", "requeue", place(bad), "--reason", "the broker was mended", "--value", corrected)
    until(lambda: not letters(run, "mended"))

    assert (bad["reason"], bad["parked_behind"], parked["reason"]) == ("missing_field", 1, "parked")
    assert as_it_is.line(1).startswith("correct the event and give it with --value; it would be refused again, missing")
    assert of_parked.line(1).startswith(f"it follows by itself once {place(bad)} is resolved")
    assert "1 event follows that waited behind it" in done.out
    assert [row["resolution"] for row in letters(run, "mended", "--all")] == ["requeued", "released"]
    (ended,) = (row for row in up.rows("history", "--tenant", "acme") if row["session_id"] == "mended")
    assert (ended["user_name"], ended["reason"], ended["revision"]) == ("Ada", "logoff", 2)
    shown = json.loads(run("dead-letters", "show", place(bad), "--json").out)
    assert shown["mended"] == to_bytes(established(subject="mended")).decode()
    assert (
        run("dead-letters", "discard", place(bad), "--reason", "late").line(1).startswith("it was requeued before, by ")
    )


def test_a_discarded_letter_lets_go_what_waited_and_who_did_it_is_kept(run: Run, up: Command) -> None:
    bad, _ = bad_and_parked(run, up, "given-up")

    done = run("dead-letters", "discard", place(bad), "--reason", "a test's", "--json")
    until(lambda: not letters(run, "given-up"))

    row = json.loads(done.out)
    assert (row["resolution"], row["session_id"]) == ("discarded", "given-up")
    (ended,) = (row for row in up.rows("history", "--tenant", "acme") if row["session_id"] == "given-up")
    assert (ended["login_at"], ended["reason"]) == (None, "logoff")
    (action,) = actions(up, place(bad))
    assert action == ("acme", "dead_letter.discarded", row["who"], "a test's", "allowed")


def actions(up: Command, subject: str) -> list[tuple[Any, ...]]:
    query = "SELECT tenant, action, actor, reason, result FROM sojourn.admin_action WHERE subject LIKE %s"
    with psycopg.connect(dsn(up)) as connection:
        return connection.execute(query, (f"sojourn.{subject}@%",)).fetchall()


def dsn(up: Command) -> str:
    return f"host={up.data_dir / 'postgres' / 'socket'} user=sojourn dbname=sojourn"


def test_the_list_shows_what_is_open_and_all_of_it_on_demand(run: Run, up: Command) -> None:
    bad, parked = bad_and_parked(run, up, "listed")

    lines = run("dead-letters", "list").out.splitlines()
    run("dead-letters", "discard", place(bad), "--reason", "done")
    until(lambda: not letters(run, "listed"))
    later = run("dead-letters", "list", "--all").out.splitlines()

    (of_bad,) = (line.split() for line in lines if line.startswith(f"{place(bad)} ") and "missing_field" in line)
    assert lines[0].split()[-2:] == ["BEHIND", "DETAIL"]
    assert of_bad[6] == "1"
    assert any(line.startswith(f"{place(parked)} ") and " released " in line for line in later)


def test_heartbeats_are_only_discarded(run: Run, up: Command) -> None:
    append(up, HEARTBEATS, "beaten", with_data(heartbeat(subject="beaten"), client_ip="nowhere"))
    (found,) = until(lambda: letters(run, "beaten"))

    requeued = run("dead-letters", "requeue", place(found), "--reason", "again")
    run("dead-letters", "discard", place(found), "--reason", "nothing lost")
    until(lambda: not letters(run, "beaten"))

    assert requeued.line(1).startswith("heartbeats are not requeued, since a late one proves nothing; discard it: ")
    assert [row["resolution"] for row in letters(run, "beaten", "--all")] == ["discarded"]


def test_one_that_lives_in_another_partition_is_published_again_instead(run: Run, up: Command) -> None:
    append(up, LIFECYCLE, "astray", established(subject="astray"), shift=1)
    (found,) = until(lambda: letters(run, "astray"))

    requeued = run("dead-letters", "requeue", place(found), "--reason", "again")

    advice = "its session lives in another partition: publish it again, and discard this; "
    assert requeued.line(1).startswith(advice)
    assert (found["reason"], found["parked_behind"]) == ("wrong_partition", 0)


def test_what_cannot_be_meant_is_refused_before_anything_starts(run: Run, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"

    said = [
        run("dead-letters", "requeue", "there", "--reason", "x").line(2),
        run("dead-letters", "discard", "lifecycle@0:0").line(2),
        run("dead-letters", "discard", "lifecycle@0:0", "--reason", " ").line(2),
        run("dead-letters", "requeue", "lifecycle@0:0", "--reason", "x", "--value", nothing).line(1),
        run("dead-letters", "discard", "lifecycle@11:999", "--reason", "x").line(1),
        run("dead-letters", "show", "lifecycle@11:999@2026-11-24").line(1),
    ]

    assert said == [
        "a place is written like lifecycle@3:17, not: 'there'",
        "a value is missing; see `sojourn dead-letters discard --help`: --reason",
        "a reason has 1 to 1000 characters, not: 1",
        f"cannot read the corrected event (no such file or directory): {nothing}",
        "no dead letter stands there; `sojourn dead-letters list --all` shows all: 'lifecycle@11:999'",
        "no dead letter stands there; `sojourn dead-letters list --all` shows all: 'lifecycle@11:999@2026-11-24'",
    ]
