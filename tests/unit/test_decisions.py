"""What Sojourn decides for a partition: which partitioner places a source's sessions, which gaps are accepted."""

from typing import Any

import pytest

from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE, session_partition
from sojourn.projections.decided import NOTHING_DECIDED, Decided
from sojourn.projections.facts import DeadLetter, Judged, judge_lifecycle
from sojourn.projections.fold import Changes, fold
from tests.unit.events import destroyed, established, gap_accepted, source_bound, to_bytes, with_data
from tests.unit.streams import APPENDED

PARTITIONS = 12
BY_CRC32 = session_partition("acme", "s-1", PARTITIONS, "crc32")
BY_MURMUR2 = session_partition("acme", "s-1", PARTITIONS)


def judged(partition: int, *events: dict[str, Any], decided: Decided = NOTHING_DECIDED) -> list[Judged]:
    records = [
        Record(LIFECYCLE, partition, offset, APPENDED, None, to_bytes(event), ()) for offset, event in enumerate(events)
    ]
    return judge_lifecycle(records, PARTITIONS, decided)


def folded(partition: int, *events: dict[str, Any]) -> Changes:
    return fold({}, judged(partition, *events))


def detail(partition: int, *events: dict[str, Any]) -> str:
    """Return what the last event's dead letter says."""
    letter = judged(partition, *events)[-1]
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "wrong_partition"
    return letter.detail


def bound(partitioner: str, source: str = "/brokers/eu-1") -> dict[str, Any]:
    return source_bound(data={"source": source, "partitioner": partitioner})


def test_a_binding_holds_for_what_stands_behind_it_in_the_same_batch_and_for_no_other_source() -> None:
    before, other = established(), established(source="/brokers/eu-2")

    changes = folded(BY_CRC32, before, bound("crc32"), destroyed(), established(), other)

    assert [letter.record.offset for letter in changes.dead_letters] == [0, 4]
    assert changes.dispositions == {"applied": 2, "orphan": 1, "dead_letter": 2}


def test_a_bound_sources_events_no_longer_belong_where_murmur2_puts_them() -> None:
    changes = folded(BY_MURMUR2, established(), bound("crc32"), destroyed())

    assert [letter.reason for letter in changes.dead_letters] == ["wrong_partition"]
    assert changes.sessions["acme", "s-1"].phase == "active"


def test_a_binding_can_be_taken_back_and_given_again() -> None:
    events = [bound("crc32"), bound("crc32"), bound("murmur2"), bound("murmur2"), bound("crc32")]

    changes = folded(0, *events)

    assert changes.dispositions == {"applied": 3, "duplicate": 2}
    assert [decision.record.offset for decision in changes.decisions] == [0, 2, 4]
    assert NOTHING_DECIDED.after(changes.decisions).partitioners == {"/brokers/eu-1": "crc32"}
    assert (changes.entries, changes.dead_letters, changes.sessions) == ([], [], {})


def test_an_accepted_gap_is_applied_once() -> None:
    first, other = with_data(gap_accepted(), partition=3), with_data(gap_accepted(), partition=3, to_offset=10)

    changes = folded(3, first, {**first, "time": "2026-11-25T08:00:00Z"}, other)

    assert changes.dispositions == {"applied": 2, "duplicate": 1}
    assert NOTHING_DECIDED.after(changes.decisions).gaps == {(7, 9), (7, 10)}


def test_a_gap_of_another_partition_is_a_dead_letter() -> None:
    assert detail(4, with_data(gap_accepted(), partition=3)) == "it is about partition 3, not 4"


def test_judging_leaves_what_was_decided_before_alone() -> None:
    decided = Decided({}, frozenset())

    judged(0, bound("crc32"), gap_accepted(), decided=decided)

    assert decided == Decided({}, frozenset())


def test_where_crc32_put_an_event_its_dead_letter_names_both_cures() -> None:
    assert detail(BY_CRC32, established(source="/brokers/a b")) == (
        f"acme/s-1 belongs to partition {BY_MURMUR2}, not {BY_CRC32}, where crc32 would put it: set "
        "partitioner=murmur2_random in a producer of librdkafka, or run `sojourn brokers set '/brokers/a b' "
        "--partitioner crc32`"
    )


def test_where_murmur2_put_the_event_of_a_bound_source_its_dead_letter_names_both_cures() -> None:
    assert detail(BY_MURMUR2, bound("crc32"), established()) == (
        f"acme/s-1 belongs to partition {BY_CRC32}, not {BY_MURMUR2}, where murmur2 would put it: set "
        "partitioner=consistent_random in a producer of librdkafka, or run `sojourn brokers set /brokers/eu-1 "
        "--partitioner murmur2`"
    )


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_where_no_partitioner_put_an_event_its_dead_letter_names_the_rule_alone(partitioner: str) -> None:
    nowhere = next(number for number in range(PARTITIONS) if number not in {BY_CRC32, BY_MURMUR2})

    said = detail(nowhere, bound(partitioner), established())

    assert said.endswith(f"publish with the key tenant/session and the {partitioner} partitioner")
    assert "sojourn brokers" not in said


def silence(minute: int) -> dict[str, Any]:
    heard_at, deadline = f"2026-11-24T08:{minute:02}:00Z", f"2026-11-24T08:{minute + 2:02}:00Z"
    data = {"source": "/brokers/eu-1", "last_heard_at": heard_at, "deadline": deadline, "heartbeat_offset": 1}
    return decision("sojourn.broker.silent.v1", f"silent-{minute}", data)


def decision(kind: str, event_id: str, data: dict[str, Any]) -> dict[str, Any]:
    head = {"specversion": "1.0", "id": event_id, "source": "/sojourn", "type": kind}
    return head | {"time": "2026-11-24T08:30:00Z", "data": data}


def test_a_silence_that_two_owners_told_ends_with_the_first_whatever_stands_in_one_batch() -> None:
    end = {"source": "/brokers/eu-1", "heard_at": "2026-11-24T08:20:00Z", "heartbeat_offset": 2, "silent": "silent-1"}
    events = [silence(1), silence(5), decision("sojourn.broker.returned.v1", "returned-1", end)]

    at_once = NOTHING_DECIDED.after(folded(0, *events).decisions)
    one_by_one = NOTHING_DECIDED
    for event in events:
        one_by_one = one_by_one.after(fold({}, judged(0, event, decided=one_by_one)).decisions)

    assert at_once.silent == one_by_one.silent == {}


def test_an_instant_in_a_decision_that_has_no_date_in_utc_is_a_dead_letter() -> None:
    data = {
        "last_seen_at": "0001-01-01T00:00:00+14:00",
        "deadline": "2026-11-24T08:01:30Z",
        "timeout_seconds": 90,
        "heartbeat_offset": 1,
    }
    event = decision("sojourn.session.lost.v1", "lost-1", data) | {"tenant": "acme", "subject": "s-1"}

    (letter,) = judged(BY_MURMUR2, event)

    assert isinstance(letter, DeadLetter)
    assert letter.reason == "bad_value"
