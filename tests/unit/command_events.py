"""A log of one partition in which commands are followed, event by event."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sojourn.events.codec import encode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.decisions import disconnect_expired, disconnect_requested
from sojourn.events.fields import CommandKind
from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE
from sojourn.projections.commands import Command, CommandKey
from sojourn.projections.decided import NOTHING_DECIDED
from sojourn.projections.facts import Key, judge_lifecycle
from sojourn.projections.fold import Changes, fold
from sojourn.projections.session import Session
from tests.unit.events import destroyed, established, to_bytes, with_data

BEGUN: Final = datetime(2026, 11, 24, 9, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
EXPIRES: Final = BEGUN + 60 * SECOND
BROKER: Final = "/brokers/eu-1"
COMMAND: Final = "c-1"


class Line:
    """A log of one partition that is folded event by event, each appended a second after the one before."""

    def __init__(self) -> None:
        self.now, self.offset = BEGUN, 0
        self.sessions: dict[Key, Session] = {}
        self.commands: dict[CommandKey, Command] = {}

    def append(self, *events: dict[str, Any] | bytes) -> Changes:
        """Fold a batch and return what it changes."""
        records = []
        for event in events:
            value = event if isinstance(event, bytes) else to_bytes(event)
            records.append(Record(LIFECYCLE, 0, self.offset, self.now, None, value, ()))
            self.now += SECOND
            self.offset += 1
        changes = fold(self.sessions, judge_lifecycle(records, 1, NOTHING_DECIDED), self.commands)
        self.sessions |= changes.sessions
        self.commands |= changes.commands
        return changes

    def said(self, event: dict[str, Any] | bytes) -> tuple[str, str | None]:
        """Fold one event and return its disposition with the detail."""
        (entry,) = self.append(event).entries
        return entry.disposition, entry.detail

    @property
    def command(self) -> Command:
        return self.commands["acme", COMMAND]


def requested(kind: CommandKind = "disconnect", **fields: Any) -> bytes:
    data: dict[str, Any] = {
        "command": COMMAND,
        "kind": kind,
        "broker": BROKER,
        "reason": "maintenance",
        "requested_by": "ada",
        "expires_at": EXPIRES,
    }
    return encode(disconnect_requested("acme", "s-1", DisconnectRequestedData(**{**data, **fields}), BEGUN))


def answered(what: str, *, command: str = COMMAND, detail: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """Return a broker's answer; each has an id of its own, as from a broker that cannot know what it said before."""
    data = {"command": command, **(detail or {})}
    kind = f"sojourn.session.disconnect_{what}.v1"
    return to_bytes({**established(), "id": f"{what}-{fields}-{detail}", "type": kind, "data": data, **fields})


def delivered(**fields: Any) -> bytes:
    return answered("delivered", **fields)


def acknowledged(**fields: Any) -> bytes:
    return answered("acknowledged", **fields)


def failed(outcome: str = "failed", why: str = "no session of that name", **fields: Any) -> bytes:
    return answered("failed", detail={"outcome": outcome, "detail": why}, **fields)


def expired(session_id: str = "s-1", command: str = COMMAND) -> bytes:
    return encode(disconnect_expired("acme", session_id, command, EXPIRES))


def ended(**data: Any) -> dict[str, Any]:
    return with_data(destroyed(), **{"reason": "admin_disconnect", "command": COMMAND, **data})


def message_line() -> Line:
    line = Line()
    line.append(established(), requested("send_message", message="please save"))
    return line


def at(seconds: int) -> datetime:
    return BEGUN + seconds * SECOND
