"""How far behind a worker's partitions are, and when the worker is ready."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from sojourn.consumers import progress as module
from sojourn.consumers.progress import ANSWER_SECONDS_MAX, MOVING_SECONDS_MAX, Lag, Progress
from sojourn.events.log import Batch, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

START: Final = 1_800_000_000.0


class Clock:
    """Both clocks of a process; they go on when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - START + 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def progress(clock: Clock) -> Progress:
    """Follow partition 0, owned at offset 10 of both topics, which end there."""
    assert clock.now == START
    progress = Progress()
    progress.assign([0])
    progress.own(0, {LIFECYCLE: 10, HEARTBEATS: 10})
    progress.answer("PostgreSQL")
    tell_ends(progress)
    return progress


def tell_ends(progress: Progress, lifecycle: int = 10) -> None:
    progress.end({LIFECYCLE: {0: lifecycle}, HEARTBEATS: {0: 10}})


def batch(first: float, last: float, next_offset: int) -> Batch:
    """Return two records that were appended at these times."""
    times = [datetime.fromtimestamp(at, UTC) for at in (first, last)]
    records = [Record(LIFECYCLE, 0, next_offset - 2 + index, at, None, b"", ()) for index, at in enumerate(times)]
    return Batch(LIFECYCLE, 0, records, next_offset)


def lag(progress: Progress) -> Lag:
    return progress.lags()[LIFECYCLE, 0]


def ready(progress: Progress) -> tuple[bool, Any]:
    """Return whether it is ready, and the reason and the state of partition 0."""
    well, details = progress.readiness()
    return well, (details.get("reason"), details["partitions"].get("0", {}).get("state"))


def test_nothing_is_late_where_the_log_ends_at_the_position(progress: Progress) -> None:
    found = lag(progress)

    assert found == Lag(0, 0.0)


def test_the_first_record_in_hand_says_how_late_a_partition_is_until_it_is_applied(
    progress: Progress, clock: Clock
) -> None:
    tell_ends(progress, 12)
    in_hand = batch(START - 7, START - 5, 12)

    progress.begin(in_hand)
    clock.now += 3
    behind = lag(progress)
    progress.reach(in_hand)
    level = lag(progress)
    clock.now += 1
    tell_ends(progress, 13)

    assert behind == Lag(2, 10.0)
    assert level == Lag(0, 0.0)
    assert lag(progress) == Lag(1, 1.0)


def test_a_batch_that_failed_is_still_the_oldest_while_its_partition_is_not_owned(
    progress: Progress, clock: Clock
) -> None:
    tell_ends(progress, 12)
    progress.begin(batch(START - 7, START - 5, 12))

    progress.let_go(0)
    clock.now += 60

    assert lag(progress) == Lag(2, 67.0)


def test_with_nothing_in_hand_the_age_counts_from_when_nothing_was_missing(progress: Progress, clock: Clock) -> None:
    progress.reach(batch(START - 900, START - 800, 10))
    assert lag(progress).records == 0
    clock.now += 4

    tell_ends(progress, 11)

    assert lag(progress) == Lag(1, 4.0)


def test_with_nothing_in_hand_a_newer_applied_record_counts(progress: Progress, clock: Clock) -> None:
    assert lag(progress).records == 0
    tell_ends(progress, 30)
    clock.now += 100

    progress.reach(batch(START + 80, START + 90, 12))

    assert lag(progress) == Lag(18, 10.0)


def test_the_newer_of_the_ends_that_fetches_and_the_broker_tell_counts(progress: Progress) -> None:
    progress.known_ends = lambda: {(LIFECYCLE, 0): 15}

    tell_ends(progress, 12)

    assert lag(progress).records == 5


def test_of_a_partition_that_the_group_took_away_nothing_is_left(progress: Progress) -> None:
    progress.assign([1])

    progress.reach(batch(START, START, 12))
    progress.commit(0)

    assert progress.lags() == {}
    assert (progress.assigned, progress.owned) == ({1}, set())


def test_a_worker_is_not_ready_before_its_first_assignment_and_is_with_an_empty_one(clock: Clock) -> None:
    assert clock.now == START
    progress = Progress()

    before = ready(progress)
    progress.assign([])

    assert before == (False, ("the group has assigned nothing yet", None))
    assert ready(progress) == (True, (None, None))


def test_a_partition_that_is_not_owned_makes_a_worker_unready_and_tells_why(progress: Progress) -> None:
    progress.hinder(0, "no connection")
    progress.let_go(0)

    well, details = progress.readiness()

    assert not well
    assert details["partitions"]["0"]["state"] == "not owned"
    assert details["partitions"]["0"]["reason"] == "no connection"


def test_a_partition_that_is_behind_is_ready_while_it_commits(progress: Progress, clock: Clock) -> None:
    tell_ends(progress, 1000)

    before = ready(progress)
    progress.commit(0)
    clock.now += MOVING_SECONDS_MAX
    progress.answer("PostgreSQL")
    tell_ends(progress, 1000)
    moving = ready(progress)
    clock.now += 1

    assert before == (False, (None, "not moving"))
    assert moving == (True, (None, "moving"))
    assert ready(progress) == (False, (None, "not moving"))


def test_a_partition_at_a_gap_is_stopped_until_it_is_owned_again(progress: Progress) -> None:
    progress.hinder(0, "the log lost records", stopped=True)
    progress.let_go(0)

    stopped = ready(progress)
    progress.own(0, {LIFECYCLE: 10, HEARTBEATS: 10})

    assert stopped == (False, (None, "stopped"))
    assert progress.stopped == set()
    assert ready(progress) == (True, (None, "caught up"))


@pytest.mark.parametrize("server", ["Kafka", "PostgreSQL"])
def test_a_worker_is_not_ready_while_a_server_does_not_answer(progress: Progress, server: str) -> None:
    progress.miss(server, "connection refused")

    away = ready(progress)
    progress.answer(server)

    assert away == (False, (f"{server} does not answer: connection refused", "caught up"))
    assert ready(progress) == (True, (None, "caught up"))


def test_a_server_that_has_been_silent_for_long_counts_as_away(progress: Progress, clock: Clock) -> None:
    clock.now += ANSWER_SECONDS_MAX + 1

    tell_ends(progress)

    assert ready(progress) == (False, ("PostgreSQL has not answered for 21 s", "caught up"))


def test_what_no_retry_mends_makes_a_worker_unready_and_not_live(progress: Progress) -> None:
    before = progress.liveness()[0]
    progress.fail("the log is ahead")

    assert before
    assert progress.liveness() == (
        False,
        {"status": "failing", "loop_delay_seconds": 0.0, "reason": "the log is ahead"},
    )
    assert ready(progress)[0] is False
