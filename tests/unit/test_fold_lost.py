"""What the fold makes of sessions that are lost, recover or stay lost."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.projections.session import MEMORY_DAYS
from tests.property.projector import project
from tests.unit.events import destroyed, established, lost, lost_ended, recovered, to_bytes, with_data
from tests.unit.streams import APPENDED, appended, begins, ends, folded, last, records, told

SEEN, UNTIL = datetime(2026, 11, 24, 9, 28, 30, tzinfo=UTC), datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
LOST = lost()
AGAIN = lost("2026-11-24T09:40:00Z", "2026-11-24T09:41:30Z")


def end_of(row: dict[str, Any]) -> tuple[Any, ...]:
    columns = ("state", "logout_at", "outcome", "reason", "ended_after", "ended_before", "online_seconds")
    return tuple(row[column] for column in columns)


def test_a_lost_session_is_open_and_shows_between_which_instants_it_may_have_ended() -> None:
    row = last(folded(established(), LOST))

    assert end_of(row) == ("lost", None, None, None, SEEN, UNTIL, None)
    assert row["user_name"] == "Ada"


def test_a_session_that_stayed_lost_ended_abnormally_when_it_was_last_seen() -> None:
    born = timedelta(minutes=-10)  # by append time, 08:30 after the broker's own login

    row = last(appended((born, established()), (timedelta(0), LOST), (timedelta(minutes=30), lost_ended(LOST))))

    assert end_of(row) == ("ended", SEEN, "abnormal", "lost", SEEN, UNTIL, (SEEN - APPENDED - born).total_seconds())


def test_a_session_that_was_lost_before_its_record_was_appended_was_online_for_no_time() -> None:
    row = last(folded(established(), LOST, lost_ended(LOST)))

    assert (row["online_seconds"], row["clock_flags"]) == (0.0, 0)


def test_a_recovered_session_is_as_active_as_if_it_had_never_been_lost() -> None:
    columns = ("state", "ended_after", "ended_before", "logout_at", "outcome", "reason", "online_seconds")
    never, back = folded(established()), folded(established(), LOST, recovered(LOST))
    reopened = folded(established(), LOST, lost_ended(LOST), recovered(LOST))

    expected = [last(never)[column] for column in columns]

    assert [last(back)[column] for column in columns] == expected
    assert [last(reopened)[column] for column in columns] == expected


def test_a_late_end_corrects_a_session_that_was_taken_to_have_ended_and_supersedes_that() -> None:
    projected = folded(established(), LOST, lost_ended(LOST), destroyed(time="2026-11-24T09:00:00Z"))

    found = datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert end_of(last(projected)) == ("ended", found, "normal", "logoff", None, None, 3600.0)
    assert projected.superseded == [(2, 3)]


def test_reopening_supersedes_the_end_and_losing_supersedes_nothing() -> None:
    projected = folded(established(), LOST, lost_ended(LOST), recovered(LOST), AGAIN, lost_ended(AGAIN))

    assert projected.superseded == [(2, 3)]
    assert told(projected, "revision") == [(1,), (2,), (3,), (4,), (5,), (6,)]


def test_a_loss_that_comes_again_after_the_recovery_does_not_lose_the_session_again() -> None:
    projected = folded(established(), LOST, recovered(LOST), LOST, recovered(LOST), lost_ended(LOST))

    assert told(projected, "disposition")[3:] == [("duplicate",), ("duplicate",), ("late",)]
    assert last(projected)["state"] == "active"


def test_an_older_loss_under_another_id_does_not_lose_the_session_again_and_a_newer_one_does() -> None:
    older = lost("2026-11-24T09:28:29Z", id="other")

    projected = folded(established(), LOST, recovered(LOST), older, AGAIN)

    assert told(projected, "disposition", "state")[3:] == [("duplicate", None), ("applied", "lost")]


def test_what_is_decided_about_an_earlier_loss_leaves_the_newer_one_alone() -> None:
    projected = folded(
        established(), LOST, recovered(LOST), AGAIN, recovered(LOST), lost_ended(LOST), lost_ended(AGAIN)
    )

    assert told(projected, "disposition", "cause")[4:] == [("late", None), ("late", None), ("applied", "stayed_lost")]


def test_each_decision_says_why_it_is_late() -> None:
    projected = folded(LOST, established(), recovered(LOST), destroyed(), LOST, lost_ended(LOST, subject="s-2"))

    details = told(projected, "disposition_detail")
    assert details[0] == ("there is no such session",)
    assert details[2] == (f"it is about another loss: {LOST['id']!r}",)
    assert details[4] == ("the session is ended",)
    assert details[5] == ("there is no such session",)


def test_a_decision_about_a_forgotten_session_is_late() -> None:
    after = timedelta(days=MEMORY_DAYS)
    life = [(timedelta(0), event) for event in (established(), LOST, lost_ended(LOST))]

    kept = appended(*life, (after - timedelta(microseconds=1), recovered(LOST)))
    forgotten = appended(*life, (after, recovered(LOST)))

    assert told(kept, "disposition", "cause")[3:] == [("applied", "reopened")]
    assert told(forgotten, "disposition", "disposition_detail")[3:] == [("late", "there is no such session")]


def test_decisions_take_no_place_among_the_events_whose_identity_is_judged() -> None:
    projected = folded(established(id="x"), lost(id="x"), established(id="x"))

    assert told(projected, "disposition") == [("applied",), ("applied",), ("duplicate",)]
    assert len(projected.sessions["acme", "s-1"].seen) == 1


def test_a_better_beginning_of_a_lost_session_leaves_it_lost() -> None:
    row = last(folded(begins(2), LOST, begins(1)))

    assert (row["state"], row["user_name"], row["ended_before"]) == ("lost", "name 1", UNTIL)


def test_an_end_that_loses_against_the_one_that_was_found_is_late() -> None:
    projected = folded(begins(1), LOST, lost_ended(LOST), ends(5), ends(6), ends(4))

    assert told(projected, "disposition", "cause")[3:] == [
        ("applied", "end_found"),
        ("late", None),
        ("applied", "earlier_destroyed"),
    ]
    assert projected.superseded == [(2, 3), (3, 5)]


def test_times_with_an_offset_are_kept_in_utc() -> None:
    shifted = with_data(LOST, last_seen_at="2026-11-24T11:28:30+02:00", deadline="2026-11-24T11:30:00+02:00")

    row = last(folded(established(), shifted))

    assert [row["ended_after"].isoformat(), row["ended_before"].isoformat()] == [SEEN.isoformat(), UNTIL.isoformat()]


def test_a_lost_session_read_back_from_its_row_is_the_same() -> None:
    stream = records([to_bytes(event) for event in (established(), LOST, lost_ended(LOST), recovered(LOST), AGAIN)])

    for length in range(1, len(stream) + 1):
        whole, back = project(stream[:length]), project(stream[:length], range(length), through_rows=True)

        assert back.sessions == whole.sessions
