"""What streams tell, as Server-Sent Events; the id of each says up to where in the log its client is told."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from sojourn.console.http.problems import malformed
from sojourn.projections.changes import Kind, Place
from sojourn.projections.freshness import Freshness, name

Message = bytes

ID_CHARACTERS_MAX: Final = 10_000  # of a thousand partitions
ID: Final = re.compile(r"(\d{1,6}:\d{1,18})(,\d{1,6}:\d{1,18})*")


class Change(msgspec.Struct, frozen=True):
    """What became of a session."""

    session_id: str
    change: Kind


class Changes(msgspec.Struct, frozen=True):
    """The event `changes`; with no sessions it only says that the stream has begun. `counts` are those of the list."""

    sessions: list[Change]
    counts: dict[str, int]
    again_ms: int


class Resync(msgspec.Struct, frozen=True):
    """The event `resync`: more changed than is told; what one shows is to be read anew."""

    counts: dict[str, int]
    again_ms: int


class BrokerSaid(msgspec.Struct, frozen=True):
    """How a broker stands."""

    source: str
    name: str
    state: str
    silent_since: datetime | None


class FreshnessSaid(msgspec.Struct, frozen=True):
    """The event `freshness`."""

    complete_to: datetime | None
    brokers: list[BrokerSaid]


HEARTBEAT: Final[Message] = b": so that nobody in between cuts it\nevent: heartbeat\ndata: {}\n\n"


def changes_message(
    places: Mapping[int, Place], changes: Mapping[str, Kind], counts: dict[str, int], again_ms: int
) -> Message:
    """Return the event that tells which sessions changed."""
    sessions = [Change(session_id, kind) for session_id, kind in changes.items()]
    return _event("changes", Changes(sessions, counts, again_ms), event_id(places))


def resync_message(places: Mapping[int, Place], counts: dict[str, int], again_ms: int) -> Message:
    """Return the event that tells to read the list anew."""
    return _event("resync", Resync(counts, again_ms), event_id(places))


def freshness_message(fresh: Freshness) -> Message:
    """Return the event that tells how fresh the lists are."""
    brokers = [
        BrokerSaid(broker.source, name(broker.source), broker.state, broker.silent_since) for broker in fresh.brokers
    ]
    return _event("freshness", FreshnessSaid(fresh.complete_to, brokers), None)


def event_id(places: Mapping[int, Place]) -> str:
    """Return the places as the id of an event: `0:123,1:98`."""
    return ",".join(f"{partition}:{place.offset}" for partition, place in sorted(places.items()))


def offsets_of(text: str) -> dict[int, int]:
    """Return the offsets in an event's id, which a client sends as `Last-Event-ID`; raises the problem of none."""
    if len(text) > ID_CHARACTERS_MAX or not ID.fullmatch(text):
        raise malformed("Last-Event-ID is the id of an event of this stream")
    pairs = (pair.partition(":") for pair in text.split(","))
    return {int(partition): int(offset) for partition, _, offset in pairs}


def _event(kind: str, data: msgspec.Struct, identity: str | None) -> Message:
    head = f"event: {kind}\n" if identity is None else f"id: {identity}\nevent: {kind}\n"
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"
