"""Where events go: topic, partition, key and bytes of what is appended for one CloudEvent."""

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.events.codec import decode, encode
from sojourn.events.decisions import gap_accepted, source_bound
from sojourn.events.fields import TEXT_CHARACTERS_MAX
from sojourn.events.log import Append
from sojourn.events.modes import STRUCTURED_HEADERS
from sojourn.events.publisher import route
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, session_partition
from sojourn.events.types import (
    Alive,
    Desktop,
    Destroyed,
    DestroyedData,
    Established,
    EstablishedData,
    Event,
    Heartbeat,
    HeartbeatData,
    Heartbeats,
    HeartbeatsData,
    Terminal,
    User,
)

PARTITIONS: Final = 12
ENVELOPE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "source": "/brokers/eu-1",
    "time": datetime(2026, 11, 24, 8, tzinfo=UTC),
}
SESSION: Final[dict[str, Any]] = {**ENVELOPE, "id": "e-1", "tenant": "acme", "subject": "s-1"}

ESTABLISHED: Final = Established(
    **SESSION,
    data=EstablishedData(
        User("u-1", "Žofie"), Desktop("d-1", "D", "p"), Terminal("mobile", "iOS", "1", ""), "10.0.0.1", "rdp"
    ),
)
DESTROYED: Final = Destroyed(**SESSION, data=DestroyedData("logoff"))

session_ids: Final = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
beats: Final = st.builds(HeartbeatData, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))


def heartbeats(sessions: list[str], details: dict[str, HeartbeatData], event_id: str = "beats") -> Heartbeats:
    return Heartbeats(**ENVELOPE, id=event_id, tenant="acme", data=HeartbeatsData(sessions, details))


def beats_of(append: Append) -> Heartbeats:
    event = decode(append.value)
    assert isinstance(event, Heartbeats)
    return event


@pytest.mark.parametrize(
    ("event", "topic"),
    [(ESTABLISHED, LIFECYCLE), (DESTROYED, LIFECYCLE), (Heartbeat(**SESSION), HEARTBEATS)],
    ids=["established", "destroyed", "heartbeat"],
)
def test_what_names_a_session_goes_to_its_partition_as_it_is(event: Event, topic: str) -> None:
    value = encode(event)

    appends = route(value, PARTITIONS)

    assert appends == [
        Append(topic, session_partition("acme", "s-1", PARTITIONS), b"acme/s-1", value, STRUCTURED_HEADERS)
    ]


def test_a_binding_goes_to_every_partition_of_lifecycle() -> None:
    value = encode(source_bound("/brokers/eu-1", "crc32", ENVELOPE["time"]))

    assert route(value, PARTITIONS) == [
        Append(LIFECYCLE, partition, None, value, STRUCTURED_HEADERS) for partition in range(PARTITIONS)
    ]


@pytest.mark.parametrize(("partition", "expected"), [(0, 0), (11, 11), (12, None), (2**31 - 1, None)])
def test_an_accepted_gap_goes_to_the_partition_that_it_is_about_if_there_is_one(
    partition: int, expected: int | None
) -> None:
    value = encode(gap_accepted(partition, 3, 7, reason="", who="ada", at=ENVELOPE["time"]))

    (append,) = route(value, PARTITIONS)

    headers = () if expected is None else STRUCTURED_HEADERS
    assert append == Append(LIFECYCLE, append.partition if expected is None else expected, None, value, headers)
    assert append.partition < PARTITIONS


def test_the_id_of_a_decision_says_what_it_decides_and_is_no_longer_than_an_id_may_be() -> None:
    first, again = (source_bound("/brokers/eu-1", "crc32", ENVELOPE["time"] + timedelta(days=day)) for day in (0, 1))

    assert first.id == again.id == "source_bound/crc32//brokers/eu-1"
    assert source_bound("/brokers/eu-1", "murmur2", ENVELOPE["time"]).id != first.id
    longest = source_bound("s" * TEXT_CHARACTERS_MAX, "crc32", ENVELOPE["time"])
    assert decode(encode(longest)) == longest
    gaps = {
        gap_accepted(*place, reason="r", who="w", at=ENVELOPE["time"]).id for place in [(0, 1, 2), (1, 1, 2), (0, 1, 3)]
    }
    assert len(gaps) == 3


