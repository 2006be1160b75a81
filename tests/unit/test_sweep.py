"""Which sessions and brokers an owner judges, and when: the guards, one by one."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from sojourn.consumers.liveness import Liveness, Opened
from sojourn.consumers.signs import Signs
from sojourn.consumers.sweep import GRACE_SECONDS, SILENCE_EXCUSES_SECONDS, TIMEOUT_SECONDS, Sweep
from sojourn.events.codec import decode
from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.decisions import lost
from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import Alive, AliveData, BrokerReturned, BrokerSilent, Event, Lost, LostEnded, Recovered
from sojourn.projections.decided import NOTHING_DECIDED, Decided, Silence
from sojourn.projections.facts import Fact, Key
from sojourn.projections.fold import Changes, Entry
from sojourn.projections.session import Loss

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
ADA: Key = ("acme", "s-1")
EVE: Key = ("acme", "s-2")
BROKER = "/brokers/eu-1"
TIMEOUT = timedelta(seconds=TIMEOUT_SECONDS)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Partition:
    """A partition's owner since `START`, without a log or a database."""

    def __init__(self, decided: Decided = NOTHING_DECIDED, since: datetime = START) -> None:
        self.liveness, self.signs = Liveness({}, {}), Signs(())
        self.sweep = Sweep(3, self.liveness, self.signs, since, decided)

    def open(self, *keys: Key, at: datetime = START, loss: Loss | None = None) -> None:
        slots = self.liveness.reserve(keys)
        self.liveness.settle({key: self.sweep.opened(key, slot, BROKER, at, loss) for key, slot in slots.items()}, [])

    def change(self, key: Key, loss: Loss | None) -> None:
        """Let the log say how the session stands now."""
        slot = self.liveness.slots[key]
        self.liveness.settle({key: self.sweep.opened(key, slot, BROKER, START, loss)}, [])

    def beat(self, *keys: Key, at: datetime) -> None:
        self.signs.hear(BROKER, at, at)
        for key in keys:
            self.liveness.beat(key, at, None)

    def alive(self, at: datetime, interval_seconds: int = 30) -> None:
        data = AliveData(interval_seconds=interval_seconds)
        self.signs.hear(BROKER, at, at)
        self.signs.live(Alive(specversion="1.0", id="a-1", source=BROKER, time=at, data=data), at)

    def decide(self, at: datetime, misrouting: tuple[str, ...] = ()) -> list[Event]:
        return [decode(one.value) for one in self.sweep.decide(at, 17, misrouting)]


def loss_of(key: Key, seen_at: datetime) -> Loss:
    event = lost(*key, seen_at, seen_at + TIMEOUT, TIMEOUT_SECONDS, 17)
    return Loss(event.id, event.data.last_seen_at, event.data.deadline)


def test_a_session_is_lost_when_its_timeout_has_passed_and_not_a_second_earlier() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA, EVE)
    partition.beat(EVE, at=after(1))

    early = partition.decide(after(TIMEOUT_SECONDS))
    due = partition.decide(after(TIMEOUT_SECONDS + 1))

    assert early == []
    (event,) = due
    assert isinstance(event, Lost)
    assert (event.tenant, event.subject) == ADA
    assert (event.data.last_seen_at, event.data.deadline) == (START, START + TIMEOUT)
    assert (event.data.timeout_seconds, event.data.heartbeat_offset) == (TIMEOUT_SECONDS, 17)


def test_a_loss_is_decided_once_until_the_log_tells_what_became_of_it() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA)

    (decision,) = partition.decide(after(200))
    again = partition.decide(after(201))
    assert isinstance(decision, Lost)
    partition.sweep.dropped(decision)
    anew = partition.decide(after(202))

    assert again == []
    assert [event.id for event in anew] == [decision.id]


def test_nobody_is_lost_for_one_timeout_after_a_start_or_a_gap_in_the_heartbeats() -> None:
    partition = Partition()
    partition.open(ADA, at=START - timedelta(hours=1))

    assert partition.decide(after(TIMEOUT_SECONDS)) == []
    partition.sweep.hold_back(after(60))
    assert partition.decide(after(60 + TIMEOUT_SECONDS)) == []
    (event,) = partition.decide(after(61 + TIMEOUT_SECONDS))
    assert isinstance(event, Lost)
    assert event.data.last_seen_at == START - timedelta(hours=1)
    assert event.data.deadline == after(60 + TIMEOUT_SECONDS), "nothing was known in the hour between"


