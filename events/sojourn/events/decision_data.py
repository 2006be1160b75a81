"""What the events say that Sojourn appends itself, and those by which brokers answer its commands."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from sojourn.events.fields import (
    SESSIONS_PER_BATCH_MAX,
    CommandKind,
    Evidence,
    Id,
    Instant,
    Offset,
    Partitioner,
    PartitionNumber,
    Required,
    Seconds,
    Tenant,
    Text,
)


class LostData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Nothing was heard of the session since `last_seen_at`, by append time.

    The `deadline` is `timeout_seconds` after that, or after what held the judgement back: a start, a silent broker.
    `heartbeat_offset` is how far the heartbeats of its partition were read then.
    """

    last_seen_at: Instant
    deadline: Instant
    timeout_seconds: Seconds
    heartbeat_offset: Offset


class RecoveredData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A heartbeat came at `seen_at`, by append time; `lost` is the id of the decision that it puts right."""

    seen_at: Instant
    heartbeat_offset: Offset
    lost: Evidence


class LostEndedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The session ended between the two instants, by append time, if it did; `lost` is the id of that decision."""

    ended_after: Instant
    ended_before: Instant
    grace_seconds: Seconds
    lost: Evidence


class DisconnectRequestedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Who asks the broker for what, and until when it may be carried out."""

    command: Id
    kind: CommandKind
    broker: Required
    reason: Text
    requested_by: Required
    expires_at: Instant
    message: Text | None = None


class DisconnectDeliveredData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The broker has the command."""

    command: Id


class DisconnectAcknowledgedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The broker carries the command out, or has carried it out."""

    command: Id


class DisconnectFailedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The broker will not carry the command out, or could not."""

    command: Id
    outcome: Literal["refused", "failed"]
    detail: Text | None = None


class DisconnectExpiredData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Nothing told, up to the deadline, that the command had an effect."""

    command: Id
    deadline: Instant


class BrokerSilentData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Nothing was heard of a broker in one partition since `last_heard_at`, by append time."""

    source: Required
    last_heard_at: Instant
    deadline: Instant
    heartbeat_offset: Offset


class BrokerReturnedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A broker that was silent in one partition was heard of again; `silent` is the id of that decision."""

    source: Required
    heard_at: Instant
    heartbeat_offset: Offset
    silent: Evidence


class DeadLetterResolvedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is done with a dead letter of the partition that holds this; `value` (base64) takes the place of its bytes.

    `appended_at` is the letter's, since a log that was replaced uses offsets again.
    """

    topic: Literal["sojourn.lifecycle", "sojourn.heartbeats"]
    partition: PartitionNumber
    offset: Offset
    appended_at: Instant
    resolution: Literal["requeued", "discarded"]
    reason: Text
    who: Required
    value: bytes | None = None


class TenantConfiguredData(Struct, frozen=True, gc=False, omit_defaults=True):
    """What holds for a tenant from this record on; what is left out is as by default.

    `timeouts` overrides `heartbeat_timeout_seconds` for single brokers, by source. `who` set it.
    """

    internal_networks: list[Text] | None = None
    heartbeat_timeout_seconds: Seconds | None = None
    lost_grace_seconds: Seconds | None = None
    timeouts: dict[str, Seconds] = {}
    time_zone: Text | None = None
    who: Required | None = None


class SourceBoundData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Whose sessions the partitioner places from this record on, and for which tenants it speaks: None for any.

    `who` bound it.
    """

    source: Required
    partitioner: Partitioner
    tenants: Annotated[list[Tenant], Meta(max_length=SESSIONS_PER_BATCH_MAX)] | None = None
    who: Required | None = None


class GapAcceptedData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The records that the log lost, from the first of them to the first that is read again, and who goes on."""

    topic: Literal["sojourn.lifecycle"]
    partition: PartitionNumber
    from_offset: Offset
    to_offset: Offset
    reason: Text
    who: Required
