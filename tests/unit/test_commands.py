"""What becomes of commands: every rule by which an event moves one on, or does not."""

import re
from datetime import timedelta
from typing import Any

import pytest

from sojourn.projections.commands import STATES, Command
from tests.unit.command_events import (
    BROKER,
    COMMAND,
    EXPIRES,
    SECOND,
    Line,
    acknowledged,
    at,
    delivered,
    ended,
    expired,
    failed,
    message_line,
    requested,
)
from tests.unit.events import destroyed, established, to_bytes
from tests.unit.tree import ROOT


@pytest.fixture
def line() -> Line:
    """Return a log in which a session is open and a command to end it stands."""
    line = Line()
    line.append(established())
    assert line.said(requested()) == ("applied", None)
    return line


def test_a_request_makes_a_command_that_keeps_its_bytes_and_when_the_log_took_it(line: Line) -> None:
    assert line.command == Command(
        session_id="s-1",
        broker=BROKER,
        kind="disconnect",
        state="requested",
        reason="maintenance",
        message=None,
        requested_by="ada",
        requested_at=at(1),
        expires_at=EXPIRES,
        delivered_at=None,
        acknowledged_at=None,
        concluded_at=None,
        detail=None,
        partition=0,
        offset=1,
        appended_at=at(1),
        event=requested(),
    )


def test_a_command_moves_from_its_request_over_each_answer_to_the_end_that_names_it(line: Line) -> None:
    steps = [line.said(event) for event in (delivered(), acknowledged(), ended())]

    assert steps == [("applied", None)] * 3
    command = line.command
    assert (command.state, command.delivered_at, command.acknowledged_at) == ("confirmed", at(2), at(3))
    assert (command.concluded_at, command.offset, command.appended_at) == (at(4), 4, at(4))
    assert command.requested_at == at(1)


def test_an_answer_alone_never_confirms_a_command(line: Line) -> None:
    line.append(delivered(), acknowledged())

    assert (line.command.state, line.command.concluded_at) == ("acknowledged", None)


def test_an_acknowledgement_says_that_the_command_was_delivered_too(line: Line) -> None:
    line.append(acknowledged())

    assert line.command.delivered_at == line.command.acknowledged_at == at(2)
    assert line.said(delivered()) == ("duplicate", None)


@pytest.mark.parametrize("again", [requested, delivered, acknowledged, failed, expired])
def test_a_step_that_is_repeated_changes_nothing(line: Line, again: Any) -> None:
    line.append(again())
    before = line.command

    changes = line.append(again())

    assert [entry.disposition for entry in changes.entries] == ["duplicate"]
    assert changes.commands == {}
    assert line.command == before


def test_a_step_and_its_repeat_in_one_batch_do_the_same_as_in_two(line: Line) -> None:
    changes = line.append(delivered(), delivered(), acknowledged(), acknowledged())

    assert [entry.disposition for entry in changes.entries] == ["applied", "duplicate", "applied", "duplicate"]
    assert (line.command.delivered_at, line.command.acknowledged_at) == (at(2), at(4))


def test_another_request_cannot_take_the_id_of_a_command(line: Line) -> None:
    before = line.command

    assert line.said(requested(reason="another")) == ("late", "another request had this command's id before")
    assert line.command == before


def test_a_request_about_no_session_fails_at_once() -> None:
    line = Line()

    assert line.said(requested()) == ("applied", "there is no such session")
    assert (line.command.state, line.command.concluded_at) == ("failed", at(0))
    assert line.command.detail == "there is no such session"


def test_a_request_about_a_session_that_has_ended_fails_at_once() -> None:
    line = Line()
    line.append(established(), destroyed())

    assert line.said(requested()) == ("applied", "the session had ended before")
    assert (line.command.state, line.command.concluded_at) == ("failed", at(2))


def test_a_request_that_the_log_takes_after_its_expiry_fails_and_goes_to_no_broker() -> None:
    line = Line()
    line.append(established())

    assert line.said(requested(expires_at=at(1))) == ("applied", "it had expired before the log took it")
    assert (line.command.state, line.command.concluded_at) == ("failed", at(1))