def test_a_heartbeat_of_a_lost_session_leads_to_its_recovery_and_none_does_not() -> None:
    partition = Partition(since=START - TIMEOUT)
    loss = loss_of(ADA, START)
    partition.open(ADA, loss=loss)

    before = partition.decide(after(100))
    partition.beat(ADA, at=after(101))
    (event,) = partition.decide(after(102))

    assert before == []
    assert isinstance(event, Recovered)
    assert (event.data.lost, event.data.seen_at) == (loss.id, after(101))


def test_a_session_that_recovered_can_be_lost_again() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA, loss=loss_of(ADA, START))
    partition.beat(ADA, at=after(101))
    partition.decide(after(102))

    partition.change(ADA, None)

    assert partition.decide(after(150)) == []
    (event,) = partition.decide(after(102 + TIMEOUT_SECONDS))
    assert isinstance(event, Lost)
    assert event.data.last_seen_at == after(101)


def test_a_session_that_stays_lost_for_the_grace_period_is_taken_to_have_ended() -> None:
    partition = Partition(since=START - TIMEOUT)
    loss = loss_of(ADA, START)
    partition.open(ADA, loss=loss)

    early = partition.decide(after(TIMEOUT_SECONDS + GRACE_SECONDS - 1))
    (event,) = partition.decide(after(TIMEOUT_SECONDS + GRACE_SECONDS))

    assert early == []
    assert isinstance(event, LostEnded)
    assert (event.data.ended_after, event.data.ended_before, event.data.lost) == (START, loss.deadline, loss.id)
    assert partition.decide(after(TIMEOUT_SECONDS + GRACE_SECONDS + 1)) == []


def test_a_broker_that_was_not_heard_of_lately_excuses_its_sessions_and_then_is_silent_once() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.alive(START)
    partition.open(ADA)

    first = partition.decide(after(91))
    again = partition.decide(after(300))

    (event,) = first
    assert isinstance(event, BrokerSilent)
    assert (event.data.source, event.data.last_heard_at, event.data.deadline) == (BROKER, START, after(90))
    assert again == []


def test_a_broker_that_lives_on_without_beating_a_session_loses_it_in_time() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA)
    for seconds in (0, 30, 60):
        partition.alive(after(seconds))

    (event,) = partition.decide(after(91))

    assert isinstance(event, Lost)


def test_a_silence_excuses_for_hours_and_not_for_ever() -> None:
    partition = Partition(Decided(silent={BROKER: Silence("silent/1", START)}), START - TIMEOUT)
    partition.alive(START)
    partition.open(ADA)

    for_hours = partition.decide(after(SILENCE_EXCUSES_SECONDS + TIMEOUT_SECONDS))
    for_ever = partition.decide(after(SILENCE_EXCUSES_SECONDS + TIMEOUT_SECONDS + 1))

    assert for_hours == []
    assert [type(event) for event in for_ever] == [Lost]


def test_a_broker_that_returns_has_one_timeout_to_beat_its_sessions() -> None:
    partition = Partition(Decided(silent={BROKER: Silence("silent/1", START)}), START - TIMEOUT)
    partition.alive(START)
    partition.open(ADA)

    partition.alive(after(600))
    (event,) = partition.decide(after(601))
    partition.sweep.settle(Changes([], [], [], {}, Counter(), {}), NOTHING_DECIDED)
    for seconds in (630, 660, 690):
        partition.alive(after(seconds))
    early = partition.decide(after(600 + TIMEOUT_SECONDS))
    due = partition.decide(after(601 + TIMEOUT_SECONDS))

    assert isinstance(event, BrokerReturned)
    assert (event.data.silent, event.data.heard_at) == ("silent/1", after(600))
    assert early == []
    assert [type(one) for one in due] == [Lost]


def test_a_broker_that_never_said_that_it_is_alive_cannot_be_silent() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA, EVE)
    partition.beat(ADA, at=after(1))

    events = partition.decide(after(1000))

    assert [type(event) for event in events] == [Lost, Lost]


