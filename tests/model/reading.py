"""The independent reader: what one record's bytes say, or why they say nothing; written from the design page alone.

Slow and obvious on purpose. It shares no code with the codec, so that both can only agree by being right.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

from tests.model.grammar import NoJson, canonical, depth, has_long_integer, parse

BYTES_MAX = 1 << 20  # issue 4, item 2
DEPTH_MAX = 64  # issue 4, item 2
ID_MAX = 200  # shared/events/README.md
TEXT_MAX = 1000  # docs/contract.md
BATCH_MAX = 10_000  # docs/contract.md
SECONDS_MAX = 2**31 - 1  # docs/contract.md: a PostgreSQL integer

ESTABLISHED = "sojourn.session.established.v1"
DESTROYED = "sojourn.session.destroyed.v1"
HEARTBEAT = "sojourn.session.heartbeat.v1"
HEARTBEATS = "sojourn.session.heartbeats.v1"
ALIVE = "sojourn.broker.alive.v1"
TYPES = {ESTABLISHED, DESTROYED, HEARTBEAT, HEARTBEATS, ALIVE}

TERMINALS = {"thin_client", "soft_client", "mobile", "browser", "other"}
REASONS = {"logoff", "idle_timeout", "admin_disconnect", "network", "error", "broker_shutdown", "unknown"}

RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))"
)


class Reading(NamedTuple):
    """What an event says; `content` is what decides whether two events are the same."""

    type: str
    id: str
    source: str
    time: datetime
    tenant: str | None
    subject: str | None
    sequence: int | None
    data: Mapping[str, Any]
    content: str


class Refused(Exception):
    """The record says nothing; `reason` is its public code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read(value: bytes) -> Reading:
    """Return what the bytes say, or raise `Refused`. Every check stands in the order of the public reason codes."""
    if len(value) > BYTES_MAX:
        raise Refused("too_large")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Refused("not_utf8") from None
    if depth(text) > DEPTH_MAX:
        raise Refused("too_deep")
    try:
        document = parse(text)
    except NoJson as error:
        raise Refused(error.reason) from None
    if not isinstance(document, dict):
        raise Refused("not_json")
    # CloudEvents' JSON format: an attribute that is null is an attribute that is not there.
    event = {name: given for name, given in document.items() if given is not None}
    event["long number"] = has_long_integer(text)
    kind = event.get("type")
    if kind is None:
        raise Refused("missing_field")
    if not isinstance(kind, str) or kind not in TYPES:
        raise Refused("unknown_type")
    for reason, applies in (
        ("missing_field", lacks_field),
        ("bad_tenant", has_bad_tenant),
        ("bad_subject", has_bad_subject),
        ("bad_time", has_bad_time),
        ("bad_ip", has_bad_ip),
        ("bad_value", has_bad_value),
    ):
        if applies(event):
            raise Refused(reason)
    time = instant(event["time"])
    assert time is not None
    tenant = event["tenant"] if kind != ALIVE else None
    subject = event["subject"] if kind in {ESTABLISHED, DESTROYED, HEARTBEAT} else None
    data = event.get("data", {})
    content = json.dumps([kind, subject, time.isoformat(), canonical(data)], sort_keys=True)
    return Reading(
        kind, event["id"], event["source"], time, tenant, subject, sequence(event.get("sequence")), data, content
    )


# --- the checks, one for each reason --------------------------------------------------------------------------------


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(member) for name, member in value.items() if member is not None}


def lacks_field(event: Mapping[str, Any]) -> bool:
    kind = event["type"]
    required = ["specversion", "id", "source", "time"]
    if kind != ALIVE:
        required.append("tenant")
    if kind in {ESTABLISHED, DESTROYED, HEARTBEAT}:
        required.append("subject")
    if kind in {ESTABLISHED, DESTROYED, HEARTBEATS}:
        required.append("data")
    if any(name not in event for name in required):
        return True
    if not isinstance(event.get("data"), dict):
        return False
    data = without_nulls(event["data"])
    if kind == ESTABLISHED:
        parts = {
            "user": ("id", "name"),
            "desktop": ("id", "name", "pool"),
            "terminal": ("type", "os", "version", "name"),
        }
        return any(name not in data for name in (*parts, "client_ip", "protocol")) or any(
            isinstance(data[part], dict) and name not in data[part] for part, names in parts.items() for name in names
        )
    return {DESTROYED: "reason", HEARTBEATS: "sessions"}.get(kind, "") not in {"", *data}


