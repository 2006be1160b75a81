"""How long the fold remembers, what it does about clocks, what it derives, and what it cannot apply."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE, session_partition
from sojourn.projections.decided import NOTHING_DECIDED
from sojourn.projections.facts import judge_lifecycle
from sojourn.projections.fold import fold
from tests.property.projector import project
from tests.unit.events import (
    answered,
    configured,
    destroyed,
    established,
    heartbeat,
    lines,
    lost,
    requested,
    returned,
    silent,
    source_bound,
    to_bytes,
    with_data,
)
from tests.unit.streams import APPENDED, MICROSECOND, appended, begins, ends, folded, last, records, told

# --- 62 days ----------------------------------------------------------------------------------------------------------

DAYS_62 = timedelta(days=62)


def test_an_ended_session_is_forgotten_exactly_62_days_after_its_last_news() -> None:
    life = [(timedelta(0), established()), (timedelta(days=1), destroyed())]

    just_known = appended(*life, (timedelta(days=1) + DAYS_62 - MICROSECOND, established()))
    just_forgotten = appended(*life, (timedelta(days=1) + DAYS_62, established()))

    assert told(just_known, "disposition", "revision")[2] == ("duplicate", None)
    assert told(just_forgotten, "disposition", "revision", "cause")[2] == ("applied", 1, "established")
    assert just_forgotten.superseded == []


def test_an_open_session_is_never_forgotten() -> None:
    projected = appended((timedelta(0), established()), (timedelta(days=900), established()))

    assert told(projected, "disposition") == [("applied",), ("duplicate",)]


def test_a_late_event_keeps_a_session_in_memory_and_a_repeat_does_not() -> None:
    life = [(timedelta(0), begins(1)), (timedelta(0), ends(4))]

    by_late = appended(*life, (timedelta(days=40), ends(5)), (timedelta(days=80), begins(1)))
    by_repeat = appended(*life, (timedelta(days=40), ends(4)), (timedelta(days=80), begins(1)))

    assert told(by_late, "disposition")[2:] == [("late",), ("duplicate",)]
    assert told(by_repeat, "disposition")[2:] == [("duplicate",), ("applied",)]


# --- clocks -----------------------------------------------------------------------------------------------------------


CLOCKS = [
    ("1970-01-01T00:00:00Z", True),
    ("1999-12-31T23:59:59.999999Z", True),
    ("2000-01-01T00:00:00Z", False),
    (str(APPENDED - timedelta(hours=1)), False),
    (str(APPENDED + timedelta(hours=1)), False),
    (str(APPENDED + timedelta(hours=24)), False),
    (str(APPENDED + timedelta(hours=24) + MICROSECOND), True),
    ("2038-01-19T03:14:08Z", True),
    ("9999-12-31T23:59:59Z", True),
]


@pytest.mark.parametrize(("time", "replaced"), CLOCKS)
def test_a_time_before_2000_or_a_day_ahead_is_replaced_by_append_time_and_flagged(time: str, replaced: bool) -> None:  # noqa: FBT001
    said = datetime.fromisoformat(time)

    begun, orphan = last(folded(established(time=time))), last(folded(destroyed(time=time)))

    assert (begun["login_at"], begun["clock_flags"]) == (APPENDED if replaced else said, 1 if replaced else 0)
    assert (orphan["logout_at"], orphan["clock_flags"]) == (APPENDED if replaced else said, 2 if replaced else 0)
    assert begun["event_time"] == said, "what the broker said stays beside it"


def test_negative_online_seconds_become_zero_and_flagged() -> None:
    row = last(folded(established(), destroyed(time="2026-11-24T07:59:59Z")))

    assert (row["online_seconds"], row["clock_flags"]) == (0.0, 4)


def test_online_seconds_are_reckoned_with_the_times_that_replaced_the_brokers() -> None:
    projected = appended(
        (timedelta(0), established(time="1970-01-01T00:00:00Z")),
        (timedelta(seconds=90), destroyed(time="2038-01-19T03:14:08Z")),
    )

    row = last(projected)
    assert (row["online_seconds"], row["clock_flags"]) == (90.0, 3)


def test_times_with_an_offset_are_kept_in_utc() -> None:
    row = last(folded(established(time="2026-11-24T10:00:00.5+02:00")))

    assert row["login_at"].isoformat() == "2026-11-24T08:00:00.500000+00:00"
    assert row["event_time"].isoformat() == "2026-11-24T08:00:00.500000+00:00"


# --- what is derived, and dead letters --------------------------------------------------------------------------------


def test_a_tenants_own_networks_are_internal_from_their_record_on_and_nothing_else_is() -> None:
    own = {"internal_networks": ["203.0.113.0/24", "2001:db8::/32"]}
    sessions = [("s-1", "203.0.113.9"), ("s-2", "10.0.0.1"), ("s-3", "2001:db8::1"), ("s-4", "::ffff:203.0.113.9")]
    begun = [with_data(established(subject=subject), client_ip=client_ip) for subject, client_ip in sessions]

    before, after = folded(*begun, configured(data=own)), folded(configured(data=own), *begun)
    none = folded(configured(data={"internal_networks": []}), *begun)
    of_another = folded(configured(data=own, tenant="globex"), *begun)
    taken_back = folded(configured(data=own), configured(), *begun)

    by_default = [("public",), ("internal",), ("public",), ("public",)]
    assert told(before, "access") == told(of_another, "access") == told(taken_back, "access") == by_default
    assert told(after, "access") == [("internal",), ("public",), ("internal",), ("internal",)]
    assert told(none, "access") == [("public",)] * 4


@pytest.mark.parametrize(
    ("bindings", "reason"),
    [
        ([("/brokers/eu-1", None)], None),
        ([("/brokers/eu-2", None)], None),
        ([("/brokers/eu-1", ["acme", "globex"])], None),
        ([("/brokers/eu-1", None), ("/brokers/eu-2", [])], None),
        ([("/brokers/eu-1", ["globex"]), ("/brokers/eu-1", None)], None),
        ([("/brokers/eu-2", ["acme"])], "unbound_source"),
        ([("/brokers/eu-1", ["globex"])], "tenant_mismatch"),
        ([("/brokers/eu-1", [])], "tenant_mismatch"),
        ([("/brokers/eu-1", None), ("/brokers/eu-1", [])], "tenant_mismatch"),
    ],
)
def test_once_a_source_is_bound_to_tenants_every_source_speaks_only_for_its_own(
    bindings: list[tuple[str, list[str] | None]], reason: str | None
) -> None:
    decisions = [
        source_bound(id=str(number), data={"source": source, "partitioner": "murmur2", "tenants": tenants})
        for number, (source, tenants) in enumerate(bindings)
    ]

    projected = folded(*decisions, established())

    assert projected.dead_letters == ([] if reason is None else [(len(bindings), reason)])
    assert len(projected.sessions) == (reason is None)


@pytest.mark.parametrize(
    "event",
    [established(source="/sojourn"), lost(source="/brokers/eu-1"), answered("delivered", source="/sojourn")],
)
def test_brokers_and_sojourn_do_not_say_what_the_other_says(event: dict[str, Any]) -> None:
    projected = folded(established(), event)

    assert projected.dead_letters == [(1, "wrong_source")]


def test_an_answer_of_another_broker_than_the_one_that_was_asked_is_a_dead_letter_with_a_row() -> None:
    projected = folded(established(), requested(), answered("acknowledged", source="/brokers/eu-2"))

    assert projected.dead_letters == [(2, "wrong_source")]
    assert told(projected, "disposition") == [("applied",), ("applied",), ("dead_letter",)]
    assert projected.commands["acme", "c-1"].state == "requested"


def test_a_silence_ends_with_the_return_that_names_it_and_no_other() -> None:
    other = silent(id="silent/2")

    one_by_one = range(3)
    still = project(records(list(map(to_bytes, [silent(), other, returned(other)]))), one_by_one)
    over = project(records(list(map(to_bytes, [silent(), returned(silent()), returned(silent())]))), one_by_one)

    assert still.dispositions == {"applied": 1, "duplicate": 2}
    assert still.decided.silent.keys() == {"/brokers/eu-1"}
    assert over.dispositions == {"applied": 2, "duplicate": 1}
    assert over.decided.silent == {}


@pytest.mark.parametrize(
    ("client_ip", "said", "access"),
    [
        ("10.0.0.1", None, "internal"),
        ("8.8.8.8", None, "public"),
        ("10.0.0.1", "public", "public"),
        ("8.8.8.8", "internal", "internal"),
    ],
)
def test_access_is_what_the_broker_says_and_else_follows_from_the_address(
    client_ip: str, said: str | None, access: str
) -> None:
    row = last(folded(with_data(established(), client_ip=client_ip, access=said)))

    assert row["access"] == access


def test_the_client_address_is_kept_in_its_canonical_spelling() -> None:
    assert last(folded(with_data(established(), client_ip="2001:DB8:0::17")))["client_ip"] == "2001:db8::17"


def test_a_lifecycle_event_in_another_partition_is_a_dead_letter_that_says_how_to_mend_it() -> None:
    belongs = session_partition("acme", "s-1", 12)
    elsewhere = (belongs + 1) % 12
    record = Record(LIFECYCLE, elsewhere, 7, APPENDED, b"acme/s-1", to_bytes(established()), ())

    changes = fold({}, judge_lifecycle([record], 12, NOTHING_DECIDED))

    (letter,) = changes.dead_letters
    assert (letter.reason, letter.tenant, letter.session_id) == ("wrong_partition", "acme", "s-1")
    assert f"belongs to partition {belongs}, not {elsewhere}" in letter.detail
    assert "tenant/session" in letter.detail
    assert "murmur2" in letter.detail
    assert changes.sessions == {}
    (entry,) = changes.entries
    assert (entry.disposition, entry.session, entry.revision) == ("dead_letter", None, None)


def test_a_heartbeat_in_lifecycle_is_a_dead_letter_that_names_its_topic() -> None:
    record = records([to_bytes(heartbeat())])[0]

    (letter,) = fold({}, judge_lifecycle([record], 1, NOTHING_DECIDED)).dead_letters

    assert (letter.reason, letter.tenant, letter.session_id) == ("unknown_type", "acme", "s-1")
    assert "sojourn.heartbeats" in letter.detail


def test_an_unreadable_record_keeps_its_place_and_the_session_it_names() -> None:
    record = records([b"{}", json.dumps(established(time="?")).encode()])[1]

    (letter,) = fold({}, judge_lifecycle([record], 1, NOTHING_DECIDED)).dead_letters

    assert (letter.record.offset, letter.reason, letter.tenant, letter.session_id) == (1, "bad_time", "acme", "s-1")


def test_the_same_batch_twice_gives_the_same_changes() -> None:
    judged = judge_lifecycle(records([*lines("examples"), *lines("bad")]), 1, NOTHING_DECIDED)

    assert fold({}, judged) == fold({}, judged)
