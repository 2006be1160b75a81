"""How long the fold remembers, what it does about clocks, what it derives, and what it cannot apply."""

import json
from datetime import datetime, timedelta

import pytest

from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE, session_partition
from sojourn.projections.facts import judge_lifecycle
from sojourn.projections.fold import fold
from tests.unit.events import destroyed, established, heartbeat, lines, to_bytes, with_data
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

    changes = fold({}, [judge_lifecycle(record, 12)])

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

    (letter,) = fold({}, [judge_lifecycle(record, 1)]).dead_letters

    assert (letter.reason, letter.tenant, letter.session_id) == ("unknown_type", "acme", "s-1")
    assert "sojourn.heartbeats" in letter.detail


def test_an_unreadable_record_keeps_its_place_and_the_session_it_names() -> None:
    record = records([b"{}", json.dumps(established(time="?")).encode()])[1]

    (letter,) = fold({}, [judge_lifecycle(record, 1)]).dead_letters

    assert (letter.record.offset, letter.reason, letter.tenant, letter.session_id) == (1, "bad_time", "acme", "s-1")


def test_the_same_batch_twice_gives_the_same_changes() -> None:
    judged = [judge_lifecycle(record, 1) for record in records([*lines("examples"), *lines("bad")])]

    assert fold({}, judged) == fold({}, judged)
