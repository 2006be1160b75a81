"""The independent reader: what one record's bytes say, or why they say nothing; written from the design page alone.

Slow and obvious on purpose. It shares no code with the codec, so that both can only agree by being right.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from tests.model import decisions
from tests.model.grammar import NUMBER, NoJson, canonical, has_long_integer, is_deeper, number, parse
from tests.model.values import instant, is_address, is_count, is_id, is_name, is_tenant, is_text, sequence

BYTES_MAX = 1 << 20  # issue 4, item 2
DEPTH_MAX = 64  # issue 4, item 2
BATCH_MAX = 10_000  # docs/contract.md

ESTABLISHED = "sojourn.session.established.v1"
DESTROYED = "sojourn.session.destroyed.v1"
HEARTBEAT = "sojourn.session.heartbeat.v1"
HEARTBEATS = "sojourn.session.heartbeats.v1"
ALIVE = "sojourn.broker.alive.v1"
OF_SESSIONS = {ESTABLISHED, DESTROYED, HEARTBEAT, *decisions.OF_SESSIONS}
TYPES = {*OF_SESSIONS, HEARTBEATS, ALIVE, *decisions.OF_PARTITIONS}
OF_NO_TENANT = {ALIVE, *decisions.OF_PARTITIONS} - {decisions.CONFIGURED}
REQUIRED_OF_DATA = {DESTROYED: {"reason"}, HEARTBEATS: {"sessions"}, **decisions.REQUIRED}

TERMINALS = {"thin_client", "soft_client", "mobile", "browser", "other"}
REASONS = {"logoff", "idle_timeout", "admin_disconnect", "network", "error", "broker_shutdown", "unknown"}

SCALAR = re.compile(rb"[ \t\r\n]*(?:null|true|false|" + NUMBER.pattern.encode() + rb")[ \t\r\n]*")


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


Headers = tuple[tuple[str, bytes], ...]


class Refused(Exception):
    """The record says nothing; `reason` is its public code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read(value: bytes, headers: Headers = ()) -> Reading:
    """Return what a record says, or raise `Refused`; a checker asks for the same record again and again."""
    said = remembered(value, headers)
    if isinstance(said, str):
        raise Refused(said)
    return said


@lru_cache(maxsize=500_000)  # the records of the largest fault test
def remembered(value: bytes, headers: Headers) -> Reading | str:
    try:
        return read_anew(value, headers)
    except Refused as refused:
        return refused.reason


def read_anew(value: bytes, headers: Headers) -> Reading:
    """Do every check in the order of the public reason codes."""
    document = document_of(value, headers)
    if not isinstance(document, dict):
        raise Refused("not_json")
    # CloudEvents' JSON format: an attribute that is null is an attribute that is not there.
    event = {name: given for name, given in document.items() if given is not None}
    event["long number"] = has_long_integer(value.decode())
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
    tenant = event["tenant"] if kind not in OF_NO_TENANT else None
    subject = event["subject"] if kind in OF_SESSIONS else None
    data = event.get("data", {})
    content = json.dumps([kind, subject, time.isoformat(), canonical(data)], sort_keys=True)
    return Reading(
        kind, event["id"], event["source"], time, tenant, subject, sequence(event.get("sequence")), data, content
    )


def document_of(value: bytes, headers: Headers) -> Any:
    """Return the JSON of an event in either mode."""
    document = in_binary_mode(value, headers)
    return parsed(value) if document is None else document


def in_binary_mode(value: bytes, headers: Headers) -> dict[str, Any] | None:
    """Return the attributes and data that stand apart in a record; None if its value is the whole event."""
    given = {name.lower(): header for name, header in headers}  # of two with one name the last counts
    content_type = header_text(given.get("content-type", b""))
    media_type = content_type.split(";")[0].strip().lower()
    if media_type.startswith("application/cloudevents"):
        if media_type != "application/cloudevents+json":
            raise Refused("bad_content_type")
        return None
    attributes = {name[3:]: header_text(header) for name, header in given.items() if name.startswith("ce_")}
    if not attributes:
        return None
    if media_type not in {"", "application/json", "text/json"} and not media_type.endswith("+json"):
        raise Refused("bad_content_type")
    if content_type:
        attributes["datacontenttype"] = content_type
    if not value or SCALAR.fullmatch(value):
        return {**attributes, "data": json.loads(value, parse_float=number, parse_int=number) if value else None}
    data = parsed(value)
    if is_deeper(value.decode(), DEPTH_MAX - 1):
        raise Refused("too_deep")
    return {**attributes, "data": data}


def header_text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        raise Refused("not_utf8") from None


def parsed(value: bytes) -> Any:
    if len(value) > BYTES_MAX:
        raise Refused("too_large")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Refused("not_utf8") from None
    if is_deeper(text, DEPTH_MAX):
        raise Refused("too_deep")
    try:
        return parse(text)
    except NoJson as error:
        raise Refused(error.reason) from None


# --- the checks, one for each reason --------------------------------------------------------------------------------


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(member) for name, member in value.items() if member is not None}


def lacks_field(event: Mapping[str, Any]) -> bool:
    kind = event["type"]
    required = ["specversion", "id", "source", "time"]
    if kind not in OF_NO_TENANT:
        required.append("tenant")
    if kind in OF_SESSIONS:
        required.append("subject")
    if kind not in {HEARTBEAT, ALIVE}:
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
    return not REQUIRED_OF_DATA.get(kind, set()) <= data.keys()


def has_bad_tenant(event: Mapping[str, Any]) -> bool:
    return event["type"] not in OF_NO_TENANT and not is_tenant(event["tenant"])


def has_bad_subject(event: Mapping[str, Any]) -> bool:
    return event["type"] in OF_SESSIONS and not is_id(event["subject"])


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
        and is_name(event["id"])
        and is_name(event["source"])
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
            **decisions.CHECKS,
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
    commands = data.get("commands")
    return all(is_count(data.get(name)) for name in ("sessions", "interval_seconds")) and (
        commands is None or (isinstance(commands, list) and all(kind in decisions.KINDS for kind in commands))
    )
