"""`sojourn log`: every record for auditors, byte for byte, and the way on behind a gap."""

import asyncio
import base64
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from sojourn.console import log as log_module
from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.errors import Unreachable
from sojourn.events.log import Append, Record
from sojourn.events.settings import Settings
from sojourn.events.topics import LIFECYCLE
from tests.integration.command import EVENTS, SOJOURN, WAIT_SECONDS_MAX, Command, free_port
from tests.integration.command_line import Run, run_here, up_with_examples
from tests.integration.server_processes import kill_server
from tests.integration.test_cli_output import AS_IN_A_TERMINAL
from tests.unit.test_docs import sections

LIFECYCLE_TYPES: Final = (b"session.established", b"session.destroyed")


@pytest.fixture(scope="module")
def up() -> Iterator[Command]:
    with up_with_examples() as command:
        yield command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], up: Command) -> Iterator[Run]:
    with run_here(monkeypatch, capfd, up.data_dir) as run:
        yield run


@pytest.fixture
def run_new(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_dir: Path) -> Iterator[Run]:
    with run_here(monkeypatch, capfd, data_dir) as run:
        yield run


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def bytes_of(value: Any) -> bytes:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()


def documented(command: str) -> set[str]:
    return set(re.findall(r"[a-z_]+", sections("docs/cli.md")[command]))


def sql(data_dir: Path, *statements: str) -> None:
    """Do to the log what only a fault does."""

    async def execute() -> None:
        database = await open_database(Settings(data_dir))
        try:
            async with await database.connect() as connection:
                for statement in statements:
                    await connection.execute(statement.encode())
        finally:
            await database.close()

    asyncio.run(execute())


def test_every_record_is_printed_with_the_bytes_that_were_published(run: Run) -> None:
    published = [
        line
        for name in ("examples", "bad")
        for line in (EVENTS / f"{name}.ndjson").read_bytes().splitlines()
        if name == "bad" or any(kind in line for kind in LIFECYCLE_TYPES)
    ]

    records = objects(run("log", "read", "--json").out)

    assert sorted(bytes_of(record["value"]) for record in records) == sorted(published)
    assert {record["key"] for record in records} >= {"acme/s-1001", "globex/s-1001", None}
    assert records[0].keys() <= documented("sojourn log read")
    places = [(record["partition"], record["offset"]) for record in records]
    assert places == sorted(places), "partition by partition, each in the order of its offsets"


def test_what_comes_next_is_told_to_people_and_taken_by_the_next_command(run: Run) -> None:
    everything = run("log", "read").out.splitlines()
    (position,) = re.findall(r"to read what comes next: --from (\S+)$", everything[-1])

    behind = run("log", "read", "--from", position)
    partition = run("log", "read", "--from", position.replace("lifecycle@0:1", "lifecycle@0:0"), "--json")
    before = run("log", "read", "--to", position, "--json")

    assert everything[-1].startswith(f"{len(everything) - 1} records; ")
    assert behind.out == f"no records; to read what comes next: --from {position}\n"
    assert [(record["partition"], record["offset"]) for record in objects(partition.out)] == [(0, 0)]
    assert before.out == run("log", "read", "--json").out
    assert behind.error == partition.error == before.error == ""


def test_one_partition_and_part_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "RECORDS_MAX", 1)

    whole = objects(run("log", "read", "--partition", "10", "--json").out)
    part = run("log", "read", "--partition", "10", "--from", "lifecycle@10:1,3:0", "--to", "lifecycle@10:3").out

    assert [record["offset"] for record in whole] == [0, 1, 2, 3]
    assert [line.split()[1:4:2] for line in part.splitlines()[:-1]] == [
        ["lifecycle@10:1", "acme/s-1003"],
        ["lifecycle@10:2", "globex/s-1001"],
    ]
    assert part.splitlines()[-1] == "2 records; to read what comes next: --from lifecycle@10:3"


def test_a_line_for_people_says_what_happened_to_whom_or_what_is_wrong(run: Run) -> None:
    lifecycle, heartbeats = run("log", "read").out, run("log", "read", "--topic", "heartbeats").out

    time = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  "
    for what in (
        r"lifecycle@0:0 +sojourn\.session\.established\.v1  acme/s-1001$",
        r"lifecycle@\d+:\d+ +not_utf8: the byte at 0 is not UTF-8: 0xff$",
        r"lifecycle@\d+:\d+ +bad_ip  acme/s-4: neither an IPv4 nor an IPv6 address: '999\.1\.1\.1'$",
    ):
        assert re.search(time + what, lifecycle, re.MULTILINE), what
    assert re.search(
        time + r"heartbeats@0:\d +sojourn\.session\.heartbeats\.v1   acme, sessions: 1$", heartbeats, re.MULTILINE
    )
    assert re.search(
        time + r"heartbeats@7:0 +sojourn\.broker\.alive\.v1         /brokers/eu-1$", heartbeats, re.MULTILINE
    )


