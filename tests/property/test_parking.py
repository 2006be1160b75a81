"""Fault 11: a dead letter that was resolved leaves its session as a log would have that had been right at once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sojourn.consumers.replay import Folding
from sojourn.events.log import Record
from sojourn.projections.rows import HISTORY_COLUMNS, history_row
from sojourn.projections.session import Session
from tests.property.strategies import (
    HONEST_TIMES,
    NO_EVENTS,
    SHORT_GAPS,
    TIMES,
    records_of,
    related,
    said,
    value_of,
)
from tests.unit.letters import resolve, spoilt

CUTS = st.sets(st.integers(1, 30), max_size=6)
A_SECOND = timedelta(seconds=1)
KEY = ("acme", "s-1")
NOT_JSON = b"not json"


class Result(NamedTuple):
    """What a log comes to; `counted` is how many records have each disposition now."""

    rows: list[dict[str, Any]]
    states: dict[tuple[str, str], Session]
    letters: list[tuple[int, Any, str]]
    resolved: list[tuple[Any, ...]]
    counted: Counter[str]


def folded(records: Sequence[Record], cuts: Iterable[int] = ()) -> Result:
    """Fold records in batches that begin at `cuts` too."""
    folding = Folding(1)
    result = Result([], folding.states, [], [], Counter())
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for start, end in pairwise(edges):
        for parked, changes in folding.take(records[start:end]):
            result.rows.extend(dict(zip(HISTORY_COLUMNS, history_row(entry), strict=True)) for entry in changes.entries)
            result.letters.extend(
                (letter.record.offset, letter.record.appended_at, letter.reason) for letter in changes.dead_letters
            )
            result.resolved.extend(
                (*letter.place, letter.resolution, letter.waits) for letter in parked.letters.values()
            )
            result.counted.update(changes.dispositions)
            result.counted.update(parked.moved)
    return result


def told(result: Result) -> list[dict[str, Any]]:
    """Return what became of each event that was applied or judged, in order: all but when that was."""
    return [
        {column: value for column, value in row.items() if column not in {"appended_at", "memory"}}
        for row in result.rows
        if row["disposition"] not in {"parked", "dead_letter"}
    ]


class Mended(NamedTuple):
    """The log of a session as it should have come, and one in which some events came spoilt and were resolved."""

    right: list[Record]
    records: list[Record]


@st.composite
def mended(draw: st.DrawFn) -> Mended:
    """Draw a session's events, spoil some, and let each of these be resolved at some time after it."""
    values = [value_of(event) for event in draw(related(said(TIMES, st.just(KEY))))]
    fate = st.sampled_from(["good", "good", "requeued", "discarded"])
    fates = draw(st.lists(fate, min_size=len(values), max_size=len(values)))
    order = [("event", index) for index in range(len(values))]
    for index in draw(st.permutations([index for index, fate in enumerate(fates) if fate != "good"])):
        after = order.index(("event", index))
        order.insert(draw(st.integers(after + 1, len(order))), ("resolution", index))
    records = _written(order, values, fates)
    right = [
        record._replace(value=values[index])
        for record, (step, index) in zip(records, order, strict=True)
        if step == "event" and fates[index] != "discarded"
    ]
    return Mended(right, records)


def _written(order: list[tuple[str, int]], values: list[bytes], fates: list[str]) -> list[Record]:
    """Write the log; a resolution names the place that its event got."""
    records: list[Record] = []
    places: dict[int, Record] = {}
    for step, index in order:
        if step == "event":
            value = values[index] if fates[index] == "good" else spoilt(values[index])
        elif fates[index] == "discarded":
            value = resolve(places[index], "discarded")
        else:
            value = resolve(places[index], "requeued", values[index])
        (record,) = following([value], records)
        records.append(record)
        if step == "event":
            places[index] = record
    return records


def following(values: Sequence[bytes], records: Sequence[Record]) -> list[Record]:
    """Return the values as the records that come next, a second apart."""
    start = {"start": records[-1].appended_at} if records else {}
    return records_of(list(values), [A_SECOND] * len(values), len(records), **start)


