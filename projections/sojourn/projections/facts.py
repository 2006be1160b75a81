"""What one record of the lifecycle log turns out to be: a fact about a session, or a dead letter."""

from msgspec import Struct

from sojourn.events.codec import Undecodable, decode, digest, sequence_number
from sojourn.events.log import Record
from sojourn.events.topics import session_partition
from sojourn.events.types import Destroyed, Established, LifecycleEvent, type_name

Key = tuple[str, str]  # tenant, session id


class Fact(Struct, frozen=True, gc=False):
    """A lifecycle event with its place in the log; `digest` is that of its canonical content."""

    record: Record
    event: LifecycleEvent
    digest: bytes

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


def judge_lifecycle(record: Record, partitions: int) -> Fact | DeadLetter:
    """Decode a record of the lifecycle topic and check that it stands in its session's partition."""
    try:
        event = decode(record.value)
    except Undecodable as error:
        return DeadLetter(record, error.reason, error.detail, error.tenant, error.session_id)
    if not isinstance(event, Established | Destroyed):
        return DeadLetter(
            record,
            "unknown_type",
            f"no lifecycle event, it belongs to the topic sojourn.heartbeats: {type_name(type(event))!r}",
            getattr(event, "tenant", None),
            getattr(event, "subject", None),
        )
    fact = Fact(record, event, digest(event, record.value))
    expected = session_partition(event.tenant, event.subject, partitions)
    if expected != record.partition:
        detail = (
            f"{event.tenant}/{event.subject} belongs to partition {expected}, not {record.partition}: "
            "publish with the key tenant/session and the murmur2 partitioner"
        )
        return DeadLetter(record, "wrong_partition", detail, event.tenant, event.subject, fact)
    return fact


def conflict(fact: Fact) -> DeadLetter:
    """Return the dead letter for an event whose id was seen before with other content."""
    detail = f"{fact.event.source} used this id before with other content: {fact.event.id!r}"
    return DeadLetter(fact.record, "conflict", detail, fact.event.tenant, fact.event.subject, fact)