def test_a_living_broker_is_told_to_every_partition_of_heartbeats() -> None:
    value = encode(Alive(**ENVELOPE, id="alive"))

    appends = route(value, 3)

    assert appends == [
        Append(HEARTBEATS, partition, b"~batch//brokers/eu-1", value, STRUCTURED_HEADERS) for partition in range(3)
    ]


@pytest.mark.parametrize(
    "value",
    [b"", b"no event", b"\xff\xfe", b"{}", b"[" * 9000, encode(DESTROYED)[:-1]],
    ids=lambda value: repr(value[:9]),
)
def test_what_is_no_event_goes_to_lifecycle_as_it_is_without_a_key(value: bytes) -> None:
    assert route(value, PARTITIONS) == [Append(LIFECYCLE, zlib.crc32(value) % PARTITIONS, None, value)]


@given(st.lists(session_ids, max_size=40), st.dictionaries(session_ids, beats, max_size=5), st.integers(1, 20))
def test_a_batch_of_heartbeats_is_split_without_losing_or_doubling_any(
    sessions: list[str], others: dict[str, HeartbeatData], partitions: int
) -> None:
    details = {**{session_id: HeartbeatData(len(session_id)) for session_id in sessions[::2]}, **others}
    event = heartbeats(sessions, details)

    appends = route(encode(event), partitions)

    shares = [(append.partition, beats_of(append)) for append in appends]
    assert sorted(session_id for _, share in shares for session_id in share.data.sessions) == sorted(sessions)
    for append, (partition, share) in zip(appends, shares, strict=True):
        assert (append.topic, append.key) == (HEARTBEATS, b"~batch//brokers/eu-1")
        here = [one for one in sessions if session_partition("acme", one, partitions) == partition]
        assert share.data.sessions == here
        assert {one: share.data.details.get(one) for one in here} == {one: details.get(one) for one in here}
        assert share.id == ("beats" if len(appends) == 1 else f"beats/p{partition}")
        assert (share.time, share.source, share.tenant) == (event.time, event.source, event.tenant)
    assert [partition for partition, _ in shares] == sorted({partition for partition, _ in shares})


def test_a_batch_that_stays_in_one_partition_is_not_touched() -> None:
    value = b" " + encode(heartbeats(["s-1", "s-1"], {"other": HeartbeatData(1)}))

    assert route(value, PARTITIONS) == [
        Append(
            HEARTBEATS, session_partition("acme", "s-1", PARTITIONS), b"~batch//brokers/eu-1", value, STRUCTURED_HEADERS
        )
    ]


def test_a_batch_without_sessions_is_kept_in_the_first_partition() -> None:
    value = encode(heartbeats([], {}))

    assert route(value, PARTITIONS) == [Append(HEARTBEATS, 0, b"~batch//brokers/eu-1", value, STRUCTURED_HEADERS)]


def test_a_split_keeps_fields_that_sojourn_does_not_know_as_they_are_written() -> None:
    document = json.loads(encode(heartbeats(["a", "b", "c"], {"a": HeartbeatData(1)})))
    document["data"]["details"]["a"]["new"] = [1]
    document["data"]["new"] = "ž"
    value = json.dumps(document, ensure_ascii=False)[:-1].encode() + b',"new":1e999}'

    shares = [append.value for append in route(value, PARTITIONS)]

    assert len(shares) == len({session_partition("acme", one, PARTITIONS) for one in "abc"}) > 1
    for share in shares:
        assert b'"new":1e999' in share
        assert '"new":"ž"'.encode() in share
    assert sum(b'"new": [1]' in share for share in shares) == 1


def test_a_split_of_a_batch_with_the_longest_id_is_still_readable() -> None:
    event = heartbeats(["a", "b", "c"], {}, "i" * TEXT_CHARACTERS_MAX)

    appends = route(encode(event), PARTITIONS)

    ids = [beats_of(append).id for append in appends]
    assert len(set(ids)) == len(ids) > 1
    assert all(one.endswith(f"/p{append.partition}") for one, append in zip(ids, appends, strict=True))
