"""Publishing: which topic and partition an event goes to, and telling the caller what is acknowledged."""

import zlib
from collections.abc import Sequence

import msgspec

from sojourn.events.codec import Undecodable, decode
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.events.log import Append, Log
from sojourn.events.modes import STRUCTURED_HEADERS
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, batch_key, session_key, session_partition
from sojourn.events.types import (
    Alive,
    BrokerReturned,
    BrokerSilent,
    DeadLetterResolved,
    Event,
    GapAccepted,
    Heartbeat,
    Heartbeats,
    SessionEvent,
    SourceBound,
    TenantConfigured,
)


def route(value: bytes, partitions: int) -> list[Append]:
    """Return what to append for one CloudEvent in structured JSON.

    What `decode` refuses goes to lifecycle as it is, without a key, so that it is found among the dead letters.
    """
    try:
        event = decode(value)
    except Undecodable:
        return [_unrouted(value, partitions)]
    return _routed(event, value, partitions)


def _routed(event: Event, value: bytes, partitions: int) -> list[Append]:
    match event:
        case Heartbeats():
            return _split(event, value, partitions)
        case Alive():
            return [
                Append(HEARTBEATS, partition, batch_key(event.source), value, STRUCTURED_HEADERS)
                for partition in range(partitions)
            ]
        case Heartbeat():
            return [_of_session(HEARTBEATS, event, value, partitions)]
        case SourceBound() | TenantConfigured():
            return [Append(LIFECYCLE, partition, None, value, STRUCTURED_HEADERS) for partition in range(partitions)]
        case GapAccepted() | DeadLetterResolved() if event.data.partition < partitions:
            return [Append(LIFECYCLE, event.data.partition, None, value, STRUCTURED_HEADERS)]
        case GapAccepted() | DeadLetterResolved() | BrokerSilent() | BrokerReturned():
            return [_unrouted(value, partitions)]  # nobody but a partition's owner says that of a broker
        case _:
            return [_of_session(LIFECYCLE, event, value, partitions)]


def _unrouted(value: bytes, partitions: int) -> Append:
    return Append(LIFECYCLE, zlib.crc32(value) % partitions, None, value)


def _of_session(topic: str, event: SessionEvent | Heartbeat, value: bytes, partitions: int) -> Append:
    partition = session_partition(event.tenant, event.subject, partitions)
    return Append(topic, partition, session_key(event.tenant, event.subject), value, STRUCTURED_HEADERS)


def _split(event: Heartbeats, value: bytes, partitions: int) -> list[Append]:
    """Give each partition the sessions that live there; an event that proves nothing goes to the first."""
    key = batch_key(event.source)
    sessions: dict[int, list[str]] = {}
    for session_id in event.data.sessions:
        sessions.setdefault(session_partition(event.tenant, session_id, partitions), []).append(session_id)
    if len(sessions) <= 1:
        return [Append(HEARTBEATS, min(sessions, default=0), key, value, STRUCTURED_HEADERS)]
    document = _fields(value)
    data = _fields(document["data"])
    details = _fields(data["details"]) if "details" in data else {}
    appends = []
    for partition, here in sorted(sessions.items()):
        suffix = f"/p{partition}"
        document["id"] = _raw(event.id[: TEXT_CHARACTERS_MAX - len(suffix)] + suffix)
        data["sessions"] = _raw(here)
        data["details"] = _raw({session_id: details[session_id] for session_id in here if session_id in details})
        document["data"] = _raw(data)
        appends.append(Append(HEARTBEATS, partition, key, msgspec.json.encode(document), STRUCTURED_HEADERS))
    return appends


def _fields(document: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the fields of a JSON object as they are written: those that Sojourn does not know stay the same."""
    return msgspec.json.decode(document, type=dict[str, msgspec.Raw])


def _raw(field: str | list[str] | dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(field))


class Publisher:
    """Publishes CloudEvents to a log; one session's events keep their order if each call waits for the one before."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._partitions: int | None = None

    async def publish(self, values: Sequence[bytes]) -> int:
        """Append events and return how many are acknowledged: all, or it raises."""
        if self._partitions is None:
            self._partitions = await self._log.partitions(LIFECYCLE)
        await self._log.append([append for value in values for append in route(value, self._partitions)])
        return len(values)
