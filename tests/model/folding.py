"""The independent model: what the tables must hold, by brute force over all records of a log.

For every record, everything that was said about its session is looked at again. No state is carried on.
"""

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from tests.model.reading import DESTROYED, ESTABLISHED, Reading, Refused, read

LIFECYCLE = "sojourn.lifecycle"
MEMORY = timedelta(days=62)
IDENTITIES_MAX = 64  # docs/contract.md: so many events of one session have their identity judged
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(hours=24)
NORMAL = {"logoff", "idle_timeout", "admin_disconnect"}
INTERNAL = [
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "127.0.0.0/8",
        "::1/128",
        "169.254.0.0/16",
        "fe80::/10",
    )
]

LOGIN_CLAMPED, LOGOUT_CLAMPED, NEGATIVE = 1, 2, 4


class Entry(NamedTuple):
    """One record, as the log has it."""

    topic: str
    partition: int
    offset: int
    appended_at: datetime
    key: bytes | None
    value: bytes


@dataclass
class Told:
    """One lifecycle event of a session, and what became of it."""

    entry: Entry
    said: Reading
    disposition: str = ""
    news: bool = False  # it told something that was not known: that keeps the session in memory
    revision: int | None = None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def clamped(self) -> bool:
        return self.said.time < EARLIEST or self.said.time > self.entry.appended_at + AHEAD

    @property
    def at(self) -> datetime:
        return self.entry.appended_at if self.clamped else self.said.time

    @property
    def identity(self) -> tuple[str, str]:
        return self.said.source, self.said.id

    @property
    def rank(self) -> tuple[bool, int, datetime, str, str]:
        """Say which of two competing events counts: the lower one. One without a sequence comes last."""
        return (self.said.sequence is None, self.said.sequence or 0, self.at, self.said.id, self.said.source)


@dataclass
class Outcome:
    """What the tables must hold."""

    live: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    history: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)  # by partition and offset
    superseded: dict[tuple[int, int], int] = field(default_factory=dict)  # to the offset of the correction
    dead_letters: dict[tuple[str, int, int], str] = field(default_factory=dict)  # to the reason
    dispositions: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    tenants: set[str] = field(default_factory=set)


def project(entries: Iterable[Entry], partitions: int) -> Outcome:
    """Return what a log must come to. Of heartbeats only the dead letters: liveness is checked by bounds."""
    outcome = Outcome()
    sessions: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: (entry.topic, entry.partition, entry.offset)):
        place = (entry.topic, entry.partition, entry.offset)
        try:
            said = read(entry.value)
            if entry.topic != LIFECYCLE:
                continue
            if said.tenant is None or said.subject is None or said.type not in {ESTABLISHED, DESTROYED}:
                raise Refused("unknown_type")
            if partition_of(said.tenant, said.subject, partitions) != entry.partition:
                outcome.history[entry.partition, entry.offset] = history_row(Told(entry, said, "dead_letter"))
                raise Refused("wrong_partition")
        except Refused as refused:
            outcome.dead_letters[place] = refused.reason
            if entry.topic == LIFECYCLE:
                outcome.dispositions[entry.topic, entry.partition, "dead_letter"] += 1
            continue
        told = Told(entry, said)
        judge(told, sessions[said.tenant, said.subject])
        outcome.tenants.add(said.tenant)
        sessions[said.tenant, said.subject].append(told)
        outcome.dispositions[entry.topic, entry.partition, told.disposition] += 1
        outcome.history[entry.partition, entry.offset] = history_row(told)
        if told.disposition == "conflict":
            outcome.dead_letters[place] = "conflict"
    for key, events in sessions.items():
        note_superseded(events, outcome)
        newest = newest_revision(events)
        if newest is not None and newest.row["logout_at"] is None:
            outcome.live[key] = live_row(newest, events)
    return outcome


# --- judging one event ----------------------------------------------------------------------------------------------