def test_a_request_that_the_log_takes_just_before_its_expiry_stands() -> None:
    line = Line()
    line.append(established(), requested(expires_at=at(1) + timedelta(microseconds=1)))

    assert line.command.state == "requested"


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_a_broker_that_will_not_or_cannot_concludes_the_command_and_says_why(line: Line, outcome: str) -> None:
    line.append(acknowledged(), failed(outcome, "in maintenance"))

    assert (line.command.state, line.command.detail) == (outcome, "in maintenance")
    assert line.command.concluded_at == at(3)


@pytest.mark.parametrize(("first", "second"), [("refused", "failed"), ("failed", "refused")])
def test_a_second_other_refusal_is_late(line: Line, first: str, second: str) -> None:
    line.append(failed(first, "in maintenance"))

    assert line.said(failed(second, "no such session")) == ("late", f"the command was {first} before")
    assert (line.command.state, line.command.detail) == (first, "in maintenance")


@pytest.mark.parametrize("steps", [(), (delivered(),), (delivered(), acknowledged())])
def test_a_deadline_without_an_effect_leaves_the_command_not_confirmed(line: Line, steps: tuple[bytes, ...]) -> None:
    line.append(*steps)

    assert line.said(expired()) == ("applied", None)
    assert (line.command.state, line.command.detail) == ("not_confirmed", None)
    assert line.command.concluded_at == line.now - SECOND


def test_a_deadline_tells_of_a_session_that_ended_without_naming_the_command(line: Line) -> None:
    line.append(ended(reason="logoff", command=None), expired())

    assert line.command.state == "not_confirmed"
    assert line.command.detail == "the session has ended, and its end names no command"


@pytest.mark.parametrize(
    ("event", "state"), [(ended(), "confirmed"), (failed("refused"), "refused"), (failed(), "failed")]
)
def test_a_deadline_after_the_end_of_a_command_is_late(line: Line, event: Any, state: str) -> None:
    line.append(event)
    before = line.command

    assert line.said(expired()) == ("late", f"the command was {state} before")
    assert line.command == before


def test_a_late_effect_corrects_a_command_that_was_not_confirmed(line: Line) -> None:
    line.append(expired())

    line.append(ended())

    assert (line.command.state, line.command.concluded_at, line.command.detail) == ("confirmed", at(3), None)


def test_a_late_refusal_corrects_a_command_that_was_not_confirmed(line: Line) -> None:
    line.append(expired(), failed("refused", "in maintenance"))

    assert (line.command.state, line.command.detail, line.command.concluded_at) == ("refused", "in maintenance", at(3))


def test_a_late_acknowledgement_is_kept_and_confirms_nothing(line: Line) -> None:
    line.append(expired(), acknowledged())

    assert (line.command.state, line.command.acknowledged_at) == ("not_confirmed", at(3))
    assert line.command.concluded_at == at(2)


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_an_effect_corrects_a_broker_that_said_it_would_have_none(line: Line, outcome: str) -> None:
    line.append(failed(outcome, "in maintenance"), ended())

    assert (line.command.state, line.command.detail) == ("confirmed", None)


def test_nothing_undoes_an_effect(line: Line) -> None:
    line.append(ended())

    assert line.said(failed()) == ("late", "the command was confirmed before")
    line.append(delivered(), acknowledged())
    assert (line.command.state, line.command.delivered_at, line.command.acknowledged_at) == ("confirmed", at(4), at(5))
    assert line.command.concluded_at == at(2)


@pytest.mark.parametrize("answer", [delivered, acknowledged, failed])
def test_an_answer_of_another_broker_is_a_dead_letter_and_moves_nothing(line: Line, answer: Any) -> None:
    before = line.command

    changes = line.append(answer(source="/brokers/us-1"))

    (letter,) = changes.dead_letters
    assert letter.reason == "wrong_source"
    assert letter.detail == "it answers a command to /brokers/eu-1, not to: '/brokers/us-1'"
    assert [entry.disposition for entry in changes.entries] == ["dead_letter"]
    assert line.command == before


