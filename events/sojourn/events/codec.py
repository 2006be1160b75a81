"""Reading and writing CloudEvents: bytes to typed events, or one public reason why not."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NoReturn, get_args

import msgspec

from sojourn.events.checks import (
    TIMEOUT_SECONDS_MIN,
    has_instant,
    has_instants,
    is_configuration,
    is_sequence,
    is_tenant,
    nesting,
)
from sojourn.events.errors import SojournError
from sojourn.events.fields import Instant
from sojourn.events.types import (
    BROKER_EVENTS,
    EVENT_TYPES,
    Alive,
    BrokerReturned,
    BrokerSilent,
    DeadLetterResolved,
    Destroyed,
    Established,
    Event,
    GapAccepted,
    Heartbeat,
    Heartbeats,
    SessionEvent,
    SourceBound,
    TenantConfigured,
    type_name,
)

VALUE_BYTES_MAX = 1024 * 1024  # Kafka's own default for a record; a real event has 600 bytes
DEPTH_MAX = 64  # a real event is 4 deep; parsers recurse on what is deeper
INTEGER_DIGITS_MAX = 4300  # Python refuses to read longer ones, since it takes quadratic time
IP_CHARACTERS_MAX = 45  # ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255; caches must not keep what is longer
DETAIL_CHARACTERS_MAX = 300  # a reason is read in a list
DIGEST_BYTES = 16  # 128 bits: no accidental collision among all events ever

REASONS: Final = (
    "bad_content_type",
    "too_large",
    "not_utf8",
    "too_deep",
    "truncated_json",
    "not_json",
    "unknown_type",
    "missing_field",
    "bad_tenant",
    "bad_subject",
    "bad_time",
    "bad_ip",
    "bad_value",
    "wrong_source",
    "unbound_source",
    "tenant_mismatch",
    "wrong_partition",
    "wrong_letter",
    "parked",
    "conflict",
    "refused_by_database",
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Without these bytes no text holds a control character; \\n may be a false alarm, which only costs time.
_SUSPECT = re.compile(rb"\\[bfnrt]|\\u00[01789]|\x7f|\xc2[\x80-\x9f]")
_LONG_INTEGER = re.compile(rb"(?<![0-9])[0-9]{%d,}" % (INTEGER_DIGITS_MAX + 1))
_OF_BROKERS: Final = frozenset(BROKER_EVENTS)
_KINDS: Final = {type_name(kind): kind for kind in EVENT_TYPES}


class Undecodable(SojournError):
    """the bytes are no event that Sojourn knows"""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:DETAIL_CHARACTERS_MAX].replace("\0", "\\0")
        self.tenant: str | None = None
        self.session_id: str | None = None


class _Content(msgspec.Struct):
    data: Any = None


def _plain_number(text: str) -> int | float | str:
    """Read a number so that 1, 1.0 and 1e0 are the same content; one that no float holds stays text."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        return text
    return int(number) if number.is_integer() else number


_typed: Final = msgspec.json.Decoder(Event)
_content: Final = msgspec.json.Decoder(_Content, float_hook=_plain_number)
_anything: Final = msgspec.json.Decoder(float_hook=_plain_number)


def decode(value: bytes) -> Event:
    """Return the event that `value` holds.

    Raises `Undecodable` with the first of `REASONS` that applies, up to `bad_value`.
    """
    if len(value) > VALUE_BYTES_MAX:
        _refuse(value)
    try:
        value.decode()
        event: Event = _typed.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _refuse(value)
    if (
        (value.count(b"{") + value.count(b"[") > DEPTH_MAX and nesting(value)[0] > DEPTH_MAX)
        or (len(value) > INTEGER_DIGITS_MAX and _LONG_INTEGER.search(value) is not None)
        or (not _is_plain(value) and _SUSPECT.search(value) is not None)
        or not _sound(event)
    ):
        reason = explain(value)
        if reason is not None:
            raise reason
    return event


def encode(event: Event) -> bytes:
    """Return the event as structured CloudEvents JSON."""
    return msgspec.json.encode(event)


def digest(event: SessionEvent, value: bytes) -> bytes:
    """Return the digest of the canonical content of `event`, decoded from `value`.

    Canonical content is JSON with sorted keys of [type, subject, instant in microseconds, data], in which data keeps
    the fields that Sojourn does not know and 1.0 equals 1.
    """
    microseconds = (event.time - _EPOCH) // timedelta(microseconds=1)
    content = [type_name(type(event)), event.subject, microseconds, _content.decode(value).data]
    return blake2b(msgspec.json.encode(content, order="sorted"), digest_size=DIGEST_BYTES).digest()


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def sequence_number(event: Event) -> int | None:
    """Return the event's place within its session, if the broker counts."""
    return None if event.sequence is None else int(event.sequence)


