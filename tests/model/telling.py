"""One event of a session as the model keeps it, and the rows that events come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.model.addresses import INTERNAL, access_from, canonical_address
from tests.model.decisions import LOST, LOST_ENDED, OF_LIVENESS, RECOVERED
from tests.model.reading import DESTROYED, ESTABLISHED, Headers, Reading
from tests.model.values import instant

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(hours=24)
NORMAL = {"logoff", "idle_timeout", "admin_disconnect"}

LOGIN_CLAMPED, LOGOUT_CLAMPED, NEGATIVE = 1, 2, 4


class Entry(NamedTuple):
    """One record, as the log has it."""

    topic: str
    partition: int
    offset: int
    appended_at: datetime
    key: bytes | None
    value: bytes
    headers: Headers = ()


@dataclass
class Told:
    """One event of a session, and what became of it; it `came_at` earlier than its entry says if it had to wait."""

    entry: Entry
    said: Reading
    came_at: datetime
    networks: Sequence[str] = INTERNAL
    disposition: str = ""
    news: bool = False  # it told something that was not known: that keeps the session in memory
    revision: int | None = None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def clamped(self) -> bool:
        return self.said.time < EARLIEST or self.said.time > self.came_at + AHEAD

    @property
    def at(self) -> datetime:
        return self.came_at if self.clamped else self.said.time

    @property
    def identity(self) -> tuple[str, str]:
        return self.said.source, self.said.id

    @property
    def rank(self) -> tuple[bool, int, datetime, str, str]:
        """Say which of two competing events counts: the lower one. One without a sequence comes last."""
        return (self.said.sequence is None, self.said.sequence or 0, self.at, self.said.id, self.said.source)


def newest_loss(counted: Sequence[Told]) -> tuple[Told, str] | None:
    """Return the last `lost` that was applied, and whether the session is `lost`, `lost_ended` or `back` since."""
    decided = [event for event in counted if event.said.type in OF_LIVENESS and event.disposition == "applied"]
    losses = [number for number, event in enumerate(decided) if event.said.type == LOST]
    if not losses:
        return None
    since = {event.said.type for event in decided[losses[-1] :]}
    return decided[losses[-1]], "back" if RECOVERED in since else "lost_ended" if LOST_ENDED in since else "lost"


def phase_of(counted: Sequence[Told]) -> str:
    """Return where the session stands."""
    kinds = {event.said.type for event in counted}
    if DESTROYED in kinds:
        return "ended" if ESTABLISHED in kinds else "orphan"
    if ESTABLISHED not in kinds:
        return "unknown"
    loss = newest_loss(counted)
    return "active" if loss is None or loss[1] == "back" else loss[1]


def state_row(counted: Sequence[Told]) -> dict[str, Any]:
    """Return the whole state of a session: the best established event and the best destroyed event, or the loss."""
    row: dict[str, Any] = dict.fromkeys(STATE_COLUMNS)
    login = min((e for e in counted if e.said.type == ESTABLISHED), key=lambda e: e.rank, default=None)
    logout = min((e for e in counted if e.said.type == DESTROYED), key=lambda e: e.rank, default=None)
    row["clock_flags"] = 0
    if login is not None:
        row |= login_columns(login)
        row["state"] = "active"
        row["clock_flags"] |= LOGIN_CLAMPED if login.clamped else 0
    if logout is not None:
        row |= logout_columns(logout)
        row["state"] = "ended"
        row["broker"] = row["broker"] or logout.said.source
        row["clock_flags"] |= LOGOUT_CLAMPED if logout.clamped else 0
    if login is not None and logout is not None:
        seconds = (logout.at - login.at).total_seconds()
        row["online_seconds"] = max(0.0, seconds)
        row["clock_flags"] |= NEGATIVE if seconds < 0 else 0
    if login is not None and logout is None:
        row |= loss_columns(counted)
    return row


def login_columns(login: Told) -> dict[str, Any]:
    data = login.said.data
    return {
        "user_id": data["user"]["id"],
        "user_name": data["user"]["name"],
        "desktop_id": data["desktop"]["id"],
        "desktop_name": data["desktop"]["name"],
        "desktop_pool": data["desktop"]["pool"],
        "terminal_type": data["terminal"]["type"],
        "terminal_os": data["terminal"]["os"],
        "terminal_version": data["terminal"]["version"],
        "terminal_name": data["terminal"]["name"],
        "client_ip": canonical_address(data["client_ip"]),
        "access": data.get("access") or access_from(data["client_ip"], login.networks),
        "protocol": data["protocol"],
        "broker": login.said.source,
        "predecessor": data.get("predecessor"),
        "login_at": login.at,
    }


def logout_columns(logout: Told) -> dict[str, Any]:
    data = logout.said.data
    return {
        "logout_at": logout.at,
        "outcome": "normal" if data["reason"] in NORMAL else "abnormal",
        "reason": data["reason"],
        "reason_detail": data.get("detail"),
        "command": data.get("command"),
    }


def loss_columns(counted: Sequence[Told]) -> dict[str, Any]:
    """Return what the newest loss says of a session that has no other end, if it still holds."""
    loss = newest_loss(counted)
    if loss is None or loss[1] == "back":
        return {}
    data = loss[0].said.data
    seen, deadline = instant(data["last_seen_at"]), instant(data["deadline"])
    if loss[1] == "lost":
        return {"state": "lost", "ended_after": seen, "ended_before": deadline}
    ends = next(
        event for event in reversed(counted) if event.said.type == LOST_ENDED and event.disposition == "applied"
    )
    after, before = instant(ends.said.data["ended_after"]), instant(ends.said.data["ended_before"])
    first = next(event for event in counted if event.said.type == ESTABLISHED)
    assert after is not None
    return {
        "state": "ended",
        "logout_at": after,
        "outcome": "abnormal",
        "reason": "lost",
        "ended_after": after,
        "ended_before": before,
        "online_seconds": max(0.0, (after - first.came_at).total_seconds()),
    }


STATE_COLUMNS = (
    "state", "user_id", "user_name", "desktop_id", "desktop_name", "desktop_pool", "terminal_type", "terminal_os",
    "terminal_version", "terminal_name", "client_ip", "access", "protocol", "broker", "predecessor", "login_at",
    "logout_at", "online_seconds", "outcome", "reason", "reason_detail", "ended_after", "ended_before", "cause",
    "command", "clock_flags",
)  # fmt: skip


def history_row(told: Told) -> dict[str, Any]:
    """Return the columns of an event's row that mean something: what the session was stands only in revisions."""
    return {
        "tenant": told.said.tenant,
        "session_id": told.said.subject,
        "partition": told.entry.partition,
        "offset": told.entry.offset,
        "appended_at": told.entry.appended_at,
        "event_id": told.said.id,
        "source": told.said.source,
        "event_type": told.said.type.split(".")[2],
        "event_time": told.said.time,
        "sequence": told.said.sequence,
        "disposition": told.disposition,
        "revision": told.revision,
        **told.row,
    }


def live_row(newest: Told, events: Sequence[Told]) -> dict[str, Any]:
    """Return the row of an open session; liveness begins with the first established event of its life."""
    born = next(event for event in reversed(events) if event.revision == 1)
    ended_only = {"logout_at", "online_seconds", "outcome", "reason", "reason_detail", "cause"}
    return {
        "tenant": newest.said.tenant,
        "session_id": newest.said.subject,
        "partition": newest.entry.partition,
        "offset": newest.entry.offset,
        "appended_at": newest.entry.appended_at,
        "revision": newest.revision,
        "established_appended_at": born.came_at,
        **{name: value for name, value in newest.row.items() if name not in ended_only},
        "lost_at": newest.row["ended_before"],
    }


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the columns in which a row is not what the model says: expected, found."""
    return {name: (value, found[name]) for name, value in expected.items() if found[name] != value}
