"""Commands from the operator's line to the session's end, through a running Sojourn, to a broker that is scripted."""

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from sojourn.events.codec import encode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.decisions import disconnect_requested
from sojourn.events.topics import COMMANDS
from tests.conftest import open_folder
from tests.integration.command import Command, free_port
from tests.integration.command_line import Run, run_here
from tests.integration.scripted_broker import (
    BROKER,
    IMPATIENT_UP,
    SECONDS_MAX,
    ScriptedBroker,
    Step,
    acknowledge,
    deliver,
    end,
    fail,
    refuse,
    wait_until,
)

ASK = ("--tenant", "acme", "--reason", "host maintenance")
WAIT = ("--wait", str(SECONDS_MAX))
EXPIRES = "6"  # seconds: a busy machine takes three to hand a command over
OTHER = "/brokers/quiet"

_numbers = count(1)


class Stage:
    """A running Sojourn, its broker, and the command line."""

    def __init__(self, up: subprocess.Popen[str], broker: ScriptedBroker) -> None:
        self.up, self.broker = up, broker
        self.run: Run

    def begin(self, *script: Step, **fields: Any) -> str:
        """Open a session of its own for a test."""
        return self.broker.begin(f"s-{next(_numbers)}", *script, **fields)

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """Run a command with --json, whatever its exit code, and return its objects."""
        return [json.loads(line) for line in self.run(*words, "--json").out.splitlines()]

    def command_of(self, session_id: str, tenant: str = "acme") -> dict[str, Any]:
        """Return the only command about a session."""
        (row,) = self.rows("commands", "list", "--tenant", tenant, "--session", session_id)
        return row

    def wait_state(self, session_id: str, state: str) -> dict[str, Any]:
        """Wait until the command about a session stands so, and return it."""

        def stands() -> bool:
            words = ("commands", "list", "--tenant", "acme", "--session", session_id)
            return [row["state"] for row in self.rows(*words)] == [state]

        wait_until(stands, f"the command about {session_id} is {state}")
        return self.command_of(session_id)

    def acts(self, reason: str) -> list[dict[str, Any]]:
        """Return the results of the administrative acts with this reason."""
        query = "SELECT result FROM sojourn.admin_action WHERE reason = %s ORDER BY at"
        return [json.loads(result) for (result,) in self.broker.query(query, reason)]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let Sojourn stand still while the block runs."""
        self.up.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.up.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    """Run Sojourn and the broker for all tests here."""
    with open_folder() as folder:
        command = Command(folder / "data")
        words = [*IMPATIENT_UP, "up", "--port", str(free_port())]
        up = subprocess.Popen(words, env=command.environ, stdout=subprocess.PIPE, text=True)
        try:
            assert up.stdout is not None
            assert "Sojourn is running" in up.stdout.readline()
            with ScriptedBroker(command.data_dir).running() as broker:
                yield Stage(up, broker)
            up.terminate()
            assert up.wait(SECONDS_MAX) == 0
        finally:
            up.kill()
            up.communicate()


@pytest.fixture
def stage(running: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    """Give the test the command line on it."""
    with run_here(monkeypatch, capsys, running.broker.data_dir) as run:
        running.run = run
        yield running


def input_of(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_a_session_that_its_broker_ends_by_command_is_confirmed(stage: Stage) -> None:
    session = stage.begin(deliver, acknowledge, end)

    said = stage.run("disconnect", session, *ASK, *WAIT)

    assert (said.code, said.out, said.error) == (0, f"{session}  confirmed\n1 of 1 confirmed\n", "")
    (row,) = [one for one in stage.rows("history", "--tenant", "acme") if one["session_id"] == session]
    assert (row["reason"], row["outcome"]) == ("admin_disconnect", "normal")


def test_a_command_shows_each_step_with_its_time_and_where_the_log_has_it(stage: Stage) -> None:
    session = stage.begin(deliver, acknowledge, end)
    assert stage.run("disconnect", session, *ASK, *WAIT, "--message", "please save").code == 0
    command = stage.command_of(session)

    (shown,) = stage.rows("commands", "show", command["command_id"], "--tenant", "acme")
    text = stage.run("commands", "show", command["command_id"], "--tenant", "acme").out

    steps = shown.pop("steps")
    assert shown == command
    assert [step["step"] for step in steps] == ["requested", "delivered", "acknowledged", "destroyed"]
    assert [step["source"] for step in steps] == ["/sojourn", BROKER, BROKER, BROKER]
    times = [command[name] for name in ("requested_at", "delivered_at", "acknowledged_at", "concluded_at")]
    assert [step["appended_at"] for step in steps] == times
    assert (command["reason"], command["message"]) == ("host maintenance", "please save")
    for step in steps:
        place = step["place"]
        partition, offset = place.removeprefix("lifecycle@").split(":")
        found = stage.broker.query(
            'SELECT value FROM sojourn_log.lifecycle WHERE partition = %s AND "offset" = %s', partition, offset
        )
        assert command["command_id"].encode() in found[0][0]
        assert place in text
    assert "confirmed: the session ended, and its `destroyed` names the command" in text


@pytest.mark.parametrize(
    ("script", "state", "detail"),
    [((acknowledge, refuse), "refused", "in maintenance"), ((fail,), "failed", "the agent is gone")],
)
def test_a_broker_that_will_not_or_cannot_is_told_with_its_words(
    stage: Stage, script: tuple[Step, ...], state: str, detail: str
) -> None:
    session = stage.begin(*script)

    said = stage.run("disconnect", session, *ASK, *WAIT)

    assert (said.code, said.out) == (1, f"{session}  {state}  {detail}\n0 of 1 confirmed\n")
    assert session in {row["session_id"] for row in stage.rows("sessions", "--tenant", "acme")}


def test_a_lost_answer_makes_it_not_confirmed_a_retry_has_no_second_effect_and_a_late_end_corrects_it(
    stage: Stage,
) -> None:
    session, acknowledged = stage.begin(), stage.begin(acknowledge)  # what the broker says of its end is lost
    words = ("disconnect", session, acknowledged, *ASK, "--expires", EXPIRES, "--idempotency-key", f"of {session}")

    first = stage.rows(*words, *WAIT)
    again = stage.rows(*words, *WAIT)

    assert [row["state"] for row in first] == ["not_confirmed"] * 2
    assert sorted(again, key=str) == sorted(first, key=str)
    assert stage.run(*words, *WAIT).code == 1
    assert stage.command_of(acknowledged)["acknowledged_at"] is not None, "which alone is never called done"
    (asked,) = stage.broker.commands(session)
    stage.broker.publish(end(asked))
    command = stage.wait_state(session, "confirmed")
    (shown,) = stage.rows("commands", "show", command["command_id"], "--tenant", "acme")
    assert [step["step"] for step in shown["steps"]] == ["requested", "expired", "destroyed"]
    assert len(stage.broker.commands(session)) == 1
    actions = "SELECT FROM sojourn.admin_action WHERE subject = %s"
    assert len(stage.broker.query(actions, f'["{session}","{acknowledged}"]')) == 1


def test_a_key_that_was_used_for_another_request_is_an_error_of_one_line(stage: Stage) -> None:
    session, key = stage.begin(acknowledge, end), f"key-{uuid.uuid4()}"
    stage.run("disconnect", session, *ASK, "--idempotency-key", key)

    said = stage.run("log-off", session, *ASK, "--idempotency-key", key)

    assert said.line(1) == f"this idempotency key was used for another request; choose another: '{key}'"


def test_many_sessions_of_standard_input_each_get_their_result(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, refused, failed = stage.begin(acknowledge, end), stage.begin(refuse), stage.begin(fail)
    input_of(monkeypatch, f"{ended}\n\n  {refused}\r\n{failed}")

    rows = stage.rows("disconnect", "-", "s-nobody", ended, *ASK, *WAIT)

    assert {row["session_id"]: (row["state"], row["detail"]) for row in rows} == {
        "s-nobody": ("refused", "no such session"),
        ended: ("confirmed", None),
        refused: ("refused", "in maintenance"),
        failed: ("failed", "the agent is gone"),
    }
    assert len(rows) == 4
    assert rows[0]["session_id"] == "s-nobody", "what is known at once is told at once"


def test_who_does_not_wait_is_told_that_requested_is_not_done(stage: Stage) -> None:
    session = stage.begin(acknowledge, end)

    said = stage.run("disconnect", session, "s-nobody", *ASK)

    assert said.code == 1
    header, first, second, summary, advice = said.out.splitlines()
    assert header.split() == ["SESSION", "RESULT", "BROKER", "COMMAND", "DETAIL"]
    assert first.split()[:3] == [session, "requested", BROKER]
    assert second.split(maxsplit=4) == ["s-nobody", "refused", "–", "–", "no such session"]
    assert summary == "disconnect: 1 requested, 1 refused"
    assert advice.startswith("requested is not done: see `sojourn commands list --tenant acme`")
    stage.wait_state(session, "confirmed")


def test_waiting_ends_when_its_time_is_over(stage: Stage) -> None:
    session = stage.begin(acknowledge)
    stage.run("disconnect", session, *ASK)
    stage.wait_state(session, "acknowledged")
    key = f"key-{uuid.uuid4()}"

    said = stage.run("disconnect", session, *ASK, "--wait", "0", "--idempotency-key", key)

    assert said.code == 1
    assert said.out.startswith(f"{session}  requested  ")


def test_a_dry_run_says_what_would_be_asked_and_changes_nothing(stage: Stage) -> None:
    session = stage.begin(acknowledge, end)

    said = stage.run("disconnect", session, *ASK[:2], "--reason", "a dry run", "--dry-run")

    assert said.code == 0
    assert said.out.splitlines()[1].split()[:3] == [session, "allowed", BROKER]
    assert said.out.endswith("disconnect: 1 allowed, 0 refused\nnothing was changed\n")
    assert stage.acts("a dry run") == []
    assert stage.rows("commands", "list", "--tenant", "acme", "--session", session) == []


def test_a_session_that_has_ended_is_refused_with_when(stage: Stage) -> None:
    session = stage.begin(end)
    assert stage.run("disconnect", session, *ASK, *WAIT).code == 0

    (row,) = stage.rows("disconnect", session, *ASK[:2], "--reason", "again")

    assert row["state"] == "refused"
    assert row["detail"].startswith("has ended at 20")
    assert [act["outcome"] for act in stage.acts("again")] == ["refused"]


def test_messages_and_logging_off_go_to_brokers_that_declare_them(stage: Stage) -> None:
    stage.broker.declare(BROKER, "disconnect", "send_message", "log_off")
    session, quiet = stage.begin(acknowledge), stage.begin(source=OTHER)

    said = stage.run("send-message", session, *ASK, "--message", "please save", *WAIT)
    (row,) = stage.rows("log-off", quiet, *ASK)

    assert (said.code, said.out) == (0, f"{session}  acknowledged\n1 of 1 acknowledged\n")
    assert stage.broker.wait_command(session).data.message == "please save"
    assert (row["state"], row["detail"]) == (
        "refused",
        f"its broker does not take log_off; what {OTHER} declares: disconnect",
    )
    leaving = stage.begin(end)
    assert stage.run("log-off", leaving, *ASK, *WAIT).code == 0
    assert stage.broker.wait_command(leaving).data.kind == "log_off"


def test_a_request_that_sojourn_takes_up_too_late_reaches_no_broker(stage: Stage) -> None:
    session = stage.begin(acknowledge, end)

    with stage.frozen():
        before = datetime.now(UTC)
        stage.run("disconnect", session, *ASK, "--expires", "1")
        wait_until(lambda: datetime.now(UTC) > before + timedelta(seconds=3), "the command has expired")

    command = stage.wait_state(session, "failed")
    assert command["detail"] == "it had expired before the log took it"
    assert session in {row["session_id"] for row in stage.rows("sessions", "--tenant", "acme")}
    assert_later_commands_come(stage)
    assert stage.broker.commands(session) == []


def test_the_relay_drops_a_command_that_expired_on_its_way_to_the_broker(stage: Stage) -> None:
    now = datetime.now(UTC)
    data = DisconnectRequestedData("c-expired", "disconnect", BROKER, "too late", "ada", now - timedelta(seconds=1))
    value = encode(disconnect_requested("acme", "s-expired", data, now))
    stage.broker.query(
        "INSERT INTO sojourn.outbox (topic, partition, epoch, key, value, created_at)"
        " SELECT %s, partition, 0, NULL, %s, now() FROM generate_series(0, 11) AS partition",
        COMMANDS,
        value,
    )

    wait_until(lambda: stage.broker.query("SELECT FROM sojourn.outbox") == [], "the relay has seen it")
    assert_later_commands_come(stage)
    assert stage.broker.commands("s-expired") == []


def assert_later_commands_come(stage: Stage) -> None:
    """Show that what was relayed by now has arrived, since a later command has."""
    later = stage.begin(acknowledge, end)
    assert stage.run("disconnect", later, *ASK, *WAIT).code == 0


def test_no_tenant_sees_or_ends_what_belongs_to_another(stage: Stage) -> None:
    ours, theirs = stage.begin(acknowledge, end), stage.begin(tenant="globex")
    as_globex = ("--tenant", "globex", "--reason", "curiosity")

    (row,) = stage.rows("disconnect", ours, *as_globex)
    stage.run("disconnect", theirs, *as_globex)
    wait_until(lambda: stage.rows("commands", "list", "--tenant", "globex"), "their own command shows")

    assert (row["state"], row["detail"], row["broker"]) == ("refused", "no such session", None)
    assert {one["session_id"] for one in stage.rows("commands", "list", "--tenant", "globex")} == {theirs}
    assert theirs not in {one["session_id"] for one in stage.rows("commands", "list", "--tenant", "acme")}
    command = stage.command_of(theirs, "globex")["command_id"]
    line = stage.run("commands", "show", command, "--tenant", "acme").line(1)
    assert line == (
        f"no such command, or nobody has taken it up yet; see `sojourn commands list --tenant acme`: {command!r}"
    )
    assert stage.broker.commands(ours) == []


def test_another_brokers_answer_is_a_dead_letter_and_confirms_nothing(stage: Stage) -> None:
    session = stage.begin()
    stage.run("disconnect", session, *ASK)
    asked = stage.broker.wait_command(session)

    stage.broker.publish({**refuse(asked), "source": OTHER})

    def letters() -> list[dict[str, Any]]:
        return [row for row in stage.rows("dead-letters", "list") if row["session_id"] == session]

    wait_until(letters, "the answer is a dead letter")
    assert [row["reason"] for row in letters()] == ["wrong_source"]
    assert stage.command_of(session)["state"] == "requested"


def test_the_list_is_filtered_by_session_and_state(stage: Stage) -> None:
    session = stage.begin(refuse)
    stage.run("disconnect", session, *ASK, *WAIT)
    words = ("commands", "list", "--tenant", "acme")

    assert [row["session_id"] for row in stage.rows(*words, "--session", session, "--state", "refused")] == [session]
    assert stage.run(*words, "--session", session, "--state", "confirmed").out == (
        "no command matches; leave filters out to see more\n"
    )
    header, line, summary = stage.run(*words, "--session", session).out.splitlines()
    assert header.split() == ["REQUESTED", "(UTC)", "SESSION", "KIND", "STATE", "BROKER", "BY", "REASON", "COMMAND"]
    assert line.split()[2:6] == [session, "disconnect", "refused", BROKER]
    assert summary == "1 command"
    assert "is one of requested, delivered" in stage.run(*words, "--state", "gone").line(2)


def test_a_tenant_that_does_not_exist_is_said_to_be_none(stage: Stage) -> None:
    line = stage.run("disconnect", "s-1", "--tenant", "initech", "--reason", "x").line(1)

    assert line.startswith("no such tenant")


def test_the_account_that_asks_is_kept_with_what_was_done(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    session = stage.begin(acknowledge, end)

    stage.run("disconnect", session, *ASK[:2], "--reason", "by ada", *WAIT)

    query = "SELECT tenant, actor, action, subject, origin FROM sojourn.admin_action WHERE reason = 'by ada'"
    (act,) = stage.broker.query(query)
    assert act == ("acme", "ada", "disconnect", json.dumps([session]), f"command line on {os.uname().nodename}")
    assert stage.command_of(session)["requested_by"] == "ada"