@lru_cache(maxsize=65536)
def canonical_ip(text: str) -> str:
    """Return an IPv4 or IPv6 address in its one canonical spelling; raises ValueError."""
    address = ip_address(text)
    if "%" in text:
        raise ValueError(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"::ffff:{mapped}"  # as RFC 5952 and PostgreSQL do; Python 3.12 does not


def _is_plain(value: bytes) -> bool:
    """Tell quickly that there is nothing for `_SUSPECT` to find, as in nearly all events."""
    return value.isascii() and b"\\" not in value and b"\x7f" not in value


def _refuse(value: bytes) -> NoReturn:
    raise explain(value) or Undecodable("bad_value", "the event does not fit its type")


def _sound(event: Event) -> bool:
    """Tell whether what the types cannot say holds as well; `explain` finds out what does not."""
    if not is_sequence(event.sequence) or not has_instant(event.time):
        return False
    if type(event) not in _OF_BROKERS and not has_instants(event.data):
        return False
    match event:
        case Established():
            return is_tenant(event.tenant) and _is_ip(event.data.client_ip)
        case Heartbeat():
            return is_tenant(event.tenant) and (
                event.data is None or event.data.client_ip is None or _is_ip(event.data.client_ip)
            )
        case Heartbeats():
            return is_tenant(event.tenant) and all(
                beat.client_ip is None or _is_ip(beat.client_ip) for beat in event.data.details.values()
            )
        case TenantConfigured():
            return is_tenant(event.tenant) and is_configuration(event.data)
        case SourceBound():
            return all(map(is_tenant, event.data.tenants or ()))
        case Alive() | BrokerSilent() | BrokerReturned() | GapAccepted() | DeadLetterResolved():
            return True
        case _:
            return is_tenant(event.tenant)


def explain(value: bytes) -> Undecodable | None:
    """Judge `value` by every rule in the order of `REASONS`; slow, for what `decode` could not take at once."""
    if len(value) > VALUE_BYTES_MAX:
        return Undecodable("too_large", f"a record may have {VALUE_BYTES_MAX} bytes: {len(value)}")
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return Undecodable("not_utf8", f"the byte at {error.start} is not UTF-8: 0x{value[error.start]:02x}")
    depth, closed = nesting(value)
    if depth > DEPTH_MAX:
        return Undecodable("too_deep", f"JSON may be nested {DEPTH_MAX} deep: {depth}")
    try:
        document = _anything.decode(value)
    except msgspec.ValidationError:  # of JSON that fits any type, only an integer too long for Python
        detail, shortened = f"an integer may have {INTEGER_DIGITS_MAX} digits", _LONG_INTEGER.sub(b"0", value)
        return explain(shortened) or _naming(Undecodable("bad_value", detail), _anything.decode(shortened))
    except msgspec.DecodeError as error:
        at_end = "truncated" in str(error) or str(error).endswith(f"invalid number (byte {len(value)})")
        return Undecodable("truncated_json" if at_end and not closed else "not_json", str(error))
    if not isinstance(document, dict):
        return Undecodable("not_json", f"an event is a JSON object, not: {type(document).__name__}")
    reason = _explain_document(document, value)
    return None if reason is None else _naming(reason, document)


def _naming(reason: Undecodable, document: dict[str, Any]) -> Undecodable:
    """Return the reason with whom the document names."""
    tenant, subject = document.get("tenant"), document.get("subject")
    reason.tenant = tenant if isinstance(tenant, str) and is_tenant(tenant) else None
    reason.session_id = subject if _fits("subject", Destroyed, subject) else None
    return reason


def _explain_document(document: dict[str, Any], value: bytes) -> Undecodable | None:
    name = document.get("type")
    if name is not None and (not isinstance(name, str) or name not in _KINDS):
        return Undecodable("unknown_type", f"unknown event type: {name!r}")
    kind = _KINDS.get(name) if name is not None else None
    missing = [path for path in ("specversion", "id", "source", "type", "time") if document.get(path) is None]
    missing += _missing(kind, document, "") if kind is not None else []
    if missing:
        return Undecodable("missing_field", f"required, but missing: {', '.join(dict.fromkeys(missing))}")
    assert kind is not None
    return _explain_fields(kind, document) or _explain_values(document, value)


def _explain_fields(kind: type[Event], document: dict[str, Any]) -> Undecodable | None:
    names = kind.__struct_fields__
    tenant, subject = document.get("tenant"), document.get("subject")
    if "tenant" in names and not (isinstance(tenant, str) and is_tenant(tenant)):
        return Undecodable("bad_tenant", f"a tenant is 1 to 63 of a-z, 0-9 and -, not: {tenant!r}")
    if "subject" in names and not _fits("subject", kind, subject):
        return Undecodable("bad_subject", f"a session id is 1 to 200 characters, no control characters: {subject!r}")
    try:
        instant = msgspec.convert(document["time"], Instant)
    except msgspec.ValidationError as error:
        return Undecodable("bad_time", f"{error}: {document['time']!r}")
    if not has_instant(instant):
        return Undecodable("bad_time", f"outside the years 1 to 9999 in UTC: {document['time']!r}")
    for address in _addresses(kind, document.get("data")):
        if not (isinstance(address, str) and _is_ip(address)):
            return Undecodable("bad_ip", f"neither an IPv4 nor an IPv6 address: {address!r}")
    return None


def _explain_values(document: dict[str, Any], value: bytes) -> Undecodable | None:
    if not is_sequence(document.get("sequence")):
        return Undecodable("bad_value", f"a sequence is a whole number of 64 bits: {document['sequence']!r}")
    try:
        event: Event = _typed.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        return Undecodable("bad_value", str(error))
    if type(event) not in _OF_BROKERS and not has_instants(event.data):
        return Undecodable("bad_value", "an instant in data lies outside the years 1 to 9999 in UTC")
    if isinstance(event, SourceBound):
        for tenant in event.data.tenants or ():
            if not is_tenant(tenant):
                return Undecodable("bad_value", f"a tenant is 1 to 63 of a-z, 0-9 and -, not: {tenant!r}")
    if isinstance(event, TenantConfigured) and not is_configuration(event.data):
        return Undecodable(
            "bad_value",
            f"networks are in CIDR, a time zone is an IANA name, time-outs are {TIMEOUT_SECONDS_MIN} s to 7 days",
        )
    text = _text_with_control(msgspec.to_builtins(event, builtin_types=(datetime, bytes)), "")
    return None if text is None else Undecodable("bad_value", text)


def _text_with_control(node: Any, path: str) -> str | None:
    """Find a kept text that PostgreSQL (NUL) or a key (any control character) cannot hold."""
    if isinstance(node, dict):
        for name, child in node.items():
            if "\0" in name:
                return f"a name in {path or 'the event'} holds a NUL: {name!r}"
            if (found := _text_with_control(child, f"{path}.{name}".lstrip("."))) is not None:
                return found
    elif isinstance(node, list):
        for child in node:
            if (found := _text_with_control(child, path)) is not None:
                return found
    elif isinstance(node, str):
        if "\0" in node:
            return f"{path} holds a NUL: {node!r}"
        if path in _KEY_PATHS and _CONTROL.search(node):
            return f"{path} holds a control character: {node!r}"
    return None


_KEY_PATHS: Final = frozenset(
    {
        "id",
        "source",
        "data.user.id",
        "data.desktop.id",
        "data.predecessor",
        "data.command",
        "data.sessions",
        "data.source",
        "data.who",
        "data.requested_by",
        "data.broker",
        "data.lost",
        "data.silent",
    }
)


def _missing(kind: type[msgspec.Struct], document: dict[str, Any], path: str) -> list[str]:
    missing = []
    for field in msgspec.structs.fields(kind):
        child = document.get(field.encode_name)
        struct = next((t for t in (field.type, *get_args(field.type)) if _is_struct(t)), None)
        if field.required and child is None:
            missing.append(path + field.encode_name)
        elif struct is not None and isinstance(child, dict):
            missing += _missing(struct, child, f"{path}{field.encode_name}.")
    return missing


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _addresses(kind: type[Event], data: Any) -> list[Any]:
    """Return all client addresses that the data of an event names; other types may use the name for something else."""
    holders = [data] if kind in (Established, Heartbeat) else []
    if kind is Heartbeats and isinstance(data, dict) and isinstance(data.get("details"), dict):
        holders = list(data["details"].values())
    return [
        holder["client_ip"] for holder in holders if isinstance(holder, dict) and holder.get("client_ip") is not None
    ]


def _fits(name: str, kind: type[Event], value: Any) -> bool:
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        return False
    return isinstance(value, str) and _CONTROL.search(value) is None


def _is_ip(text: str) -> bool:
    return len(text) <= IP_CHARACTERS_MAX and _is_address(text)


@lru_cache(maxsize=65536)
def _is_address(text: str) -> bool:
    try:
        canonical_ip(text)
    except ValueError:
        return False
    return True
