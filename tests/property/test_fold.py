"""The laws of the fold, on streams of records that no broker should send."""

import re
from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sojourn.consumers.replay import Folding
from sojourn.events.log import Record
from sojourn.projections.decided import NOTHING_DECIDED
from sojourn.projections.facts import judge_lifecycle
from sojourn.projections.fold import Changes, Place, fold
from sojourn.projections.parking import Letter, Parked, letter_of
from tests.model.folding import project as project_by_the_model
from tests.model.telling import STATE_COLUMNS, Entry, differences
from tests.property.projector import Projected, project, row_of
from tests.property.strategies import (
    HONEST_TIMES,
    OF_SILENCE,
    SHORT_GAPS,
    of_one_session,
    records_of,
    resolved_streams,
    sessions_without_conflict,
    streams,
)

CUTS = st.sets(st.integers(1, 20), max_size=6)
PARTITIONS = st.sampled_from([1, 1, 2, 3])  # in one, every session is at home, whatever its broker's partitioner
A_SECOND = timedelta(seconds=1)
IS_OF_PARTITION = re.compile(rb'"sojourn\.(?:broker|log|tenant)\.')


def entries_of(records: list[Record]) -> list[Entry]:
    return [Entry(*record) for record in records]


def newest_content(projected: Projected) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the newest revision of each session says, but not which event said it when."""
    return {
        (row["tenant"], row["session_id"]): {column: row[column] for column in STATE_COLUMNS if column != "cause"}
        for row in projected.history
        if row["revision"] is not None
    }


@given(streams(), CUTS, PARTITIONS)
def test_any_batch_boundaries_give_the_same_rows_and_revisions(
    records: list[Record], cuts: set[int], partitions: int
) -> None:
    whole = project(records, partitions=partitions)

    parts = project(records, cuts, partitions=partitions)

    assert parts == whole


@given(streams(), CUTS, PARTITIONS)
def test_states_read_back_from_rows_fold_on_like_those_in_memory(
    records: list[Record], cuts: set[int], partitions: int
) -> None:
    whole = project(records, partitions=partitions)

    parts = project(records, cuts, through_rows=True, partitions=partitions)

    assert parts[:4] == whole[:4]


@given(streams(gaps=SHORT_GAPS, decisions=OF_SILENCE), st.randoms(use_true_random=False))
def test_repeated_records_change_nothing(records: list[Record], random: Any) -> None:
    once = project(records)
    early = offsets_that_came_too_early(once)
    again = [record.value for record in records if record.offset not in early]
    random.shuffle(again)
    later = records_of(again, [A_SECOND] * len(again), len(records), records[-1].appended_at)

    twice = project([*records, *later])

    added = twice.history[len(once.history) :]
    of_brokers = {row["disposition"] for row in added if row["event_type"] in {"established", "destroyed"}}
    of_sojourn = {row["disposition"] for row in added if row["event_type"] not in {"established", "destroyed"}}
    assert of_brokers <= {"duplicate", "conflict"}
    assert of_sojourn <= {"duplicate", "late", "dead_letter"}
    assert [row for row in twice.history if row["revision"] is not None] == [
        row for row in once.history if row["revision"] is not None
    ]
    assert twice.superseded == once.superseded
    assert twice.sessions == once.sessions
    assert twice.commands == once.commands


def offsets_that_came_too_early(projected: Projected) -> set[int]:
    """Return the decisions that were late, and the ends that name a command which is requested only behind them.

    Sojourn decides about what it has read, and a broker answers what it was asked, so neither can happen.
    """
    requests = [row["offset"] for row in projected.history if row["event_type"] == "disconnect_requested"]
    return {
        row["offset"]
        for row in projected.history
        if (row["event_type"] not in {"established", "destroyed"} and row["disposition"] == "late")
        or (row["event_type"] == "destroyed" and any(offset > row["offset"] for offset in requests))
    }


@given(streams())
def test_every_record_has_exactly_one_disposition_and_is_counted(records: list[Record]) -> None:
    projected = project(records)

    rows = Counter(row["offset"] for row in projected.history)
    dead = Counter(offset for offset, _ in projected.dead_letters)
    dead_with_row = {row["offset"] for row in projected.history if row["disposition"] in {"conflict", "dead_letter"}}
    decisions = {record.offset for record in records} - rows.keys() - dead.keys()
    assert set(rows.values()) <= {1}
    assert set(dead.values()) <= {1}
    assert rows.keys() & dead.keys() == dead_with_row
    assert all(IS_OF_PARTITION.search(records[offset].value) for offset in decisions)
    assert projected.dispositions.total() == len(records)
    without_row = projected.dispositions - Counter(row["disposition"] for row in projected.history)
    assert without_row["dead_letter"] == len(dead.keys() - dead_with_row)
    assert without_row["applied"] + without_row["duplicate"] == len(decisions)


@given(sessions_without_conflict(), st.data())
def test_any_order_of_one_sessions_events_gives_the_same_newest_revision(
    values: list[bytes], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(values))
    gaps = [A_SECOND] * len(values)

    straight, shuffled = project(records_of(values, gaps)), project(records_of(order, gaps))

    assert newest_content(shuffled) == newest_content(straight)


@given(st.one_of(streams(), of_one_session()), PARTITIONS)
def test_the_fold_agrees_with_the_independent_model(records: list[Record], partitions: int) -> None:
    expected = project_by_the_model(entries_of(records), partitions)

    found = project(records, partitions=partitions)

    rows = [(0, row["offset"], row["appended_at"]) for row in found.history]
    assert rows == list(expected.history)
    wrong = {place: differences(expected.history[place], row) for place, row in zip(rows, found.history, strict=True)}
    assert {place: columns for place, columns in wrong.items() if columns} == {}
    assert set(found.dead_letters) == {(place[2], letter.reason) for place, letter in expected.dead_letters.items()}
    assert set(found.superseded) == {(earlier[1], later[1]) for earlier, later in expected.superseded.items()}
    assert found.dispositions == Counter({key[2]: records for key, records in expected.dispositions.items()})
    assert found.commands.keys() == {key[1:] for key in expected.commands}
    for key, command in found.commands.items():
        assert structs.asdict(command) == expected.commands[0, *key]


@given(resolved_streams(), PARTITIONS)
def test_parking_and_releasing_agree_with_the_independent_model(records: list[Record], partitions: int) -> None:
    expected = project_by_the_model(entries_of(records), partitions)
    folding = Folding(partitions)

    folded = folding.take(records)

    rows = [row_of(entry) for _, changes in folded for entry in changes.entries]
    places = [(0, row["offset"], row["appended_at"]) for row in rows]
    assert set(places) == expected.history.keys()
    wrong = {place: differences(expected.history[place], row) for place, row in zip(places, rows, strict=True)}
    assert {place: columns for place, columns in wrong.items() if columns} == {}
    counted = sum((changes.dispositions for _, changes in folded), Counter[str]())
    for parked, _ in folded:
        counted.update(parked.moved)
    assert +counted == Counter({key[2]: count for key, count in expected.dispositions.items()})
    assert {
        (*place, letter.reason, letter.resolution, letter.waits) for place, letter in letters_of(folded).items()
    } == {
        (*place[2:], letter.reason, letter.resolution, letter.waits) for place, letter in expected.dead_letters.items()
    }


def letters_of(folded: list[tuple[Parked, Changes]]) -> dict[Place, Letter]:
    """Return the letters as the last piece left them."""
    letters: dict[Place, Letter] = {}
    for parked, changes in folded:
        letters |= parked.letters
        for dead in changes.dead_letters:
            letter = letter_of(dead, parked.waiting.get(Place(dead.record.offset, dead.record.appended_at)))
            letters[letter.place] = letter
    return letters


@given(streams())
def test_what_is_decided_for_the_partition_is_that_of_the_independent_model(records: list[Record]) -> None:
    rules = project_by_the_model(entries_of(records), 1).rules[0]

    decided = project(records).decided

    assert decided.partitioners == {source: name for source, (name, _) in rules.bindings.items()}
    assert decided.tenants == {
        source: None if tenants is None else frozenset(tenants) for source, (_, tenants) in rules.bindings.items()
    }
    assert decided.gaps == rules.gaps
    assert decided.silent == rules.silent
    settings = {tenant: structs.asdict(setting) for tenant, setting in decided.settings.items()}
    assert settings == {tenant: setting | {"who": None} for tenant, setting in rules.settings.items()}


@given(streams())
def test_the_open_sessions_are_those_of_the_independent_model(records: list[Record]) -> None:
    expected = project_by_the_model(entries_of(records), 1).live

    found = {(0, *key): session for key, session in project(records).sessions.items() if session.logout is None}

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
    judged = judge_lifecycle(records[cut:], 1, NOTHING_DECIDED)

    first, second = fold(states, judged), fold(states, judged)

    assert states == copies
    assert all(states[key] is copies[key] for key in copies)
    assert first == second


@given(streams(times=HONEST_TIMES))
def test_honest_clocks_are_never_flagged_as_replaced(records: list[Record]) -> None:
    records = [record for record in records if record.appended_at < records[0].appended_at + timedelta(hours=24)]

    flags = {row["clock_flags"] for row in project(records).history if row["revision"] is not None}

    assert flags <= {0, 4}
