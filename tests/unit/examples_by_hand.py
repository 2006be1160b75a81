"""What examples.ndjson comes to, written down by hand: the newest revision of each session."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sojourn.events.codec import Undecodable, decode
from sojourn.events.types import Destroyed, Established
from tests.property.projector import Projected


def _at(time: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-24T{time}").replace(tzinfo=UTC)


_ADA: Final = {"user_id": "u-17", "user_name": "Ada Byron"}
_OFFICE_310: Final = {
    "desktop_id": "d-310",
    "desktop_name": "Office-310",
    "desktop_pool": "office",
    "terminal_type": "mobile",
    "terminal_os": "Android",
    "terminal_version": "7.1",
    "terminal_name": "",
    "access": "public",
    "protocol": "rdp",
    "broker": "/brokers/eu-2",
}
_OPEN: Final = {
    "state": "active",
    "revision": 1,
    "logout_at": None,
    "online_seconds": None,
    "outcome": None,
    "reason": None,
    "reason_detail": None,
    "command": None,
    "predecessor": None,
    "clock_flags": 0,
    "cause": "established",
}
_ENDED: Final = {**_OPEN, "state": "ended", "revision": 2, "cause": "destroyed"}

ROWS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("acme", "s-1001"): {
        **_OPEN,
        **_ADA,
        "desktop_id": "d-204",
        "desktop_name": "CAD-204",
        "desktop_pool": "cad",
        "terminal_type": "thin_client",
        "terminal_os": "Linux",
        "terminal_version": "7.1",
        "terminal_name": "TC-0042",
        "client_ip": "10.4.2.17",
        "access": "internal",
        "protocol": "blast",
        "broker": "/brokers/eu-1",
        "login_at": _at("08:00:00.120"),
    },
    ("acme", "s-1002"): {
        **_ENDED,
        "user_id": "u-18",
        "user_name": "Grace Hopper",
        "desktop_id": "d-205",
        "desktop_name": "CAD-205",
        "desktop_pool": "cad",
        "terminal_type": "soft_client",
        "terminal_os": "Windows",
        "terminal_version": "7.1",
        "terminal_name": "GH-LAPTOP",
        "client_ip": "203.0.113.9",
        "access": "public",
        "protocol": "blast",
        "broker": "/brokers/eu-1",
        "login_at": _at("08:00:03.500"),
        "logout_at": _at("08:45:12"),
        "online_seconds": 2708.5,
        "outcome": "normal",
        "reason": "logoff",
    },
    ("acme", "s-1003"): {
        **_ENDED,
        **_ADA,
        **_OFFICE_310,
        "client_ip": "198.51.100.7",
        "login_at": _at("08:01:00"),
        "logout_at": _at("09:10:00"),
        "online_seconds": 4140.0,
        "outcome": "abnormal",
        "reason": "network",
        "reason_detail": "tunnel reset",
    },
    ("acme", "s-1004"): {
        **_OPEN,
        **_ADA,
        **_OFFICE_310,
        "client_ip": "198.51.100.88",
        "login_at": _at("09:10:20"),
        "predecessor": "s-1003",
    },
    ("acme", "s-1005"): {
        **_ENDED,
        "user_id": "u-19",
        "user_name": "Katherine Johnson",
        "desktop_id": "d-206",
        "desktop_name": "CAD-206",
        "desktop_pool": "cad",
        "terminal_type": "other",
        "terminal_os": "ChromeOS",
        "terminal_version": "131",
        "terminal_name": "CB-9",
        "client_ip": "10.4.2.90",
        "access": "internal",
        "protocol": "pcoip",
        "broker": "/brokers/eu-1",
        "login_at": _at("09:00:00"),
        "logout_at": _at("09:04:00.500"),
        "online_seconds": 240.5,
        "outcome": "normal",
        "reason": "admin_disconnect",
        "command": "0192f0c1-7e8a-7c3e-9f52-0a4b6c8d1e2f",
    },
    ("globex", "s-1001"): {
        **_OPEN,
        "user_id": "u-90",
        "user_name": "Žofie Nováková 王",
        "desktop_id": "d-1",
        "desktop_name": "Büro-1",
        "desktop_pool": "office",
        "terminal_type": "browser",
        "terminal_os": "macOS",
        "terminal_version": "7.1",
        "terminal_name": "",
        "client_ip": "2001:db8::17",
        "access": "public",
        "protocol": "blast",
        "broker": "/brokers/us-1",
        "login_at": _at("08:00:00"),
    },
}


def newest_rows(projected: Projected) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest revision of each session, in the columns that `ROWS` has."""
    newest = {(row["tenant"], row["session_id"]): row for row in projected.history if row["revision"] is not None}
    return {
        key: {name: row[name] for name in ROWS["acme", "s-1001"] | {"logout_at": None}} for key, row in newest.items()
    }


def to_lifecycle(values: Sequence[bytes]) -> list[bytes]:
    """Return what a publisher would send to lifecycle: not the heartbeats."""
    return [value for value in values if _is_for_lifecycle(value)]


def _is_for_lifecycle(value: bytes) -> bool:
    try:
        return isinstance(decode(value), Established | Destroyed)
    except Undecodable:
        return True