def has_bad_tenant(event: Mapping[str, Any]) -> bool:
    tenant = event.get("tenant")
    return event["type"] != ALIVE and not (
        isinstance(tenant, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", tenant) is not None
    )


def has_bad_subject(event: Mapping[str, Any]) -> bool:
    return event["type"] in {ESTABLISHED, DESTROYED, HEARTBEAT} and not is_id(event["subject"])


def has_bad_time(event: Mapping[str, Any]) -> bool:
    return instant(event["time"]) is None


def has_bad_ip(event: Mapping[str, Any]) -> bool:
    data = event.get("data")
    if not isinstance(data, dict):
        return False
    if event["type"] == ESTABLISHED:
        return not is_address(data["client_ip"])
    holders: list[Any] = []
    if event["type"] == HEARTBEAT:
        holders = [data]
    if event["type"] == HEARTBEATS and isinstance(data.get("details"), dict):
        holders = list(data["details"].values())
    given = [holder.get("client_ip") for holder in holders if isinstance(holder, dict)]
    return any(address is not None and not is_address(address) for address in given)


def has_bad_value(event: Mapping[str, Any]) -> bool:
    data = event.get("data", {})
    good = (
        event["specversion"] == "1.0"
        and not event["long number"]
        and all(
            is_text(event[name]) and event[name] != "" and not has_control(event[name]) for name in ("id", "source")
        )
        and all(is_text(event[name]) for name in ("traceparent", "datacontenttype") if name in event)
        and event.get("sequencetype", "Integer") == "Integer"
        and ("sequence" not in event or sequence(event["sequence"]) is not None)
        and isinstance(data, dict)
        and {
            ESTABLISHED: is_login,
            DESTROYED: is_end,
            HEARTBEAT: is_beat,
            HEARTBEATS: are_beats,
            ALIVE: is_alive,
        }[event["type"]](data)
    )
    return not good


def is_login(data: Mapping[str, Any]) -> bool:
    user, desktop, terminal = data["user"], data["desktop"], data["terminal"]
    return (
        all(isinstance(part, dict) for part in (user, desktop, terminal))
        and is_id(user["id"])
        and is_id(desktop["id"])
        and terminal["type"] in list(TERMINALS)
        and all(is_text(terminal[name]) for name in ("os", "version", "name"))
        and all(is_text(text) for text in (user["name"], desktop["name"], desktop["pool"], data["protocol"]))
        and data.get("access") in [None, "internal", "public"]
        and (data.get("predecessor") is None or is_id(data["predecessor"]))
    )


def is_end(data: Mapping[str, Any]) -> bool:
    return (
        data["reason"] in list(REASONS)
        and (data.get("detail") is None or is_text(data["detail"]))
        and (data.get("command") is None or is_id(data["command"]))
    )


def is_beat(data: Any) -> bool:
    return isinstance(data, dict) and all(is_count(data.get(name)) for name in ("idle_seconds", "round_trip_ms"))


def are_beats(data: Mapping[str, Any]) -> bool:
    sessions, details = data["sessions"], data.get("details", {})
    return (
        isinstance(sessions, list)
        and len(sessions) <= BATCH_MAX
        and all(is_id(session) for session in sessions)
        and isinstance(details, dict)
        and all("\0" not in session and is_beat(detail) for session, detail in details.items())
    )


def is_alive(data: Mapping[str, Any]) -> bool:
    return all(is_count(data.get(name)) for name in ("sessions", "interval_seconds"))


# --- single values --------------------------------------------------------------------------------------------------


def is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_MAX and "\0" not in value


def is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= ID_MAX and not has_control(value)


def has_control(text: str) -> bool:
    return any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)


def is_count(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value <= SECONDS_MAX)


def is_address(value: Any) -> bool:
    if not isinstance(value, str) or "%" in value:  # a zone names an interface of the broker's own machine
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def sequence(value: Any) -> int | None:
    """Return the sequence as a number, or None when it is not there or is none that a bigint can hold."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    return value if type(value) is int and -(2**63) < value < 2**63 else None


def instant(value: Any) -> datetime | None:
    """Return the instant that an RFC 3339 text names, to the microsecond, or None."""
    found = RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    micro = round_half_up(fraction or "")
    try:
        zone: timezone = UTC
        if zulu is None:
            if int(hours) > 23 or int(minutes) > 59:
                return None
            shift = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(-shift if sign == "-" else shift)
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), 0, zone)
        return (local + timedelta(microseconds=micro)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def round_half_up(fraction: str) -> int:
    """Return the microseconds of a fraction of a second."""
    digits = (fraction + "0000000")[:7]
    return int(digits[:6]) + (digits[6] >= "5")
