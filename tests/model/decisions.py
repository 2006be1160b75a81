"""What the data of Sojourn's own events and of brokers' answers must hold; from issue 6 and the contract."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from tests.model.values import bytes_of, is_count, is_id, is_instant, is_name, is_offset, is_tenant, is_text

LOST = "sojourn.session.lost.v1"
RECOVERED = "sojourn.session.recovered.v1"
LOST_ENDED = "sojourn.session.lost_ended.v1"
REQUESTED = "sojourn.session.disconnect_requested.v1"
DELIVERED = "sojourn.session.disconnect_delivered.v1"
ACKNOWLEDGED = "sojourn.session.disconnect_acknowledged.v1"
FAILED = "sojourn.session.disconnect_failed.v1"
EXPIRED = "sojourn.session.disconnect_expired.v1"
SILENT = "sojourn.broker.silent.v1"
RETURNED = "sojourn.broker.returned.v1"
SOURCE_BOUND = "sojourn.broker.source_bound.v1"
CONFIGURED = "sojourn.tenant.configured.v1"
GAP_ACCEPTED = "sojourn.log.gap_accepted.v1"
RESOLVED = "sojourn.log.dead_letter_resolved.v1"

OF_LIVENESS = {LOST, RECOVERED, LOST_ENDED}
ANSWERS = {DELIVERED, ACKNOWLEDGED, FAILED}
OF_COMMANDS = {REQUESTED, EXPIRED, *ANSWERS}
OF_SESSIONS = OF_LIVENESS | OF_COMMANDS
OF_PARTITIONS = {SILENT, RETURNED, SOURCE_BOUND, CONFIGURED, GAP_ACCEPTED, RESOLVED}

KINDS = ["disconnect", "log_off", "send_message"]
LIST_MAX = 10_000  # docs/contract.md
TIMEOUT_MAX = 7 * 24 * 3600  # heartbeats are kept for hours

REQUIRED: dict[str, set[str]] = {
    LOST: {"last_seen_at", "deadline", "timeout_seconds", "heartbeat_offset"},
    RECOVERED: {"seen_at", "heartbeat_offset", "lost"},
    LOST_ENDED: {"ended_after", "ended_before", "grace_seconds", "lost"},
    REQUESTED: {"command", "kind", "broker", "reason", "requested_by", "expires_at"},
    DELIVERED: {"command"},
    ACKNOWLEDGED: {"command"},
    FAILED: {"command", "outcome"},
    EXPIRED: {"command", "deadline"},
    SILENT: {"source", "last_heard_at", "deadline", "heartbeat_offset"},
    RETURNED: {"source", "heard_at", "heartbeat_offset", "silent"},
    SOURCE_BOUND: {"source", "partitioner"},
    CONFIGURED: set(),
    GAP_ACCEPTED: {"topic", "partition", "from_offset", "to_offset", "reason", "who"},
    RESOLVED: {"topic", "partition", "offset", "appended_at", "resolution", "reason", "who"},
}


def is_optional_text(value: Any) -> bool:
    return value is None or is_text(value)


FIELDS: dict[str, Callable[[Any], bool]] = {
    "last_seen_at": is_instant,
    "deadline": is_instant,
    "seen_at": is_instant,
    "ended_after": is_instant,
    "ended_before": is_instant,
    "expires_at": is_instant,
    "last_heard_at": is_instant,
    "heard_at": is_instant,
    "appended_at": is_instant,
    "timeout_seconds": is_count,
    "grace_seconds": is_count,
    "partition": is_count,
    "heartbeat_offset": is_offset,
    "from_offset": is_offset,
    "to_offset": is_offset,
    "offset": is_offset,
    "lost": is_name,
    "silent": is_name,
    "source": is_name,
    "broker": is_name,
    "requested_by": is_name,
    "who": is_name,
    "command": is_id,
    "reason": is_text,
    "message": is_optional_text,
    "detail": is_optional_text,
    "kind": KINDS.__contains__,
    "partitioner": ["murmur2", "crc32"].__contains__,
    "outcome": ["refused", "failed"].__contains__,
    "resolution": ["requeued", "discarded"].__contains__,
}
OPTIONAL = {REQUESTED: {"message"}, FAILED: {"detail"}}
TOPICS = {GAP_ACCEPTED: ["sojourn.lifecycle"], RESOLVED: ["sojourn.lifecycle", "sojourn.heartbeats"]}


def fits(kind: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return what tells whether the data of an event of this kind hold what they must."""

    def check(data: Mapping[str, Any]) -> bool:
        fields = REQUIRED[kind] - {"topic"} | OPTIONAL.get(kind, set())
        return (
            all(FIELDS[name](data.get(name)) for name in fields)
            and (kind not in TOPICS or data["topic"] in TOPICS[kind])
            and (kind != SOURCE_BOUND or data.get("tenants") is None or is_list(data["tenants"], is_tenant))
            and (kind != RESOLVED or data.get("value") is None or bytes_of(data["value"]) is not None)
            and (kind != CONFIGURED or is_configuration(data))
            and (kind not in {SOURCE_BOUND, CONFIGURED} or data.get("who") is None or is_name(data["who"]))
        )

    return check


def is_configuration(data: Mapping[str, Any]) -> bool:
    networks, zone, timeouts = data.get("internal_networks"), data.get("time_zone"), data.get("timeouts", {})
    return (
        (networks is None or (isinstance(networks, list) and all(map(is_network, networks))))
        and (zone is None or is_zone(zone))
        and is_count(data.get("lost_grace_seconds"))
        and (data.get("heartbeat_timeout_seconds") is None or is_timeout(data["heartbeat_timeout_seconds"]))
        and isinstance(timeouts, dict)
        and all("\0" not in source and is_timeout(seconds) for source, seconds in timeouts.items())
    )


def is_timeout(value: Any) -> bool:
    return type(value) is int and 5 <= value <= TIMEOUT_MAX


def is_list(value: Any, is_member: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) <= LIST_MAX and all(map(is_member, value))


def is_network(value: Any) -> bool:
    try:
        return is_text(value) and bool(ipaddress.ip_network(value))
    except ValueError:
        return False


def is_zone(value: Any) -> bool:
    try:
        return is_text(value) and ZoneInfo(value) is not None
    except (ValueError, OSError, KeyError):
        return False


CHECKS = {kind: fits(kind) for kind in REQUIRED}
