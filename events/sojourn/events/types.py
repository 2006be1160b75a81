"""The events that brokers publish: CloudEvents 1.0 whose fields `../shared/events` and docs/contract.md fix."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

ID_CHARACTERS_MAX = 200  # ids stand in keys and indexes; a broker's own are a tenth of this
TEXT_CHARACTERS_MAX = 1000  # names and details are shown in a table cell, not read as documents
SESSIONS_PER_BATCH_MAX = 10_000  # with ids of 36 characters half of the record's 1 MiB

_TENANT = "^[a-z0-9][a-z0-9-]{0,62}$"
_NO_CONTROLS = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}
_NO_NUL = {"pattern": r"^[^\u0000]*$"}
_WHOLE = {"pattern": "^-?[0-9]{1,19}$"}
_ADDRESS = {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}

# What stands in `extra_json_schema` is for readers of the schemas; codec.py judges it, with its own public reasons.

Tenant = Annotated[str, Meta(max_length=63, extra_json_schema={"pattern": _TENANT})]
Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX, extra_json_schema=_NO_CONTROLS)]
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX, extra_json_schema=_NO_NUL)]
Required = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, extra_json_schema=_NO_CONTROLS)]
Address = Annotated[str, Meta(extra_json_schema=_ADDRESS)]
Sequence = Annotated[str, Meta(extra_json_schema=_WHOLE)] | int
Instant = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]

TerminalType = Literal["thin_client", "soft_client", "mobile", "browser", "other"]
Access = Literal["internal", "public"]
Reason = Literal["logoff", "idle_timeout", "admin_disconnect", "network", "error", "broker_shutdown", "unknown"]

NORMAL_REASONS = frozenset({"logoff", "idle_timeout", "admin_disconnect"})


class User(Struct, frozen=True, gc=False):
    """Who connected."""

    id: Id
    name: Text


class Desktop(Struct, frozen=True, gc=False):
    """What they connected to."""

    id: Id
    name: Text
    pool: Text


class Terminal(Struct, frozen=True, gc=False):
    """What they connected with; `version` is the client's."""

    type: TerminalType
    os: Text
    version: Text
    name: Text


class EstablishedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A connection began; `predecessor` is the session that it continues."""

    user: User
    desktop: Desktop
    terminal: Terminal
    client_ip: Address
    protocol: Text
    access: Access | None = None
    predecessor: Id | None = None


class DestroyedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A connection ended; `command` is the Sojourn command that it answers."""

    reason: Reason
    detail: Text | None = None
    command: Id | None = None


class HeartbeatData(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a broker may tell about a session that is alive."""

    idle_seconds: Seconds | None = None
    round_trip_ms: Seconds | None = None
    client_ip: Address | None = None


class HeartbeatsData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The sessions of one tenant that are alive; `details` by session id."""

    sessions: Annotated[list[Id], Meta(max_length=SESSIONS_PER_BATCH_MAX)]
    details: dict[str, HeartbeatData] = {}


class AliveData(Struct, frozen=True, gc=False, omit_defaults=True):
    """How many sessions the broker holds and how often it says so."""

    sessions: Seconds | None = None
    interval_seconds: Seconds | None = None


class _Event(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    specversion: Literal["1.0"]
    id: Required
    source: Required
    time: Instant
    sequence: Sequence | None = None
    sequencetype: Literal["Integer"] | None = None
    traceparent: Text | None = None
    datacontenttype: Text | None = None


class Established(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.established.v1"):
    """A session began."""

    tenant: Tenant
    subject: Id
    data: EstablishedData


class Destroyed(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.destroyed.v1"):
    """A session ended."""

    tenant: Tenant
    subject: Id
    data: DestroyedData


class Heartbeat(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.heartbeat.v1"):
    """A session was alive at `time`."""

    tenant: Tenant
    subject: Id
    data: HeartbeatData | None = None


class Heartbeats(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.heartbeats.v1"):
    """Many sessions of one tenant were alive at `time`."""

    tenant: Tenant
    data: HeartbeatsData


class Alive(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.broker.alive.v1"):
    """A broker was alive at `time`."""

    data: AliveData | None = None


LifecycleEvent = Established | Destroyed
HeartbeatEvent = Heartbeat | Heartbeats | Alive
Event = LifecycleEvent | HeartbeatEvent

EVENT_TYPES: tuple[type[Event], ...] = (Established, Destroyed, Heartbeat, Heartbeats, Alive)


def type_name(kind: type[Event]) -> str:
    """Return the CloudEvents `type` of an event class."""
    return str(kind.__struct_config__.tag)
