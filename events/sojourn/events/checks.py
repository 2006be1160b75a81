"""What the types of events cannot say of their fields."""

import re
from datetime import UTC, datetime
from ipaddress import ip_network
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from sojourn.events.decision_data import TenantConfiguredData

TIMEOUT_SECONDS_MIN = 5  # shorter ones would judge the log's own delays
TIMEOUT_SECONDS_MAX = 7 * 86400  # heartbeats are kept for hours only

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?P<quote>"?)|(?P<opening>[\[{])|(?P<closing>[\]}])', re.DOTALL)
_SEQUENCE = re.compile(r"-?[0-9]{1,19}\Z")
_SEQUENCE_MAX = 2**63 - 1  # a bigint
_SEQUENCE_DIGITS = 19  # it has so many; fewer always fit


def nesting(value: bytes) -> tuple[int, bool]:
    """Return how deep brackets nest outside strings, and whether all that was opened was closed."""
    depth = deepest = 0
    cut = False
    for match in _BRACKET_OR_STRING.finditer(value):
        if match["opening"]:
            depth += 1
            deepest = max(deepest, depth)
        elif match["closing"]:
            depth -= 1
        else:
            cut = not match["quote"]
    return deepest, depth <= 0 and not cut


def has_instant(instant: datetime) -> bool:
    """Tell whether the instant has a date in UTC: 0001-01-01T00:00+14:00 has none."""
    try:
        instant.astimezone(UTC)
    except OverflowError:
        return False
    return True


def has_instants(data: Struct | None) -> bool:
    """Tell whether every instant in the data of an event has a date in UTC."""
    values = () if data is None else (getattr(data, name) for name in data.__struct_fields__)
    return all(has_instant(value) for value in values if isinstance(value, datetime))


def is_sequence(sequence: object) -> bool:
    if sequence is None:
        return True
    if isinstance(sequence, str):
        if len(sequence) < _SEQUENCE_DIGITS and sequence.isascii() and sequence.isdigit():
            return True
        if _SEQUENCE.match(sequence) is None:
            return False
        sequence = int(sequence)
    return isinstance(sequence, int) and not isinstance(sequence, bool) and abs(sequence) <= _SEQUENCE_MAX


def is_tenant(tenant: str) -> bool:
    return _TENANT.match(tenant) is not None


def is_configuration(data: TenantConfiguredData) -> bool:
    seconds = [data.heartbeat_timeout_seconds, *data.timeouts.values()]
    if any(one is not None and not TIMEOUT_SECONDS_MIN <= one <= TIMEOUT_SECONDS_MAX for one in seconds):
        return False
    try:
        for network in data.internal_networks or ():
            ip_network(network)
        if data.time_zone is not None:
            ZoneInfo(data.time_zone)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        return False
    return True
