"""The events: CloudEvents 1.0 whose fields `../shared/events` and docs/contract.md fix."""

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from sojourn.events.decision_data import (
    BrokerReturnedData,
    BrokerSilentData,
    DeadLetterResolvedData,
    DisconnectAcknowledgedData,
    DisconnectDeliveredData,
    DisconnectExpiredData,
    DisconnectFailedData,
    DisconnectRequestedData,
    GapAcceptedData,
    LostData,
    LostEndedData,
    RecoveredData,
    SourceBoundData,
    TenantConfiguredData,
)
from sojourn.events.fields import (
    SESSIONS_PER_BATCH_MAX,
    Access,
    Address,
    CommandKind,
    Id,
    Instant,
    Reason,
    Required,
    Seconds,
    Sequence,
    Tenant,
    TerminalType,
    Text,
)

SOJOURN = "/sojourn"  # the source of what Sojourn appends itself
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
    """How many sessions the broker holds, how often it says so, and which commands it can carry out."""

    sessions: Seconds | None = None
    interval_seconds: Seconds | None = None
    commands: list[CommandKind] | None = None


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


class SourceBound(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.broker.source_bound.v1"):
    """Sojourn was told which partitioner a broker uses."""

    data: SourceBoundData


class GapAccepted(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.log.gap_accepted.v1"):
    """Somebody decided to read on behind lifecycle records that the log lost."""

    data: GapAcceptedData


class TenantConfigured(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.tenant.configured.v1"):
    """Sojourn was told what holds for a tenant."""

    tenant: Tenant
    data: TenantConfiguredData


class BrokerSilent(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.broker.silent.v1"):
    """A broker that used to say that it is alive has stopped."""

    data: BrokerSilentData


class BrokerReturned(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.broker.returned.v1"):
    """A broker that was silent says again that it is alive."""

    data: BrokerReturnedData


class DeadLetterResolved(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.log.dead_letter_resolved.v1"):
    """Somebody decided what is done with a dead letter."""

    data: DeadLetterResolvedData


class Lost(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.lost.v1"):
    """The heartbeats of a session stopped."""

    tenant: Tenant
    subject: Id
    data: LostData


class Recovered(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.recovered.v1"):
    """A session that was lost is alive."""

    tenant: Tenant
    subject: Id
    data: RecoveredData


class LostEnded(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.lost_ended.v1"):
    """A session has been lost for so long that it is taken to have ended."""

    tenant: Tenant
    subject: Id
    data: LostEndedData


class DisconnectRequested(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.disconnect_requested.v1"):
    """Somebody asks a session's broker to end it, to log its user off, or to show them a message."""

    tenant: Tenant
    subject: Id
    data: DisconnectRequestedData


class DisconnectDelivered(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.disconnect_delivered.v1"):
    """The broker has a command."""

    tenant: Tenant
    subject: Id
    data: DisconnectDeliveredData


class DisconnectAcknowledged(
    _Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.disconnect_acknowledged.v1"
):
    """The broker carries a command out."""

    tenant: Tenant
    subject: Id
    data: DisconnectAcknowledgedData


class DisconnectFailed(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.disconnect_failed.v1"):
    """The broker refuses a command, or could not carry it out."""

    tenant: Tenant
    subject: Id
    data: DisconnectFailedData


class DisconnectExpired(_Event, frozen=True, gc=False, kw_only=True, tag="sojourn.session.disconnect_expired.v1"):
    """A command is not confirmed: its deadline passed and nobody knows whether it had an effect."""

    tenant: Tenant
    subject: Id
    data: DisconnectExpiredData


LifecycleEvent = Established | Destroyed
LivenessDecision = Lost | Recovered | LostEnded
CommandAnswer = DisconnectDelivered | DisconnectAcknowledged | DisconnectFailed  # what brokers say of a command
CommandEvent = DisconnectRequested | CommandAnswer | DisconnectExpired
SessionEvent = LifecycleEvent | LivenessDecision | CommandEvent  # in the session's partition of lifecycle
HeartbeatEvent = Heartbeat | Heartbeats | Alive
# Of no session: they decide for the partition of lifecycle that holds them.
PartitionEvent = SourceBound | TenantConfigured | BrokerSilent | BrokerReturned | GapAccepted | DeadLetterResolved
Event = SessionEvent | HeartbeatEvent | PartitionEvent

BROKER_EVENTS: Final = (Established, Destroyed, Heartbeat, Heartbeats, Alive, *get_args(CommandAnswer))
EVENT_TYPES: tuple[type[Event], ...] = (
    Established,
    Destroyed,
    Heartbeat,
    Heartbeats,
    Alive,
    Lost,
    Recovered,
    LostEnded,
    DisconnectRequested,
    DisconnectDelivered,
    DisconnectAcknowledged,
    DisconnectFailed,
    DisconnectExpired,
    BrokerSilent,
    BrokerReturned,
    SourceBound,
    TenantConfigured,
    GapAccepted,
    DeadLetterResolved,
)


def type_name(kind: type[Event]) -> str:
    """Return the CloudEvents `type` of an event class."""
    return str(kind.__struct_config__.tag)