@given(mended(), CUTS)
def test_a_session_whose_letters_are_resolved_is_as_if_its_log_had_been_right(log: Mended, cuts: set[int]) -> None:
    expected = folded(log.right)

    found = folded(log.records, cuts)

    assert told(found) == told(expected)
    assert [letter for letter in found.letters if letter[2] == "wrong_letter"] == []
    assert found.counted["parked"] == 0
    assert found.counted.total() == len(log.records)


@given(mended())
def test_until_a_letter_is_resolved_its_session_stands_still_and_nothing_is_lost(log: Mended) -> None:
    for end in range(len(log.records) + 1):
        result = folded(log.records[:end])

        assert result.counted.total() == end
        assert min(result.counted.values(), default=0) >= 0
        waiting = {(offset, at) for offset, at, reason in result.letters if reason == "parked"}
        waiting -= {(offset, at) for offset, at, _, waits in result.resolved if not waits}
        assert result.counted["parked"] == len(waiting)


@st.composite
def resolved_streams(draw: st.DrawFn) -> list[Record]:
    """Draw records of several sessions, good and bad, and resolutions that name any of them with any bytes."""
    values = [value_of(event) for event in draw(related(said(TIMES)))]
    values += [spoilt(value) for value in draw(st.lists(st.sampled_from(values), max_size=6))]
    values += draw(st.lists(st.one_of(st.sampled_from(values), NO_EVENTS), max_size=4))
    order = draw(st.permutations(values))
    records: list[Record] = []
    for value in order:
        gap = draw(SHORT_GAPS)
        following = {"start": records[-1].appended_at} if records else {}
        records += records_of([value], [gap], len(records), **following)
        if draw(st.booleans()):
            named = draw(st.sampled_from(records))
            how = draw(st.sampled_from(["requeued", "requeued", "discarded"]))
            bytes_ = draw(st.one_of(st.none(), st.sampled_from(values)))
            decision = resolve(named, how, bytes_)
            records += records_of([decision], [draw(SHORT_GAPS)], len(records), start=records[-1].appended_at)
    return records


@given(resolved_streams(), CUTS)
def test_any_batch_boundaries_park_and_release_the_same(records: list[Record], cuts: set[int]) -> None:
    whole = folded(records)

    parts = folded(records, cuts)

    assert parts == whole


@given(resolved_streams())
def test_every_record_is_counted_once_and_every_row_has_a_place_of_its_own(records: list[Record]) -> None:
    result = folded(records)

    assert result.counted.total() == len(records)
    assert min(result.counted.values()) >= 0
    rows = Counter((row["offset"], row["appended_at"]) for row in result.rows)
    letters = Counter((offset, appended_at) for offset, appended_at, _ in result.letters)
    assert set(rows.values()) <= {1}
    assert set(letters.values()) <= {1}


@given(resolved_streams())
def test_a_repeated_resolution_changes_nothing(records: list[Record]) -> None:
    once = folded(records)
    good = {offset for offset, _, reason in once.letters if reason == "wrong_letter"}
    again = [
        record.value for record in records if b"dead_letter_resolved" in record.value and record.offset not in good
    ]

    twice = folded([*records, *following(again, records)])

    assert twice.rows == once.rows
    assert twice.letters == once.letters
    assert twice.counted == once.counted + Counter(duplicate=len(again))


@given(st.lists(said(HONEST_TIMES, st.just(KEY)), min_size=1, max_size=4), st.sampled_from([NOT_JSON, b"[]"]))
def test_what_names_no_session_holds_nothing_and_takes_its_place_when_it_is_mended(
    events: list[Any], bad: bytes
) -> None:
    values = [value_of(event) for event in events]
    records = following([bad, *values], [])
    right = value_of(events[0]._replace(id="mended", sequence=None))

    untouched = folded(records)
    later = following([resolve(records[0], "requeued", right)], records)
    found = folded([*records, *later])

    assert untouched.counted["parked"] == 0
    assert found.counted.total() == len(records) + 1
    assert found.rows[-1]["appended_at"] == later[0].appended_at
    assert found.rows[-1]["offset"] == 0