@pytest.mark.parametrize("answer", [delivered, acknowledged, failed])
def test_an_answer_about_another_session_is_late(line: Line, answer: Any) -> None:
    before = line.command

    assert line.said(answer(subject="s-2")) == ("late", "no such command of this session: 'c-1'")
    assert line.command == before


def test_a_deadline_about_another_session_is_late(line: Line) -> None:
    assert line.said(expired("s-2"))[0] == "late"
    assert line.command.state == "requested"


@pytest.mark.parametrize("answer", [delivered, acknowledged, failed])
def test_an_answer_to_a_command_that_nobody_gave_is_late(line: Line, answer: Any) -> None:
    assert line.said(answer(command="c-2")) == ("late", "no such command of this session: 'c-2'")
    assert line.commands.keys() == {("acme", COMMAND)}


def test_an_answer_of_another_tenant_does_not_reach_a_command(line: Line) -> None:
    assert line.said(acknowledged(tenant="globex"))[0] == "late"
    assert line.command.state == "requested"


def test_the_end_of_another_session_does_not_confirm_a_command(line: Line) -> None:
    line.append(established(id="7", subject="s-2"), {**ended(), "subject": "s-2", "id": "8"})

    assert line.command.state == "requested"


def test_the_end_of_another_tenants_session_of_the_same_id_does_not_confirm_a_command(line: Line) -> None:
    line.append({**ended(), "tenant": "globex"})

    assert line.command.state == "requested"


def test_an_end_that_names_no_command_confirms_none(line: Line) -> None:
    line.append(ended(command=None))

    assert line.command.state == "requested"


def test_an_end_that_loses_against_an_earlier_one_still_tells_what_its_broker_did(line: Line) -> None:
    line.append(destroyed(id="1st", sequence=2))

    changes = line.append({**ended(), "id": "2nd", "sequence": 3})

    assert [entry.disposition for entry in changes.entries] == ["late"]
    assert line.command.state == "confirmed"


def test_an_end_whose_id_was_used_with_other_content_confirms_nothing(line: Line) -> None:
    line.append(destroyed(id="d"))

    changes = line.append({**ended(), "id": "d"})

    assert [entry.disposition for entry in changes.entries] == ["conflict"]
    assert line.command.state == "requested"


def test_a_message_has_had_its_effect_when_the_broker_says_that_it_was_shown() -> None:
    line = message_line()

    line.append(acknowledged())

    assert (line.command.state, line.command.concluded_at) == ("acknowledged", at(2))
    assert line.command.message == "please save"
    assert line.said(failed()) == ("late", "the command was acknowledged before")
    assert line.said(expired()) == ("late", "the command was acknowledged before")


@pytest.mark.parametrize("before", [expired(), failed("refused", "in maintenance")])
def test_a_message_that_was_shown_late_corrects_what_was_thought_of_it(before: bytes) -> None:
    line = message_line()

    line.append(before, acknowledged())

    assert (line.command.state, line.command.detail, line.command.concluded_at) == ("acknowledged", None, at(3))


def test_no_session_ends_of_a_message() -> None:
    line = message_line()

    line.append(ended())

    assert line.command.state == "requested"
    assert line.sessions["acme", "s-1"].logout is not None


def test_logging_off_is_confirmed_by_the_end_that_names_it() -> None:
    line = Line()
    line.append(established(), requested("log_off"), acknowledged())

    assert (line.command.state, line.command.concluded_at) == ("acknowledged", None)
    line.append(ended(reason="logoff"))
    assert line.command.state == "confirmed"


def test_a_second_command_is_followed_beside_the_first(line: Line) -> None:
    line.append(requested(command="c-2"), acknowledged(command="c-2"), failed("refused", "busy"))

    assert line.commands["acme", "c-2"].state == "acknowledged"
    assert line.command.state == "refused"


def test_any_cut_of_the_log_into_batches_ends_the_same(line: Line) -> None:
    events = [delivered(), expired(), acknowledged(), acknowledged(), to_bytes(ended()), failed(), expired()]
    whole = Line()
    whole.append(established(), requested(), *events)

    for event in events:
        line.append(event)

    assert whole.commands == line.commands


def test_the_operations_page_has_a_row_for_every_state_of_a_command() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    section = page.partition("## Disconnecting")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(STATES)
