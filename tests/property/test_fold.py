"""The laws of the fold, on streams of records that no broker should send."""

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sojourn.events.log import Record
from sojourn.projections.facts import judge_lifecycle
from sojourn.projections.fold import fold
from tests.model import folding as model
from tests.property.projector import Projected, project
from tests.property.strategies import HONEST_TIMES, SHORT_GAPS, records_of, sessions_without_conflict, streams

CUTS = st.sets(st.integers(1, 20), max_size=6)
A_SECOND = timedelta(seconds=1)


def entries_of(records: list[Record]) -> list[model.Entry]:
    return [model.Entry(*record[:6]) for record in records]


def newest_content(projected: Projected) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the newest revision of each session says, but not which event said it when."""
    return {
        (row["tenant"], row["session_id"]): {column: row[column] for column in model.STATE_COLUMNS if column != "cause"}
        for row in projected.history
        if row["revision"] is not None
    }


@given(streams(), CUTS)
def test_any_batch_boundaries_give_the_same_rows_and_revisions(records: list[Record], cuts: set[int]) -> None:
    whole = project(records)

    parts = project(records, cuts)

    assert parts == whole


@given(streams(), CUTS)
def test_states_read_back_from_rows_fold_on_like_those_in_memory(records: list[Record], cuts: set[int]) -> None:
    whole = project(records)

    parts = project(records, cuts, through_rows=True)

    assert parts[:4] == whole[:4]


@given(streams(gaps=SHORT_GAPS), st.randoms(use_true_random=False))
def test_repeated_records_change_nothing(records: list[Record], random: Any) -> None:
    again = [record.value for record in records]
    random.shuffle(again)
    later = records_of(again, [A_SECOND] * len(again), len(records), records[-1].appended_at)
    once = project(records)

    twice = project([*records, *later])

    added = twice.history[len(once.history) :]
    assert {row["disposition"] for row in added} <= {"duplicate", "conflict"}
    assert [row for row in twice.history if row["revision"] is not None] == [
        row for row in once.history if row["revision"] is not None
    ]
    assert twice.superseded == once.superseded
    assert twice.sessions == once.sessions


@given(streams())
def test_every_record_has_exactly_one_disposition_and_is_counted(records: list[Record]) -> None:
    projected = project(records)

    decodable = Counter(row["offset"] for row in projected.history)
    dead = Counter(offset for offset, _ in projected.dead_letters)
    conflicts = {row["offset"] for row in projected.history if row["disposition"] == "conflict"}
    assert projected.dispositions.total() == len(records)
    assert set(decodable.values()) <= {1}
    assert set(dead.values()) <= {1}
    assert decodable.keys() | dead.keys() == {record.offset for record in records}
    assert decodable.keys() & dead.keys() == conflicts
    assert projected.dispositions == Counter(row["disposition"] for row in projected.history) + Counter(
        "dead_letter" for offset in dead if offset not in conflicts
    )


@given(sessions_without_conflict(), st.data())
def test_any_order_of_one_sessions_events_gives_the_same_newest_revision(
    values: list[bytes], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(values))
    gaps = [A_SECOND] * len(values)

    straight, shuffled = project(records_of(values, gaps)), project(records_of(order, gaps))

    assert newest_content(shuffled) == newest_content(straight)


@given(streams(), st.sampled_from([1, 1, 2]))
def test_the_fold_agrees_with_the_independent_model(records: list[Record], partitions: int) -> None:
    expected = model.project(entries_of(records), partitions)

    found = project(records, partitions=partitions)

    assert [row["offset"] for row in found.history] == [offset for _, offset in expected.history]
    wrong = {row["offset"]: model.differences(expected.history[0, row["offset"]], row) for row in found.history}
    assert {offset: columns for offset, columns in wrong.items() if columns} == {}
    assert {(offset, reason) for offset, reason in found.dead_letters} == {
        (place[2], reason) for place, reason in expected.dead_letters.items()
    }
    assert {(earlier, later) for earlier, later in found.superseded} == {
        (place[1], later) for place, later in expected.superseded.items()
    }
    assert found.dispositions == Counter({key[2]: records for key, records in expected.dispositions.items()})


@given(streams())
def test_the_open_sessions_are_those_of_the_independent_model(records: list[Record]) -> None:
    expected = model.project(entries_of(records), 1).live

    found = {key: session for key, session in project(records).sessions.items() if session.logout is None}

    assert found.keys() == expected.keys()
    for key, session in found.items():
        assert session.login is not None
        assert (session.revision, session.offset, session.appended_at, session.broker, session.clock_flags) == tuple(
            expected[key][column] for column in ("revision", "offset", "appended_at", "broker", "clock_flags")
        )
        assert session.login.appended_at == expected[key]["established_appended_at"]
        assert session.login.user_id == expected[key]["user_id"]


@given(streams(), st.integers(1, 15))
def test_folding_leaves_the_states_it_is_given_alone_and_repeats_itself(records: list[Record], cut: int) -> None:
    states = project(records[:cut]).sessions
    copies = dict(states)
    judged = [judge_lifecycle(record, 1) for record in records[cut:]]

    first, second = fold(states, judged), fold(states, judged)

    assert states == copies
    assert all(states[key] is copies[key] for key in copies)
    assert first == second


@given(streams(times=HONEST_TIMES))
def test_honest_clocks_are_never_flagged_as_replaced(records: list[Record]) -> None:
    records = [record for record in records if record.appended_at < records[0].appended_at + timedelta(hours=24)]

    flags = {row["clock_flags"] for row in project(records).history if row["revision"] is not None}

    assert flags <= {0, 4}
