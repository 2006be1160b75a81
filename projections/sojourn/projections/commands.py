"""What becomes of commands to brokers: the pure part of the fold that follows one from its request to its effect."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple, assert_never

from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.decision_data import DisconnectFailedData
from sojourn.events.fields import CommandKind
from sojourn.events.types import (
    CommandEvent,
    Destroyed,
    DisconnectAcknowledged,
    DisconnectDelivered,
    DisconnectExpired,
    DisconnectFailed,
    DisconnectRequested,
)
from sojourn.projections.facts import Fact
from sojourn.projections.session import Session

CommandKey = tuple[str, str]  # tenant, command id

State = Literal["requested", "delivered", "acknowledged", "confirmed", "refused", "failed", "not_confirmed"]

STATES: Final[dict[State, str]] = {
    "requested": "it stands in the log and is on its way to the broker",
    "delivered": "the broker has it",
    "acknowledged": "the broker carries it out; for a message, it was shown",
    "confirmed": "the session ended, and its `destroyed` names the command",
    "refused": "the broker will not carry it out",
    "failed": "the broker could not carry it out; or no broker was asked, since the session or the time had gone",
    "not_confirmed": "its deadline passed, and nobody knows whether it had an effect; a later effect corrects this",
}


class Command(Struct, frozen=True, gc=False):
    """One command after some event; the instants of its steps are append times, `event` are the bytes of the request.

    `offset` and `appended_at` place the newest event that moved it.
    """

    session_id: str
    broker: str
    kind: CommandKind
    state: State
    reason: str
    message: str | None
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    delivered_at: datetime | None
    acknowledged_at: datetime | None
    concluded_at: datetime | None
    detail: str | None
    partition: int
    offset: int
    appended_at: datetime
    event: bytes


class Step(NamedTuple):
    """What an event does to a command; without `command` nothing. `refusal` is for a source that may not answer."""

    disposition: str
    detail: str | None
    command: Command | None = None
    refusal: str | None = None


def command_key(fact: Fact) -> CommandKey | None:
    """Return the command that an event is about, or that an end names."""
    command = getattr(fact.event.data, "command", None)
    return None if command is None else (fact.event.tenant, command)


def step(commands: Mapping[CommandKey, Command], session: Session | None, fact: Fact, event: CommandEvent) -> Step:
    """Apply one event about a command, as the session stands before it."""
    command = commands.get((event.tenant, event.data.command))
    if isinstance(event, DisconnectRequested):
        return _requested(session, fact, event) if command is None else _requested_again(command, fact)
    if command is None or command.session_id != event.subject:
        return Step("late", f"no such command of this session: {event.data.command!r}")
    match event:
        case DisconnectExpired():
            return _expired(session, command, fact)
        case _ if event.source != command.broker:
            return Step(
                "dead_letter", None, refusal=f"it answers a command to {command.broker}, not to: {event.source!r}"
            )
        case DisconnectDelivered():
            if command.delivered_at is not None:
                return Step("duplicate", None)
            state: State = "delivered" if command.state == "requested" else command.state
            return Step("applied", None, _moved(replace(command, delivered_at=_now(fact)), fact, state))
        case DisconnectAcknowledged():
            return _acknowledged(command, fact)
        case DisconnectFailed(data=data):
            return _failed(command, fact, data)
        case _:
            assert_never(event)


def confirmed(command: Command | None, fact: Fact, event: Destroyed) -> Command | None:
    """Return the command that an end names, confirmed by it; None where it is none that ends this session."""
    if command is None or command.session_id != event.subject or command.state == "confirmed":
        return None
    if command.kind == "send_message":  # no session ends of a message
        return None
    return _moved(replace(command, detail=None), fact, "confirmed", concluded=True)


def _requested(session: Session | None, fact: Fact, event: DisconnectRequested) -> Step:
    data, record = event.data, fact.record
    gone = None
    if session is None:
        gone = "there is no such session"
    elif session.logout is not None:
        gone = "the session had ended before"
    elif session.broker != data.broker:
        gone = f"the session is of another broker: {session.broker}"
    elif data.expires_at <= record.appended_at:
        gone = "it had expired before the log took it"
    command = Command(
        session_id=event.subject,
        broker=data.broker,
        kind=data.kind,
        state="requested" if gone is None else "failed",
        reason=data.reason,
        message=data.message,
        requested_by=data.requested_by,
        requested_at=record.appended_at,
        expires_at=data.expires_at,
        delivered_at=None,
        acknowledged_at=None,
        concluded_at=None if gone is None else record.appended_at,
        detail=gone,
        partition=record.partition,
        offset=record.offset,
        appended_at=record.appended_at,
        event=record.value,
    )
    return Step("applied", gone, command)


def _requested_again(command: Command, fact: Fact) -> Step:
    if command.event == fact.record.value:
        return Step("duplicate", None)
    return Step("late", "another request had this command's id before")


def _expired(session: Session | None, command: Command, fact: Fact) -> Step:
    if command.state == "not_confirmed":
        return Step("duplicate", None)
    if command.concluded_at is not None:
        return Step("late", f"the command was {command.state} before")
    detail = None
    if session is not None and session.logout is not None:
        detail = "the session has ended, and its end names no command"
    return Step("applied", None, _moved(replace(command, detail=detail), fact, "not_confirmed", concluded=True))


def _failed(command: Command, fact: Fact, data: DisconnectFailedData) -> Step:
    if (command.state, command.detail) == (data.outcome, data.detail):
        return Step("duplicate", None)
    if command.state in {"confirmed", "refused", "failed"} or _shown(command):
        return Step("late", f"the command was {command.state} before")
    return Step("applied", None, _moved(replace(command, detail=data.detail), fact, data.outcome, concluded=True))


def _acknowledged(command: Command, fact: Fact) -> Step:
    if command.acknowledged_at is not None:
        return Step("duplicate", None)
    acknowledged = replace(command, acknowledged_at=_now(fact), delivered_at=command.delivered_at or _now(fact))
    if command.kind == "send_message":
        return Step("applied", None, _moved(replace(acknowledged, detail=None), fact, "acknowledged", concluded=True))
    state: State = "acknowledged" if command.concluded_at is None else command.state
    return Step("applied", None, _moved(acknowledged, fact, state))


def _shown(command: Command) -> bool:
    """Tell whether a message has had its effect, of which nothing more is to come."""
    return command.kind == "send_message" and command.state == "acknowledged"


def _moved(command: Command, fact: Fact, state: State, *, concluded: bool = False) -> Command:
    record = fact.record
    return replace(
        command,
        state=state,
        concluded_at=record.appended_at if concluded else command.concluded_at,
        offset=record.offset,
        appended_at=record.appended_at,
    )


def _now(fact: Fact) -> datetime:
    return fact.record.appended_at
