"""What goes wrong between the simulated brokers and the log, and what stays right."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sojourn.events.simulator.faults import DELAY_MAX, HUSH_MIN, Delivery, Faults, Outage, deliveries
from sojourn.events.simulator.plan import milliseconds, plan_simulation
from sojourn.events.simulator.stream import Beats, events
from sojourn.events.types import Alive, Destroyed, Established, Event, Heartbeats

START: Final = datetime(2026, 11, 24, 9, tzinfo=UTC)
STOP: Final = START + timedelta(hours=3)
PLAN: Final = plan_simulation(3, 900, STOP)
EVENTS: Final = list(events(PLAN, START, STOP, Beats(START)))
BROKER: Final = PLAN.world.brokers[0]
AWAY: Final = (START + timedelta(hours=1), START + timedelta(hours=1, minutes=30))


def told(faults: Faults) -> list[Delivery]:
    return list(deliveries(EVENTS, faults))


def beats_of(delivered: list[Delivery]) -> dict[str, list[int]]:
    """Return when beats of each session came."""
    found: dict[str, list[int]] = {}
    for moment, event in delivered:
        if isinstance(event, Heartbeats):
            for session in event.data.sessions:
                found.setdefault(session, []).append(moment)
    return found


def kinds(delivered: list[Delivery]) -> Counter[type[Event]]:
    return Counter(type(event) for _, event in delivered)


def test_without_faults_every_event_arrives_as_it_is_when_it_happens() -> None:
    assert told(Faults("f")) == [Delivery(milliseconds(event.time), event) for event in EVENTS]


def test_what_arrives_is_told_before_the_simulation_is_over() -> None:
    def endless() -> Iterator[Event]:
        yield from EVENTS
        raise AssertionError("all events were asked for before the first was told")

    assert next(deliveries(endless(), Faults("f"))).event == EVENTS[0]


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    one, again, other = (told(Faults(seed, 0.5, 0.5, 0.5, 0.5)) for seed in ("f", "f", "g"))

    assert one == again
    assert one != other


def test_what_arrives_is_in_the_order_in_which_it_does_however_late_it_is() -> None:
    delivered = told(Faults("f", delayed_share=0.3, outages=(Outage(BROKER, *AWAY, spooled=True),)))

    assert [moment for moment, _ in delivered] == sorted(moment for moment, _ in delivered)
    late = [moment - milliseconds(event.time) for moment, event in delivered if event.source != BROKER]
    assert 0 < max(late) <= DELAY_MAX
    assert Counter(event.id for _, event in delivered if not isinstance(event, Heartbeats | Alive)) == Counter(
        event.id for event in EVENTS if not isinstance(event, Heartbeats | Alive)
    )


def test_a_broker_that_is_away_says_nothing_and_others_go_on() -> None:
    delivered = told(Faults("f", outages=(Outage(BROKER, *AWAY),)))

    first, end = map(milliseconds, AWAY)
    missing = Counter(event.id for event in EVENTS) - Counter(event.id for _, event in delivered)
    assert missing == Counter(
        event.id for event in EVENTS if event.source == BROKER and first <= milliseconds(event.time) < end
    )


def test_a_broker_with_a_spool_tells_of_sessions_when_it_is_back_and_of_beats_never() -> None:
    delivered = told(Faults("f", outages=(Outage(BROKER, *AWAY, spooled=True),)))

    first, end = map(milliseconds, AWAY)
    meanwhile = [event for event in EVENTS if event.source == BROKER and first <= milliseconds(event.time) < end]
    spooled = [event for event in meanwhile if isinstance(event, Established | Destroyed)]
    assert spooled
    at_the_end = [event for moment, event in delivered if moment == end]
    assert [event for event in at_the_end if event in spooled] == spooled
    assert not [one for one in delivered if one.event.source == BROKER and first <= one.moment < end]


def test_dropped_beats_and_missing_ends_are_as_many_as_they_should_be_and_nothing_else_is_missing() -> None:
    whole, part = told(Faults("f")), told(Faults("f", missing_end_share=0.3, dropped_beat_share=0.1))

    beats, kept = (sum(map(len, beats_of(delivered).values())) for delivered in (whole, part))
    assert 0.85 < kept / beats < 0.95
    assert 0.5 < kinds(part)[Destroyed] / kinds(whole)[Destroyed] < 0.9
    assert kinds(part)[Established] == kinds(whole)[Established]
    assert kinds(part)[Alive] == kinds(whole)[Alive]


def test_a_hushed_session_loses_its_beats_for_minutes_and_no_other_does() -> None:
    whole, hushed = beats_of(told(Faults("f"))), beats_of(told(Faults("f", hushed_share=0.2)))

    silent = {session: sorted(set(times) - set(hushed.get(session, ()))) for session, times in whole.items()}
    silent = {session: times for session, times in silent.items() if times}
    assert 0.1 < len(silent) / len(whole) < 0.7
    longest = [times[-1] - times[0] for times in silent.values()]
    assert max(longest) > HUSH_MIN


def test_a_wrong_clock_changes_what_a_broker_says_and_not_when_it_is_heard() -> None:
    hour = timedelta(hours=1)
    right, wrong = told(Faults("f")), told(Faults("f", skews={BROKER: hour}))

    assert [moment for moment, _ in wrong] == [moment for moment, _ in right]
    shifts = {
        (one.event.source == BROKER, two.event.time - one.event.time) for one, two in zip(right, wrong, strict=True)
    }
    assert shifts == {(True, hour), (False, timedelta(0))}
