"""What becomes of the commands to brokers; from the states that issue 6 names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.model.decisions import ACKNOWLEDGED, DELIVERED, EXPIRED, REQUESTED
from tests.model.reading import Refused
from tests.model.telling import Told
from tests.model.values import instant

COLUMNS = (
    "session_id", "broker", "kind", "state", "reason", "message", "requested_by", "requested_at", "expires_at",
    "delivered_at", "acknowledged_at", "concluded_at", "detail", "partition", "offset", "appended_at", "event",
)  # fmt: skip
ENDED = "the session had ended before"
FINAL = {"confirmed", "refused", "failed"}  # a deadline or another failure changes nothing any more


@dataclass
class Command:
    """A command as its events left it."""

    session_id: str
    broker: str
    kind: str
    row: dict[str, Any]


Commands = dict[tuple[int, str, str], Command]  # by partition, tenant and id


def take(told: Told, commands: Commands, gone: str | None) -> str:
    """Apply an event about a command and return its disposition; `gone` says why no session is there for it."""
    data, kind = told.said.data, told.said.type
    tenant, session_id = told.said.tenant, told.said.subject
    assert tenant is not None
    assert session_id is not None
    command = commands.get((told.entry.partition, tenant, data["command"]))
    if kind == REQUESTED:
        if command is None:
            commands[told.entry.partition, tenant, data["command"]] = request(told, session_id, gone)
            return "applied"
        return "duplicate" if command.row["event"] == told.entry.value else "late"
    if command is None or command.session_id != session_id:
        return "late"
    if kind != EXPIRED and told.said.source != command.broker:
        raise Refused("wrong_source")
    done = expire(told, command, gone) if kind == EXPIRED else answer(told, command)
    if done == "applied":
        command.row |= {"offset": told.entry.offset, "appended_at": told.entry.appended_at}
    return done


def expire(told: Told, command: Command, gone: str | None) -> str:
    if command.row["concluded_at"] is not None:
        return "duplicate" if command.row["state"] == "not_confirmed" else "late"
    detail = "the session has ended, and its end names no command" if gone == ENDED else None
    command.row |= {"state": "not_confirmed", "concluded_at": told.entry.appended_at, "detail": detail}
    return "applied"


def answer(told: Told, command: Command) -> str:
    row, data, kind, at = command.row, told.said.data, told.said.type, told.entry.appended_at
    if kind == DELIVERED:
        if row["delivered_at"] is not None:
            return "duplicate"
        row |= {"delivered_at": at, "state": "delivered" if row["state"] == "requested" else row["state"]}
    elif kind == ACKNOWLEDGED:
        if row["acknowledged_at"] is not None:
            return "duplicate"
        row |= {"acknowledged_at": at, "delivered_at": row["delivered_at"] or at}
        if command.kind == "send_message":  # nothing else can confirm it
            row |= {"state": "acknowledged", "concluded_at": at, "detail": None}
        elif row["concluded_at"] is None:
            row["state"] = "acknowledged"
    elif (row["state"], row["detail"]) == (data["outcome"], data.get("detail")):
        return "duplicate"
    elif row["state"] in FINAL or (command.kind == "send_message" and row["state"] == "acknowledged"):
        return "late"
    else:
        row |= {"state": data["outcome"], "detail": data.get("detail"), "concluded_at": at}
    return "applied"


def request(told: Told, session_id: str, gone: str | None) -> Command:
    data, entry = told.said.data, told.entry
    expires_at = instant(data["expires_at"])
    assert expires_at is not None
    if gone is None and expires_at <= entry.appended_at:
        gone = "it had expired before the log took it"
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {name: data.get(name) for name in ("broker", "kind", "reason", "message", "requested_by")}
    row |= {
        "session_id": session_id,
        "state": "requested" if gone is None else "failed",
        "detail": gone,
        "requested_at": entry.appended_at,
        "expires_at": expires_at,
        "concluded_at": None if gone is None else entry.appended_at,
        "partition": entry.partition,
        "offset": entry.offset,
        "appended_at": entry.appended_at,
        "event": entry.value,
    }
    return Command(session_id, data["broker"], data["kind"], row)


def confirm(ending: Told, commands: Mapping[tuple[int, str, str], Command]) -> None:
    """Take the command that a session's end names for confirmed."""
    assert ending.said.tenant is not None
    name = ending.said.data.get("command")
    command = commands.get((ending.entry.partition, ending.said.tenant, name)) if name is not None else None
    if command is None or command.session_id != ending.said.subject or command.kind == "send_message":
        return
    if command.row["state"] == "confirmed":
        return
    at: datetime = ending.entry.appended_at
    command.row |= {"state": "confirmed", "detail": None, "concluded_at": at}
    command.row |= {"offset": ending.entry.offset, "appended_at": at}