def judge(told: Told, before: Sequence[Told]) -> None:
    """Give the event its disposition, and its row where it has an effect, from all that came before it."""
    counted = [event for event in remembered(before, told.entry.appended_at) if event.disposition != "conflict"]
    known = first_distinct(counted)
    if any(event.identity == told.identity and event.said.content != told.said.content for event in known):
        told.disposition = "conflict"
        return
    repeats = any(event.said.content == told.said.content for event in known)
    wins = all(told.rank < event.rank for event in counted if event.said.type == told.said.type)
    row = state_row([*counted, told])
    told.news = wins or not repeats or all(event.identity != told.identity for event in known)
    if not wins:
        told.disposition = "duplicate" if repeats else "late"
    elif repeats and row == state_row(counted):
        told.disposition = "duplicate"
    else:
        told.disposition = "orphan" if row["login_at"] is None else "applied"
        told.revision = 1 + sum(event.revision is not None for event in counted)
        told.row = row | {"cause": cause(told, counted)}


def first_distinct(events: Sequence[Told]) -> list[Told]:
    """Return the events whose identity and content are kept: the first 64 different ones of a session."""
    kept: dict[tuple[tuple[str, str], str], Told] = {}
    for event in events:
        kept.setdefault((event.identity, event.said.content), event)
    return list(kept.values())[:IDENTITIES_MAX]


def remembered(before: Sequence[Told], now: datetime) -> Sequence[Told]:
    """Return what is still known: 62 days after the last news of an ended session it is forgotten."""
    for end in range(len(before), 0, -1):
        # The memory may have been lost between two earlier events; then only what followed is known.
        at = before[end].entry.appended_at if end < len(before) else now
        last = next((event for event in reversed(before[:end]) if event.news), None)
        newest = newest_revision(before[:end])
        ended = newest is not None and newest.row["logout_at"] is not None
        if ended and last is not None and at - last.entry.appended_at >= MEMORY:
            return before[end:]
    return before


def newest_revision(events: Sequence[Told]) -> Told | None:
    return next((event for event in reversed(events) if event.revision is not None), None)


def cause(told: Told, counted: Sequence[Told]) -> str:
    kinds = {event.said.type for event in counted}
    if told.said.type in kinds:
        return "earlier_established" if told.said.type == ESTABLISHED else "earlier_destroyed"
    if told.said.type == ESTABLISHED:
        return "established_found" if DESTROYED in kinds else "established"
    return "destroyed" if ESTABLISHED in kinds else "ended_before_established"


def note_superseded(events: Sequence[Told], outcome: Outcome) -> None:
    """Name the ended revisions that a later revision of the same life of the session corrects."""
    revisions = [event for event in events if event.revision is not None]
    for earlier, later in pairwise(revisions):
        if earlier.row["logout_at"] is not None and later.revision != 1:
            outcome.superseded[earlier.entry.partition, earlier.entry.offset] = later.entry.offset


# --- the rows -------------------------------------------------------------------------------------------------------


def state_row(counted: Sequence[Told]) -> dict[str, Any]:
    """Return the whole state of a session: the best established event and the best destroyed event."""
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
        "access": data.get("access") or access_from(data["client_ip"]),
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
        "established_appended_at": born.entry.appended_at,
        **{name: value for name, value in newest.row.items() if name not in ended_only},
        "lost_at": None,
        "cause": None,
    }


def canonical_address(text: str) -> str:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"::ffff:{mapped}" if mapped is not None else address.compressed


def access_from(client_ip: str) -> str:
    address = ipaddress.ip_address(client_ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "internal" if any(address in network for network in INTERNAL) else "public"


# --- the partition of a session: Kafka's default partitioner, from its description ----------------------------------


def partition_of(tenant: str, session_id: str, partitions: int) -> int:
    """Return Kafka's default choice: murmur2 of the key with the seed 0x9747b28c, the sign bit cleared."""
    key = f"{tenant}/{session_id}".encode()
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    state = 0x9747B28C ^ len(key)
    while len(key) >= 4:
        word = int.from_bytes(key[:4], "little") * factor & mask
        word ^= word >> 24
        state = (state * factor & mask) ^ (word * factor & mask)
        key = key[4:]
    if key:
        state = (state ^ int.from_bytes(key, "little")) * factor & mask
    state = (state ^ state >> 13) * factor & mask
    state ^= state >> 15
    return (state & 0x7FFFFFFF) % partitions


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the columns in which a row is not what the model says: expected, found."""
    return {name: (value, found[name]) for name, value in expected.items() if found[name] != value}
