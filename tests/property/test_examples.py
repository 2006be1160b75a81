"""The contract's examples give the rows written by hand in any batch size and any interleaving of their sessions."""

from collections import defaultdict
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sojourn.events.codec import decode
from sojourn.events.types import Destroyed, Established
from tests.property.projector import project
from tests.property.strategies import SHORT_GAPS, START, records_of
from tests.unit.events import lines
from tests.unit.examples_by_hand import ROWS, newest_rows, to_lifecycle

EXAMPLES = to_lifecycle(lines("examples"))
A_DAY_LATER = START + timedelta(days=1)


def sessions_of(values: list[bytes]) -> list[list[bytes]]:
    """Return the events of each session in their order."""
    sessions: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for value in values:
        event = decode(value)
        assert isinstance(event, Established | Destroyed)
        sessions[event.tenant, event.subject].append(value)
    return list(sessions.values())


@st.composite
def interleavings(draw: st.DrawFn) -> list[bytes]:
    """Draw an order in which each session's own events keep theirs."""
    waiting = [list(session) for session in sessions_of(EXAMPLES)]
    order = []
    while waiting:
        session = draw(st.sampled_from(waiting))
        order.append(session.pop(0))
        waiting = [session for session in waiting if session]
    return order


@given(interleavings(), st.sets(st.integers(1, len(EXAMPLES))), st.lists(SHORT_GAPS, min_size=9, max_size=9))
def test_any_interleaving_and_any_batches_give_the_rows_written_by_hand(
    order: list[bytes], cuts: set[int], gaps: list[timedelta]
) -> None:
    projected = project(records_of(order, gaps, start=A_DAY_LATER), cuts, through_rows=True)

    assert newest_rows(projected) == ROWS
    assert projected.dispositions == {"applied": 9}


@given(st.permutations(EXAMPLES))
def test_even_out_of_order_each_session_ends_with_the_same_content(order: list[bytes]) -> None:
    projected = project(records_of(order, [timedelta(0)] * len(order), start=A_DAY_LATER))

    found = {key: {**row, "cause": ROWS[key]["cause"]} for key, row in newest_rows(projected).items()}
    assert found == ROWS