WRONG: Final = {
    "--partition 12": (1, "sojourn.lifecycle has the partitions 0 to 11, not: 12"),
    "--from lifecycle@12:0": (1, "sojourn.lifecycle has the partitions 0 to 11, not: 12"),
    "--from lifecycle@2:1": (1, "offset out of range in sojourn.lifecycle, partition 2, which holds 0 to 0: 1"),
    "--to lifecycle@0:9": (1, "offset out of range in sojourn.lifecycle, partition 0, which holds 0 to 1: 9"),
    "--from yesterday": (2, "a position is written like lifecycle@0:123,1:98, which --from is not: 'yesterday'"),
    "--to heartbeats@0:1": (2, "--to is a position of heartbeats, so add --topic heartbeats: 'heartbeats@0:1'"),
    "--from lifecycle@0:0,0:1": (2, "a position names each partition once, which --from does not: 'lifecycle@0:0,0:1'"),
    "--from lifecycle@0:1 --to lifecycle@0:0": (2, "--to lies before --from 1 in partition 0: 0"),
    "--follow --to lifecycle@0:0": (2, "--follow has no end, so it takes no --to: 'lifecycle@0:0'"),
    "--topic events": (2, "--topic is one of lifecycle, heartbeats, commands, not: 'events'"),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_the_log_does_not_hold_is_said_before_anything_is_printed(run: Run, words: str) -> None:
    code, line = WRONG[words]

    assert run("log", "read", *words.split()).line(code) == line


def test_a_reader_that_has_seen_enough_ends_it_quietly(up: Command) -> None:
    script = f'"{SOJOURN}" log read --json | true; echo ${{PIPESTATUS[0]}}'

    done = subprocess.run(["bash", "-c", script], env=up.environ, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("1\n", "")


@contextmanager
def follow(command: Command) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", AS_IN_A_TERMINAL, SOJOURN, "log", "read", "--follow", "--json"],
        env={**command.environ, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        try:
            yield follower
        finally:
            follower.kill()


def test_following_prints_what_is_there_and_each_record_as_it_comes_until_ctrl_c(data_dir: Path) -> None:
    command = Command(data_dir)
    command.ok("publish", "-", stdin=b"before\n")
    with follow(command) as follower:
        assert follower.stdout is not None
        first = json.loads(follower.stdout.readline())
        command.ok("publish", "-", stdin=b"after\n")
        second = json.loads(follower.stdout.readline())

        follower.send_signal(signal.SIGINT)
        code = follower.wait(WAIT_SECONDS_MAX)
        rest = follower.communicate()

    assert (first["value"], second["value"]) == ("before", "after")
    assert (code, rest) == (130, ("", ""))


def test_following_goes_on_where_it_was_when_the_log_comes_back(data_dir: Path) -> None:
    command = Command(data_dir)
    command.ok("publish", "-", stdin=b"before\n")
    with follow(command) as follower:
        assert follower.stdout is not None
        first = json.loads(follower.stdout.readline())
        kill_server(data_dir)
        command.ok("publish", "-", stdin=b"after\n")
        second = json.loads(follower.stdout.readline())
        follower.terminate()
        code = follower.wait(WAIT_SECONDS_MAX)
        rest, _ = follower.communicate()

    assert (first["value"], second["value"], rest) == ("before", "after", "")
    assert code == 130


async def test_following_outlives_a_log_that_stays_away_longer_than_its_calls_wait(
    migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await migrated_database.connect() as connection:
        await install(connection)
    log, shown = EmbeddedLog(migrated_database), asyncio.Queue[Record]()
    away, ends = [True, True], log.end_offsets

    async def end_offsets(topic: str) -> dict[int, int]:
        if away:
            away.pop()
            raise Unreachable
        return await ends(topic)

    await log.append([Append(LIFECYCLE, 0, None, b"after")])
    monkeypatch.setattr(log, "end_offsets", end_offsets)
    monkeypatch.setattr(log_module, "RETRY_SECONDS", 0)
    following = asyncio.create_task(log_module._follow(log, LIFECYCLE, {0: 0}, shown.put_nowait))
    record = await asyncio.wait_for(shown.get(), WAIT_SECONDS_MAX)
    following.cancel()
    await asyncio.wait([following])
    await log.close()

    assert (record.value, away) == (b"after", [])


EXAMPLES: Final = EVENTS / "examples.ndjson"
TRUNCATE: Final = (
    'DELETE FROM sojourn_log.lifecycle WHERE partition = 10 AND "offset" >= 1',
    "UPDATE sojourn_log.log_head SET next_offset = 1 WHERE topic = 'sojourn.lifecycle' AND partition = 10",
)


@pytest.fixture
def truncated(data_dir: Path) -> Command:
    """Apply the examples, then let the log lose the end of partition 10."""
    command = Command(data_dir)
    with command.up():
        command.ok("publish", EXAMPLES)
        command.wait_applied()
    sql(data_dir, *TRUNCATE)
    return command


def test_the_way_from_a_gap_to_a_projector_that_goes_on(truncated: Command, run_new: Run) -> None:
    stopped = truncated("up", "--port", str(free_port()))
    looked = run_new("log", "accept-gap", "10", "--dry-run")
    unchanged = run_new("log", "accept-gap", "10", "--dry-run", "--json")
    accepted = run_new("log", "accept-gap", "10", "--reason", "disk \x1b[31mlost")
    again = run_new("log", "accept-gap", "10", "--reason", "disk lost")
    listed = run_new("log", "read", "--partition", "10").out
    with truncated.up():
        truncated.ok("publish", EXAMPLES)
        rows = truncated.wait_applied()

    assert stopped.returncode == 1
    detail = (
        "the log was replaced or truncated: sojourn.lifecycle, partition 10, holds nothing of what was applied from "
        "offsets 1 to 2 (records: 2); what they said stays in the lists"
    )
    lines = looked.out.splitlines()
    assert lines[0] == detail
    assert re.fullmatch(r"last applied: offset 2, appended \d{4}-\d\d-\d\dT.*Z", lines[1])
    assert lines[2:] == ["nothing was changed; accepted with --reason, reading goes on at offset 1"]
    document = json.loads(unchanged.out)
    assert (document["detail"], document["to_offset"], document["accepted"]) == (detail, 1, False)
    assert document.keys() <= documented("sojourn log accept-gap")
    assert re.search(r"^accepted by \S+ at lifecycle@10:1$", accepted.out, re.MULTILINE)
    assert accepted.out.endswith("\nreading goes on at offset 1: start `sojourn up`\n")
    assert again.line(1) == "there is no gap: sojourn.lifecycle, partition 10, goes on at offset 1"
    assert re.search(
        r"lifecycle@10:1 +sojourn\.log\.gap_accepted\.v1 +offsets 3 to 1, \S+: disk \\x1b\[31mlost$",
        listed,
        re.MULTILINE,
    )
    (row,) = [row for row in rows if row.get("topic") == "sojourn.lifecycle" and row["partition"] == 10]
    assert row["position"] == 5


def test_a_replay_of_a_log_that_lost_its_beginning_says_what_an_auditor_can_do(
    data_dir: Path, run_new: Run, tmp_path: Path
) -> None:
    run_new("publish", EXAMPLES)
    sql(
        data_dir,
        "DELETE FROM sojourn_log.lifecycle WHERE partition = 10",
        "UPDATE sojourn_log.log_head SET start_offset = 1 WHERE topic = 'sojourn.lifecycle' AND partition = 10",
    )

    refused = run_new("replay", "--to", "2999-01-01", "--out", tmp_path / "out").line(1)

    assert refused == (
        "a replay begins with the first record, and partition 10 begins at 1; `sojourn history --revisions` lists what "
        "was applied, `sojourn log read` what the log still holds"
    )


def test_a_gap_is_accepted_with_a_reason_in_a_partition_that_exists_and_has_one(run: Run) -> None:
    unexplained = run("log", "accept-gap", "3").line(2)
    unknown = run("log", "accept-gap", "12", "--dry-run").line(1)
    none = run("log", "accept-gap", "10", "--reason", "to be sure").line(1)
    long = run("log", "accept-gap", "10", "--reason", "x" * 1001).line(2)

    assert unexplained == "a gap is accepted for a reason; see it with --dry-run, or give: --reason"
    assert unknown == "sojourn.lifecycle has the partitions 0 to 11, not: 12"
    assert none == "there is no gap: sojourn.lifecycle, partition 10, goes on at offset 4"
    assert long == "a reason has at most 1000 characters, not: 1001"
