"""What waits behind a dead letter, and what a resolution lets go, case by case."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sojourn.consumers.replay import Folding
from sojourn.events.codec import VALUE_BYTES_MAX
from sojourn.events.log import Record
from sojourn.projections import parking
from tests.property.strategies import records_of
from tests.unit.events import destroyed, established, heartbeat, source_bound, to_bytes, with_data, without
from tests.unit.letters import resolve

A_SECOND = timedelta(seconds=1)
BAD = to_bytes(without(established(), "data.user"))
GOOD = to_bytes(established())
END = to_bytes(destroyed())


class Told(list[tuple[int, str, int | None]]):
    """Offset, disposition and revision of each row of history, in order; `letters` and `counts` beside them."""

    letters: list[tuple[int, str, str]]
    counts: Counter[str]
    folding: Folding


def log_of(*values: bytes | Callable[[list[Record]], bytes], gap: timedelta = A_SECOND) -> list[Record]:
    """Return the values as records; a function gets the records before it, to name one."""
    records: list[Record] = []
    for value in values:
        start = {"start": records[-1].appended_at} if records else {}
        written = value if isinstance(value, bytes) else value(records)
        records += records_of([written], [gap], len(records), **start)
    return records


def told(records: list[Record]) -> Told:
    folding = Folding(1)
    result = Told()
    result.letters, result.counts, result.folding = [], Counter(), folding
    for parked, changes in folding.take(records):
        result.extend((e.fact.record.offset, e.disposition, e.revision) for e in changes.entries)
        result.letters += [(d.record.offset, d.reason, d.detail) for d in changes.dead_letters]
        result.counts.update(changes.dispositions)
        result.counts.update(parked.moved)
    result.counts = +result.counts
    return result


def reasons(result: Told) -> list[tuple[int, str]]:
    return [(offset, reason) for offset, reason, _ in result.letters]


def naming(index: int, how: str = "requeued", value: bytes | None = None, /, **fields: Any) -> Callable[..., bytes]:
    return lambda records: resolve(records[index], how, value, **fields)


def test_what_comes_of_a_session_waits_behind_its_bad_record_and_other_sessions_flow() -> None:
    result = told(log_of(BAD, END, to_bytes(established(subject="s-2"))))

    assert list(result) == [(1, "parked", None), (2, "applied", 1)]
    assert reasons(result) == [(0, "missing_field"), (1, "parked")]
    assert result.counts == Counter(dead_letter=1, parked=1, applied=1)


def test_a_requeued_letter_is_applied_in_its_old_place_and_then_what_waited() -> None:
    records = log_of(BAD, END, naming(0, "requeued", GOOD))

    result = told(records)

    session = result.folding.states["acme", "s-1"]
    assert list(result) == [(1, "parked", None), (0, "applied", 1), (1, "applied", 2)]
    assert (session.revision, session.offset, session.appended_at) == (2, 1, records[2].appended_at)
    assert session.login is not None
    assert session.login.appended_at == records[0].appended_at, "the log took it then"
    assert result.counts == Counter(applied=3)


def test_a_clock_is_judged_by_when_the_record_came_and_not_by_when_it_was_requeued() -> None:
    ahead = to_bytes(established(time="2026-11-26T06:00:00Z"))
    records = log_of(BAD, lambda records: resolve(records[0], "requeued", ahead), gap=timedelta(hours=20))

    session = told(records).folding.states["acme", "s-1"]

    assert session.login is not None
    assert session.login.replaced
    assert session.login.at == records[0].appended_at


def test_a_discarded_letter_lets_go_what_waited_as_if_it_had_never_come() -> None:
    result = told(log_of(BAD, END, naming(0, "discarded")))

    assert list(result) == [(1, "parked", None), (1, "orphan", 1)]
    assert result.counts == Counter(dead_letter=1, orphan=1, applied=1)


def test_a_queue_stops_at_the_next_bad_record_and_goes_on_from_there() -> None:
    bad_end = to_bytes(without(destroyed(id="3"), "data"))
    records = log_of(BAD, bad_end, END, naming(0, "requeued", GOOD), naming(1, "discarded"))

    half, whole = told(records[:4]), told(records)

    assert list(half) == [(2, "parked", None), (0, "applied", 1)]
    assert half.counts == Counter(applied=2, dead_letter=1, parked=1)
    assert list(whole) == [*half, (2, "applied", 2)]
    assert whole.counts == Counter(applied=4, dead_letter=1)


def test_one_resolved_in_the_midst_of_a_queue_waits_for_its_turn() -> None:
    bad_end = to_bytes(without(destroyed(), "data"))
    records = log_of(BAD, bad_end, naming(1, "requeued", END), naming(0, "requeued", GOOD))

    before, after = told(records[:3]), told(records)

    assert list(before) == []
    assert list(after) == [(0, "applied", 1), (1, "applied", 2)]
    assert after.counts == Counter(applied=4)


def test_a_parked_event_that_was_discarded_is_left_out_when_its_turn_comes() -> None:
    result = told(log_of(BAD, END, naming(1, "discarded"), naming(0, "requeued", GOOD)))

    assert list(result) == [(1, "parked", None), (0, "applied", 1)]
    assert result.counts == Counter(applied=3, dead_letter=1)


@pytest.mark.parametrize(
    "letter",
    [
        to_bytes({**established(), "type": "sojourn.session.exploded.v1"}),
        to_bytes(established(source="/sojourn")),
        to_bytes(without(established(), "type")),
        to_bytes(without(heartbeat(), "time")),
        to_bytes(with_data(heartbeat(), client_ip="nowhere")),
        b'{"tenant": "acme", "subject": "s-1"',
        to_bytes(without(established(), "tenant")),
        to_bytes(without(established(source="/sojourn"), "data")),
    ],
    ids=["unknown", "source", "untyped", "beat", "beat's ip", "cut", "nobody's", "not Sojourn's"],
)
def test_what_others_cannot_build_upon_holds_nothing_back(letter: bytes) -> None:
    result = told(log_of(letter, GOOD, END))

    assert len(result.letters) == 1
    assert list(result)[-2:] == [(1, "applied", 1), (2, "applied", 2)]


def test_a_conflict_holds_nothing_back_and_may_be_requeued_under_another_id() -> None:
    other = to_bytes(with_data(established(sequence=1), user__name="Eve"))
    mended = to_bytes(with_data(established(id="9", sequence=1), user__name="Eve"))

    result = told(log_of(GOOD, other, END, naming(1, "requeued", mended)))

    assert list(result) == [(0, "applied", 1), (1, "conflict", None), (2, "applied", 2), (1, "applied", 3)]
    assert result.counts == Counter(applied=4)


def test_a_source_that_may_not_speak_for_a_tenant_cannot_hold_its_sessions_up() -> None:
    bound = to_bytes(with_data(source_bound(), partitioner="murmur2", tenants=["acme"]))
    strange = to_bytes(without(established(source="/brokers/other"), "data"))

    result = told(log_of(bound, strange, GOOD))

    assert reasons(result) == [(1, "missing_field")]
    assert list(result) == [(2, "applied", 1)]


SAME = "lifecycle@0:0"


@pytest.mark.parametrize(
    ("decision", "detail"),
    [
        (naming(0), "it would be refused again, missing_field: required, but missing: data.user"),
        (naming(0, "requeued", b"{"), "it would be refused again, truncated_json"),
        (naming(0, "requeued", to_bytes(established(subject="s-2"))), "another session than the letter, acme/s-1: "),
        (naming(0, "requeued", to_bytes(established(tenant="globex"))), "acme/s-1: globex/s-1"),
        (naming(0, "requeued", to_bytes(source_bound())), f"it is no event of a session: {SAME}"),
        (naming(0, "requeued", GOOD, offset=1), "there is no such dead letter in this partition: lifecycle@0:1"),
        (naming(0, "requeued", GOOD, partition=1), "there is no such dead letter in this partition: lifecycle@1:0"),
        (naming(0, "requeued", GOOD, appended_at="2026-11-24T08:00:00Z"), f"in this partition: {SAME}, appended"),
        (naming(0, "requeued", GOOD, topic="sojourn.heartbeats"), "heartbeats are not requeued"),
    ],
)  # fmt: skip
def test_a_resolution_that_cannot_be_applied_is_a_dead_letter_and_leaves_the_other_open(
    decision: Callable[..., bytes], detail: str
) -> None:
    records = log_of(BAD, END, decision, naming(0, "requeued", GOOD))

    result = told(records)

    assert reasons(result) == [(0, "missing_field"), (1, "parked"), (2, "wrong_letter")]
    assert detail in result.letters[2][2]
    assert list(result)[1:] == [(0, "applied", 1), (1, "applied", 2)]


def test_a_resolution_that_says_another_thing_than_the_first_is_a_dead_letter() -> None:
    result = told(log_of(BAD, naming(0, "requeued", GOOD), naming(0, "requeued", GOOD), naming(0, "discarded")))

    assert result.counts == Counter(applied=2, duplicate=1, dead_letter=1)
    assert result.letters[1][1:] == ("wrong_letter", f"it was requeued before: {SAME}")


def test_a_dead_letter_of_heartbeats_can_be_discarded_whatever_the_lifecycle_log_knows_of_it() -> None:
    result = told(log_of(GOOD, naming(0, "discarded", topic="sojourn.heartbeats")))

    assert result.counts == Counter(applied=2)


def test_a_decision_that_is_a_dead_letter_can_be_discarded_itself() -> None:
    result = told(log_of(GOOD, naming(0, "discarded"), naming(1, "discarded")))

    assert reasons(result) == [(1, "wrong_letter")]
    assert result.counts == Counter(applied=2, dead_letter=1)


def test_one_that_named_no_session_takes_its_turn_in_the_queue_once_it_is_mended() -> None:
    end = to_bytes(destroyed(id="7"))
    records = log_of(BAD, b"not json", END, naming(1, "requeued", end), naming(0, "requeued", GOOD))

    before, after = told(records[:4]), told(records)

    assert list(before) == [(2, "parked", None)]
    assert list(after)[1:] == [(0, "applied", 1), (1, "applied", 2), (2, "duplicate", None)]


def test_one_that_named_no_session_and_came_before_its_bad_record_is_applied_at_once() -> None:
    bad_end = to_bytes(without(destroyed(), "data"))

    result = told(log_of(b"not json", bad_end, naming(0, "requeued", GOOD)))

    assert list(result) == [(0, "applied", 1)]
    assert result.counts == Counter(applied=2, dead_letter=1)


def test_a_record_too_large_to_be_kept_whole_is_requeued_with_other_bytes_only() -> None:
    large = b"[" + b" " * VALUE_BYTES_MAX + b"]"

    result = told(log_of(large, naming(0), naming(0, "requeued", GOOD)))

    assert result.letters[1][1:] == ("wrong_letter", f"it is too large to be requeued as it is: {SAME}")
    assert list(result) == [(0, "applied", 1)]


def test_records_of_one_instant_keep_their_order_and_get_places_of_their_own() -> None:
    records = log_of(BAD, END, naming(0, "requeued", GOOD), gap=timedelta(0))

    result = told(records)

    session = result.folding.states["acme", "s-1"]
    assert list(result)[1:] == [(0, "applied", 1), (1, "applied", 2)]
    assert session.appended_at == records[0].appended_at + timedelta(microseconds=1)


def test_a_queue_is_bounded_and_what_comes_behind_it_is_requeued_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "QUEUE_LETTERS_MAX", 2)
    late = to_bytes(with_data(destroyed(id="9", sequence=0), detail="another"))
    records = log_of(BAD, END, late, naming(2), naming(0, "requeued", GOOD), naming(2))

    result = told(records)

    assert reasons(result) == [(0, "missing_field"), (1, "parked"), (2, "parked"), (3, "wrong_letter")]
    assert "behind which 2 wait already: requeue it by itself" in result.letters[2][2]
    assert list(result)[2:] == [(0, "applied", 1), (1, "applied", 2), (2, "applied", 3)]
    assert result.counts == Counter(applied=5, dead_letter=1)
