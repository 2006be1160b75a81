"""What the fold makes of streams that one can follow by hand."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from sojourn.events.codec import decode
from sojourn.projections.session import SEEN_EVENTS_MAX
from sojourn.projections.states import DISPOSITIONS, TRANSITIONS
from tests.property.projector import project
from tests.unit.events import destroyed, established, lines, lost, lost_ended, recovered, to_bytes, with_data
from tests.unit.examples_by_hand import ROWS, newest_rows, to_lifecycle
from tests.unit.streams import begins, ends, folded, last, records, told

# --- the contract's files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", range(1, 11))
def test_the_examples_give_the_rows_written_by_hand_in_any_batch_size(batch_size: int) -> None:
    stream = records(to_lifecycle(lines("examples")))

    projected = project(stream, range(0, len(stream), batch_size), through_rows=True)

    assert newest_rows(projected) == ROWS
    assert projected.dispositions == {"applied": 9}
    assert [key for key, session in projected.sessions.items() if session.logout is None] == [
        ("acme", "s-1001"),
        ("acme", "s-1004"),
        ("globex", "s-1001"),
    ]


def test_every_bad_line_is_a_dead_letter_and_disturbs_nothing() -> None:
    bad = lines("bad")
    stream = records([*to_lifecycle(lines("examples")), *bad])

    projected = project(stream)

    assert [reason for _, reason in projected.dead_letters] == [
        "not_json", "truncated_json", "not_utf8", "unknown_type", "bad_time", "missing_field", "bad_value", "bad_ip",
        "conflict", "bad_subject", "bad_tenant", "too_deep",
    ]  # fmt: skip
    assert newest_rows(projected) == ROWS
    assert projected.dispositions == {"applied": 9, "dead_letter": len(bad) - 1, "conflict": 1}


def test_the_record_of_a_real_server_gives_what_its_readme_names() -> None:
    projected = project(records(lines("real-rdp")), range(0, 233, 50))

    ended = [row for row in newest_rows(projected).values() if row["state"] == "ended"]
    still_open = [row for row in newest_rows(projected).values() if row["state"] == "active"]
    moments = sorted([(row["login_at"], 1) for row in ended] + [(row["logout_at"], -1) for row in ended])
    assert Counter(row["reason"] for row in ended) == {"network": 105, "logoff": 2}
    assert len(still_open) == 19
    assert len({row["client_ip"] for row in ended + still_open}) == 61
    assert round(sum(row["online_seconds"] for row in ended), 3) == 508.254
    assert round(max(row["online_seconds"] for row in ended), 3) == 90.038
    assert max(sum(step for _, step in moments[:end]) for end in range(1, len(moments) + 1)) == 4
    assert {row["clock_flags"] for row in ended + still_open} == {0}


# --- the state table --------------------------------------------------------------------------------------------------


LOST = lost()
PATHS: dict[str, tuple[list[dict[str, Any]], list[tuple[Any, ...]]]] = {
    "begins and ends": (
        [begins(1), ends(2)],
        [("applied", 1, "active", "established"), ("applied", 2, "ended", "destroyed")],
    ),
    "ends before it begins": (
        [ends(2), begins(1)],
        [("orphan", 1, "ended", "ended_before_established"), ("applied", 2, "ended", "established_found")],
    ),
    "a better beginning while open": (
        [begins(2), begins(1)],
        [("applied", 1, "active", "established"), ("applied", 2, "active", "earlier_established")],
    ),
    "a worse beginning while open": (
        [begins(1), begins(2)],
        [("applied", 1, "active", "established"), ("late", None, "active", None)],
    ),
    "a better end": (
        [begins(1), ends(5), ends(4)],
        [("applied", 1, "active", "established"), ("applied", 2, "ended", "destroyed"),
         ("applied", 3, "ended", "earlier_destroyed")],
    ),
    "a worse end": (
        [begins(1), ends(4), ends(5)],
        [("applied", 1, "active", "established"), ("applied", 2, "ended", "destroyed"), ("late", None, "ended", None)],
    ),
    "a better beginning after the end": (
        [begins(2), ends(4), begins(1)],
        [("applied", 1, "active", "established"), ("applied", 2, "ended", "destroyed"),
         ("applied", 3, "ended", "earlier_established")],
    ),
    "a better end of an orphan": (
        [ends(5), ends(4)],
        [("orphan", 1, "ended", "ended_before_established"), ("orphan", 2, "ended", "earlier_destroyed")],
    ),
    "a worse end of an orphan": (
        [ends(4), ends(5)],
        [("orphan", 1, "ended", "ended_before_established"), ("late", None, "ended", None)],
    ),
    "lost, and heard of again": (
        [begins(2), LOST, begins(1), recovered(LOST), ends(3)],
        [("applied", 1, "active", "established"), ("applied", 2, "lost", "heartbeats_stopped"),
         ("applied", 3, "lost", "earlier_established"), ("applied", 4, "active", "recovered"),
         ("applied", 5, "ended", "destroyed")],
    ),
    "lost, and its end is found": (
        [begins(1), LOST, ends(3)],
        [("applied", 1, "active", "established"), ("applied", 2, "lost", "heartbeats_stopped"),
         ("applied", 3, "ended", "destroyed")],
    ),
    "lost for good, until its end is found": (
        [begins(2), LOST, lost_ended(LOST), begins(1), ends(3)],
        [("applied", 1, "active", "established"), ("applied", 2, "lost", "heartbeats_stopped"),
         ("applied", 3, "ended", "stayed_lost"), ("applied", 4, "ended", "earlier_established"),
         ("applied", 5, "ended", "end_found")],
    ),
    "lost for good, until it is heard of again": (
        [begins(1), LOST, lost_ended(LOST), recovered(LOST)],
        [("applied", 1, "active", "established"), ("applied", 2, "lost", "heartbeats_stopped"),
         ("applied", 3, "ended", "stayed_lost"), ("applied", 4, "active", "reopened")],
    ),
    "a decision about a session that is not there, or ended": (
        [LOST, begins(1), recovered(LOST), lost_ended(LOST), ends(2), LOST],
        [("late", None, None, None), ("applied", 1, "active", "established"), ("late", None, None, None),
         ("late", None, None, None), ("applied", 2, "ended", "destroyed"), ("late", None, None, None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_each_path_through_the_state_table_gives_its_revisions(name: str) -> None:
    events, expected = PATHS[name]

    projected = folded(*events)

    assert told(projected, "disposition", "revision", "state", "cause") == expected


def test_every_row_of_the_state_table_is_on_one_of_the_paths() -> None:
    taken = {}
    for events, expected in PATHS.values():
        for number, (*_, cause) in enumerate(expected):
            session = folded(*events[:number]).sessions.get(("acme", "s-1"))
            phase = "unknown" if session is None else session.phase
            if cause is not None:
                taken[phase, type(decode(to_bytes(events[number])))] = cause

    assert taken == {row: cause for row, (_, cause) in TRANSITIONS.items()}
    assert {disposition for _, expected in PATHS.values() for disposition, *_ in expected} <= DISPOSITIONS.keys()


def test_each_correction_of_an_ended_session_supersedes_the_revision_before() -> None:
    projected = folded(ends(9), ends(8), begins(2), begins(3), begins(1), ends(7))

    assert projected.superseded == [(0, 1), (1, 2), (2, 4), (4, 5)]
    assert (last(projected)["user_name"], last(projected)["reason_detail"]) == ("name 1", "end 7")


def test_an_orphan_has_no_login_and_names_the_broker_that_ended_it() -> None:
    row = last(folded(ends(1, source="/brokers/other")))

    assert (row["broker"], row["login_at"], row["user_id"], row["online_seconds"]) == (
        "/brokers/other",
        None,
        None,
        None,
    )
    assert (row["logout_at"], row["outcome"], row["reason"]) == (
        datetime(2026, 11, 24, 8, tzinfo=UTC),
        "normal",
        "logoff",
    )


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("logoff", "normal"), ("idle_timeout", "normal"), ("admin_disconnect", "normal"), ("network", "abnormal"),
        ("error", "abnormal"), ("broker_shutdown", "abnormal"), ("unknown", "abnormal"),
    ],
)  # fmt: skip
def test_the_outcome_follows_from_the_reason(reason: str, outcome: str) -> None:
    row = last(folded(established(), with_data(destroyed(), reason=reason)))

    assert (row["outcome"], row["reason"]) == (outcome, reason)


# --- identity and competition -----------------------------------------------------------------------------------------


def test_the_same_content_again_is_a_duplicate_under_the_same_or_another_id() -> None:
    again = [
        established(),
        established(time="2026-11-24T09:00:00+01:00"),
        established(id="other"),
        established(sequence=9),
    ]

    projected = folded(established(), *again)

    assert told(projected, "disposition", "revision") == [("applied", 1), *[("duplicate", None)] * 4]


def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing() -> None:
    other = with_data(established(), user__name="Eve")

    projected = folded(established(), other, other, destroyed())

    assert told(projected, "disposition", "revision") == [
        ("applied", 1),
        ("conflict", None),
        ("conflict", None),
        ("applied", 2),
    ]
    assert projected.dead_letters == [(1, "conflict"), (2, "conflict")]
    assert last(projected)["user_name"] == "Ada"


def test_the_same_id_of_another_broker_or_session_or_tenant_is_no_conflict() -> None:
    strangers = [established(source="/z"), established(subject="s-2"), established(tenant="globex")]

    projected = folded(established(), *(with_data(event, user__name="Eve") for event in strangers))

    assert told(projected, "disposition") == [("applied",), ("late",), ("applied",), ("applied",)]


def test_the_id_of_a_duplicate_is_judged_too() -> None:
    projected = folded(begins(1), begins(1) | {"id": "second"}, begins(2) | {"id": "second"})

    assert told(projected, "disposition") == [("applied",), ("duplicate",), ("conflict",)]


def test_one_id_of_a_beginning_and_an_end_is_a_conflict() -> None:
    projected = folded(established(id="1"), destroyed(id="1"))

    assert told(projected, "disposition") == [("applied",), ("conflict",)]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"sequence": "9"}, {"sequence": "10"}),
        ({"sequence": 9}, {"sequence": "10"}),
        ({"sequence": "-1"}, {"sequence": "0"}),
        ({"sequence": 2**63 - 1}, {}),
        ({"time": "2026-11-24T07:59:59.999999Z"}, {}),
        ({"sequence": 1, "time": "2026-11-24T09:00:00Z"}, {"sequence": 2}),
        ({"id": "0"}, {"id": "1"}),
        ({"source": "/a"}, {"source": "/b"}),
    ],
)
def test_the_lowest_sequence_time_id_and_source_counts_whichever_comes_first(
    better: dict[str, Any], worse: dict[str, Any]
) -> None:
    good = with_data(established(**{"id": "2", **better}), user__name="good")
    bad = with_data(established(**{"id": "2", **worse}), user__name="bad")
    if good["id"] == bad["id"] and good["source"] == bad["source"]:
        bad["id"] = "3"

    rows = [last(folded(good, bad)), last(folded(bad, good))]

    assert [(row["user_name"], row["revision"]) for row in rows] == [("good", 1), ("good", 2)]


def test_content_that_lost_wins_under_a_better_id_in_any_order() -> None:
    one, twin, other = begins(5), begins(5) | {"id": "twin", "sequence": 1}, begins(3)

    names = {
        last(folded(*order))["user_name"]
        for order in ([one, other, twin], [twin, one, other], [other, twin, one], [one, twin, other])
    }

    assert names == {"name 5"}


def test_a_session_with_more_events_than_are_remembered_takes_repeats_for_late() -> None:
    many = [begins(sequence) for sequence in range(SEEN_EVENTS_MAX + 2)]

    projected = folded(*many, many[1], many[-1])

    assert projected.dispositions == {"applied": 1, "late": SEEN_EVENTS_MAX + 2, "duplicate": 1}
    assert len(projected.sessions["acme", "s-1"].seen) == SEEN_EVENTS_MAX
