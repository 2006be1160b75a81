"""What one record of the lifecycle log turns out to be: a fact about a session, a decision, or a dead letter."""

import shlex
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Final

from msgspec import Struct

from sojourn.events.codec import Undecodable, decode, digest, sequence_number
from sojourn.events.fields import Partitioner
from sojourn.events.log import Record
from sojourn.events.modes import structured
from sojourn.events.topics import session_partition
from sojourn.events.types import (
    BROKER_EVENTS,
    SOJOURN,
    Event,
    GapAccepted,
    HeartbeatEvent,
    PartitionEvent,
    SessionEvent,
    type_name,
)
from sojourn.projections.access import INTERNAL_NETWORKS_DEFAULT, Networks
from sojourn.projections.decided import Decided, Decision

Key = tuple[str, str]  # tenant, session id


class Fact(Struct, frozen=True, gc=False):
    """An event about a session with its place in the log; `digest` is that of its canonical content.

    `came_at` is when the log took it first, where a dead letter was requeued since; `networks` are the tenant's own.
    """

    record: Record
    event: SessionEvent
    digest: bytes
    came_at: datetime
    networks: Networks = INTERNAL_NETWORKS_DEFAULT

    @property
    def key(self) -> Key:
        """The session that the event is about."""
        return self.event.tenant, self.event.subject

    @property
    def sequence(self) -> int | None:
        """The event's place within its session, if the broker counts."""
        return sequence_number(self.event)


class DeadLetter(Struct, frozen=True, gc=False):
    """A record that could not be applied, with a public reason code; `fact` is there when it decodes."""

    record: Record
    reason: str
    detail: str
    tenant: str | None
    session_id: str | None
    fact: Fact | None = None


Judged = Fact | Decision | DeadLetter

_OF_BROKERS: Final = frozenset(BROKER_EVENTS)

_OTHER: Final[dict[Partitioner, Partitioner]] = {"murmur2": "crc32", "crc32": "murmur2"}
_IN_LIBRDKAFKA: Final[dict[Partitioner, str]] = {"murmur2": "murmur2_random", "crc32": "consistent_random"}


def judge_lifecycle(records: Sequence[Record], partitions: int, decided: Decided) -> list[Judged]:
    """Decode consecutive records of lifecycle, and check that each event stands in its session's partition.

    That is the one of its source's partitioner, which a record may change for those behind it.
    """
    judged = []
    for record in records:
        item = judge(record, partitions, decided)
        if isinstance(item, Decision) and not item.repeats:
            decided = decided.after([item])
        judged.append(item)
    return judged


def judge(record: Record, partitions: int, decided: Decided, came_at: datetime | None = None) -> Judged:
    """Judge one record by what was decided before it."""
    try:
        value = structured(record.value, record.headers)
        event = decode(value)
    except Undecodable as error:
        return DeadLetter(record, error.reason, error.detail, error.tenant, error.session_id)
    if not isinstance(event, SessionEvent):
        return _of_no_session(record, event, decided)
    refusal = refused_source(event, decided)
    if refusal is not None:
        return DeadLetter(record, *refusal, *about(event))
    setting = decided.settings.get(event.tenant)
    networks = INTERNAL_NETWORKS_DEFAULT
    if setting is not None and setting.internal_networks is not None:
        networks = _networks(tuple(setting.internal_networks))
    fact = Fact(record, event, digest(event, value), came_at or record.appended_at, networks)
    expected, partitioner = record.partition, decided.partitioners.get(event.source, "murmur2")
    if event.source != SOJOURN:  # whose events go to where the session's others are
        expected = session_partition(event.tenant, event.subject, partitions, partitioner)
    return fact if expected == record.partition else _misplaced(fact, expected, partitions, partitioner)


def _of_no_session(record: Record, event: PartitionEvent | HeartbeatEvent, decided: Decided) -> Decision | DeadLetter:
    if isinstance(event, HeartbeatEvent):
        detail = f"no lifecycle event, it belongs to the topic sojourn.heartbeats: {type_name(type(event))!r}"
        return DeadLetter(record, "unknown_type", detail, *about(event))
    refusal = refused_source(event, decided)
    if refusal is not None:
        return DeadLetter(record, *refusal, *about(event))
    if isinstance(event, GapAccepted) and event.data.partition != record.partition:
        detail = f"it is about partition {event.data.partition}, not {record.partition}"
        return DeadLetter(record, "wrong_partition", detail, None, None)
    return Decision(record, event, decided.holds(event))


def refused_source(event: Event, decided: Decided) -> tuple[str, str] | None:
    """Return the reason code and its detail where the source may not say this, or not for this tenant."""
    is_of_broker = type(event) in _OF_BROKERS
    if is_of_broker == (event.source == SOJOURN):
        whose = "Sojourn's own" if event.source == SOJOURN else "a broker's"
        return "wrong_source", f"{type_name(type(event))} does not come from {whose} source: {event.source!r}"
    if not is_of_broker or not decided.tenants or not decided.is_strict:
        return None
    tenant = getattr(event, "tenant", None)
    if tenant is None:
        return None
    if event.source not in decided.tenants:
        return "unbound_source", f"sources are bound to tenants here, and this one is not: {event.source!r}"
    tenants = decided.tenants[event.source]
    if tenants is not None and tenant not in tenants:
        return "tenant_mismatch", f"{event.source} speaks for {', '.join(sorted(tenants)) or 'nobody'}, not: {tenant!r}"
    return None


def about(event: Event) -> tuple[str | None, str | None]:
    """Return the tenant and the session that an event names."""
    return getattr(event, "tenant", None), getattr(event, "subject", None)


@lru_cache(maxsize=1024)  # as many tenants as have networks of their own
def _networks(texts: tuple[str, ...]) -> Networks:
    return tuple(ip_network(text) for text in texts)


def _misplaced(fact: Fact, expected: int, partitions: int, partitioner: Partitioner) -> DeadLetter:
    """Return the dead letter for an event in another partition than its session's, with what mends its producer."""
    event, found, other = fact.event, fact.record.partition, _OTHER[partitioner]
    place = f"{event.tenant}/{event.subject} belongs to partition {expected}, not {found}"
    if session_partition(event.tenant, event.subject, partitions, other) == found:
        detail = (
            f"{place}, where {other} would put it: set partitioner={_IN_LIBRDKAFKA[partitioner]} in a producer of "
            f"librdkafka, or run `sojourn brokers set {shlex.quote(event.source)} --partitioner {other}`"
        )
    else:
        detail = f"{place}: publish with the key tenant/session and the {partitioner} partitioner"
    return DeadLetter(fact.record, "wrong_partition", detail, event.tenant, event.subject, fact)


def conflict(fact: Fact) -> DeadLetter:
    """Return the dead letter for an event whose id was seen before with other content."""
    detail = f"{fact.event.source} used this id before with other content: {fact.event.id!r}"
    return DeadLetter(fact.record, "conflict", detail, fact.event.tenant, fact.event.subject, fact)