def test_sessions_of_a_broker_whose_heartbeats_go_astray_are_never_lost() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA)

    assert partition.decide(after(100_000), (BROKER,)) == []


def test_a_tenants_own_timeout_holds_for_it_and_a_brokers_before_that() -> None:
    setting = TenantConfiguredData(heartbeat_timeout_seconds=20, lost_grace_seconds=5)
    partition = Partition(Decided(settings={"acme": setting}), START - TIMEOUT)
    partition.open(ADA)
    partition.open(EVE, at=START - TIMEOUT, loss=loss_of(EVE, START - TIMEOUT))

    by_tenant = partition.decide(after(21))
    partition = Partition(
        Decided(settings={"acme": TenantConfiguredData(heartbeat_timeout_seconds=20, timeouts={BROKER: 40})}),
        START - TIMEOUT,
    )
    partition.open(ADA)

    assert [type(event) for event in by_tenant] == [LostEnded, Lost]
    assert partition.decide(after(40)) == []
    assert [type(event) for event in partition.decide(after(41))] == [Lost]


def test_a_setting_that_changes_holds_for_the_sessions_that_are_open() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA)
    changed = Decided(settings={"acme": TenantConfiguredData(heartbeat_timeout_seconds=5)})

    before = partition.decide(after(10))
    partition.sweep.settle(Changes([], [], [], {}, Counter(), {}), changed)
    now = partition.decide(after(10))

    assert before == []
    assert [type(event) for event in now] == [Lost]


def test_a_slot_that_is_used_again_knows_nothing_of_the_session_before() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA, loss=loss_of(ADA, START))
    partition.liveness.settle({}, [ADA])
    partition.sweep.closed([ADA])
    partition.liveness.flushed(partition.liveness.flush())

    partition.open(EVE, at=after(10_000))

    assert partition.decide(after(10_001)) == []
    assert partition.liveness.judged(partition.liveness.slots[EVE])[1] == TIMEOUT_SECONDS


def test_opened_names_what_a_judgement_needs() -> None:
    partition = Partition()
    loss = loss_of(ADA, START)

    one = partition.sweep.opened(ADA, 4, BROKER, START, loss)

    assert one == Opened(4, START, 0, None, loss, int(loss.deadline.timestamp()) + GRACE_SECONDS)


def test_a_broker_that_was_away_for_less_than_its_silence_has_one_timeout_as_well() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.alive(START)
    partition.open(ADA, at=after(-28))

    away = [partition.decide(after(seconds)) for seconds in range(30, 80)]
    partition.alive(after(80))
    back = [partition.decide(after(seconds)) for seconds in (80, 81, 90)]

    assert not any(away)
    assert not any(back), "its beat was due every 30 s, and the broker was away for 80"


def test_a_loss_that_the_fold_knows_already_is_not_decided_again_and_again() -> None:
    partition = Partition(since=START - TIMEOUT)
    partition.open(ADA)
    (decision,) = partition.decide(after(200))
    assert isinstance(decision, Lost)
    record = Record(LIFECYCLE, 3, 0, after(201), None, b"", ())
    entry = Entry(Fact(record, decision, b"", after(201)), "duplicate")

    partition.sweep.settle(Changes([entry], [], [], {}, Counter(), {}), NOTHING_DECIDED)

    assert partition.decide(after(202)) == []


def test_a_lost_session_is_not_taken_to_have_ended_while_its_broker_is_silent() -> None:
    partition = Partition(Decided(silent={BROKER: Silence("silent/1", after(60))}), START - TIMEOUT)
    partition.alive(after(60))
    partition.open(ADA, loss=loss_of(ADA, START))

    assert partition.decide(after(TIMEOUT_SECONDS + GRACE_SECONDS + 60)) == []


def test_a_clock_that_was_set_back_does_not_hold_everybody_back_until_it_has_caught_up() -> None:
    partition = Partition(since=after(3600))
    partition.sweep.see_clearly(after(3600))
    partition.open(ADA)

    partition.sweep.see_clearly(after(10))

    assert partition.decide(after(10 + TIMEOUT_SECONDS)) == []
    assert [type(event) for event in partition.decide(after(11 + TIMEOUT_SECONDS))] == [Lost]
