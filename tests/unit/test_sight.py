"""How the log's clock stands to this machine's, and what a clock that is set does."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from sojourn.consumers import sight as module
from sojourn.consumers.sight import CLOCK_WINDOW, Sight

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


class Clock:
    """This machine's clock, as the test sets it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_clock", clock)
    return clock


def watching() -> Sight:
    return Sight(cast("Any", None), cast("Any", None))


def test_the_quickest_record_tells_the_clocks_difference(clock: Clock) -> None:
    sight = watching()

    for delay in (0.4, 0.1, 0.3):
        clock.now += timedelta(seconds=1)
        sight.observe(clock.now - timedelta(minutes=2, seconds=delay))

    assert sight.now() == clock.now - timedelta(minutes=2, seconds=0.1)


def test_a_clock_that_is_set_forward_is_noticed_within_a_timeout_and_nobody_is_late_by_it(clock: Clock) -> None:
    sight = watching()
    sight.observe(clock.now)
    log_clock = clock.now

    clock.now += timedelta(seconds=150)
    for _ in range(CLOCK_WINDOW.seconds + 2):
        clock.now += timedelta(seconds=1)
        log_clock += timedelta(seconds=1)
        sight.observe(log_clock)

    assert sight.now() == log_clock
    assert START < sight.clear_since <= log_clock


def test_the_first_record_of_a_log_whose_clock_is_ahead_begins_the_time_anew(clock: Clock) -> None:
    sight = watching()

    clock.now += timedelta(seconds=1)
    sight.observe(clock.now + timedelta(minutes=5))

    assert sight.now() == sight.clear_since == clock.now + timedelta(minutes=5)
