"""What single values of events may be."""

import base64
import ipaddress
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

ID_MAX = 200  # shared/events/README.md
TEXT_MAX = 1000  # docs/contract.md
SECONDS_MAX = 2**31 - 1  # docs/contract.md: a PostgreSQL integer

RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))"
)
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_MAX and "\0" not in value


def is_name(value: Any) -> bool:
    return is_text(value) and value != "" and not has_control(value)


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


def is_tenant(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", value) is not None


def is_offset(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def is_instant(value: Any) -> bool:
    return instant(value) is not None


def bytes_of(value: Any) -> bytes | None:
    """Return the bytes that a base64 text stands for, or None."""
    if not isinstance(value, str) or BASE64.fullmatch(value) is None:
        return None
    return base64.b64decode(value)
