"""The simulated days are believable, and are published at the pace that was asked for."""

import ipaddress
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest

from sojourn.events.codec import canonical_ip, decode, encode
from sojourn.events.errors import UsageError
from sojourn.events.fields import SESSIONS_PER_BATCH_MAX
from sojourn.events.simulator.names import COMPANIES
from sojourn.events.simulator.plan import Plan, instant_at, plan_simulation
from sojourn.events.simulator.play import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, play, timeline
from sojourn.events.simulator.stream import Beats, events
from sojourn.events.simulator.truth import truth_lines
from sojourn.events.simulator.world import next_restart
from sojourn.events.types import Alive, Destroyed, Established, Heartbeats

END = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)  # a Tuesday
MANY = 20_000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_simulation(7, MANY, END)


@pytest.fixture(scope="module")
def truth(plan: Plan) -> list[dict[str, Any]]:
    return [json.loads(line) for line in truth_lines(plan, END)]


def shares(truth: list[dict[str, Any]], name: str) -> dict[Any, float]:
    counts = Counter(line[name] for line in truth)
    return {value: count / counts.total() for value, count in counts.items()}


def local_logins(truth: list[dict[str, Any]]) -> list[datetime]:
    offsets = {company.name: timedelta(minutes=company.offset_minutes) for company in COMPANIES}
    return [datetime.fromisoformat(line["login_at"]) + offsets[line["tenant"]] for line in truth]


def test_one_or_two_of_a_hundred_ends_are_missing(truth: list[dict[str, Any]]) -> None:
    ended = [line for line in truth if line["logout_at"] is not None]

    missing = sum(not line["end_published"] for line in ended) / len(ended)

    assert 0.01 < missing < 0.02
    assert all(line["state"] == "active" for line in truth if not line["end_published"])


def test_every_reason_occurs_and_most_people_log_off(truth: list[dict[str, Any]]) -> None:
    reasons = shares([line for line in truth if line["reason"] is not None], "reason")

    assert 0.5 < reasons["logoff"] < 0.7
    assert 0.1 < reasons["idle_timeout"] < 0.25
    assert 0.08 < reasons["network"] < 0.2
    assert all(0.005 < reasons[rare] < 0.05 for rare in ("error", "broker_shutdown", "admin_disconnect", "unknown"))


def test_every_sort_of_terminal_occurs_and_thin_clients_most(truth: list[dict[str, Any]]) -> None:
    terminals = shares(truth, "terminal_type")

    assert max(terminals, key=terminals.__getitem__) == "thin_client"
    assert 0.2 < terminals["soft_client"] < 0.4
    assert all(0.03 < terminals[rare] < 0.15 for rare in ("mobile", "browser", "other"))


def test_people_log_in_by_waves_in_the_morning_and_after_lunch(truth: list[dict[str, Any]]) -> None:
    working = [login for login in local_logins(truth) if login.weekday() < 5]
    hours = Counter(login.hour for login in working)

    assert sum("07:30" <= f"{login:%H:%M}" < "09:30" for login in working) > 0.35 * len(working)
    assert hours[12] + hours[13] > 5 * (hours[10] + hours[11]) / 2
    assert sum(hours[hour] for hour in (2, 3, 4, 5)) < 0.03 * len(working)


def test_few_people_work_at_the_weekend(truth: list[dict[str, Any]]) -> None:
    days = Counter(login.weekday() for login in local_logins(truth))

    assert 0 < days[5] < 0.25 * days[3]
    assert 0 < days[6] < 0.25 * days[3]


def test_some_names_are_not_ascii_and_some_are_east_asian(truth: list[dict[str, Any]]) -> None:
    names = {(line["tenant"], line["user_name"]) for line in truth}

    east_asian = Counter(tenant for tenant, name in names if any(ord(letter) > 0x2E7F for letter in name))

    assert all(east_asian[tenant] > 0 for tenant in ("acme", "globex", "initech"))
    assert east_asian["initech"] > len([name for tenant, name in names if tenant == "initech"]) / 2
    assert any(not name.isascii() and max(name) < "\u2e80" for _, name in names)


def test_thin_clients_are_inside_and_mobiles_outside(truth: list[dict[str, Any]]) -> None:
    access = Counter((line["terminal_type"], line["access"]) for line in truth)

    assert access["thin_client", "public"] == access["mobile", "internal"] == 0
    assert access["soft_client", "public"] > 0 < access["soft_client", "internal"]
    assert access["browser", "internal"] == 0


def test_addresses_are_canonical_and_internal_ones_are_private_unless_it_is_told(plan: Plan) -> None:
    begun = [event for event in timeline(plan, END, None) if isinstance(event, Established)]
    private = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]

    assert all(canonical_ip(event.data.client_ip) == event.data.client_ip for event in begun)
    told = Counter(
        (event.data.access, any(ipaddress.ip_address(event.data.client_ip) in network for network in private))
        for event in begun
    )
    assert set(told) == {("internal", True), ("internal", False), ("public", False), (None, True), (None, False)}
    assert 0.2 < (told[None, True] + told[None, False]) / len(begun) < 0.35


def test_people_come_back_after_most_cuts(plan: Plan, truth: list[dict[str, Any]]) -> None:
    cut = {line["session_id"] for line in truth if line["reason"] in {"network", "error", "broker_shutdown"}}

    continued = [
        event.data.predecessor
        for event in timeline(plan, END, None)
        if isinstance(event, Established) and event.data.predecessor is not None
    ]

    assert len(set(continued)) == len(continued)
    assert 0.75 < len(cut & set(continued)) / len(cut) < 0.95


def test_a_pool_has_one_broker_and_every_broker_has_sessions() -> None:
    plan = plan_simulation(3, 3000, END, tenants=2, brokers=9)

    begun = [event for event in timeline(plan, END, None) if isinstance(event, Established)]

    pools = {(event.tenant, event.data.desktop.pool, event.source) for event in begun}
    assert len(pools) == len({(tenant, pool) for tenant, pool, _ in pools})
    assert {source for _, _, source in pools} == set(plan.world.brokers)
    assert len(plan.world.brokers) == 9


def test_tenants_beyond_the_known_names_are_numbered() -> None:
    plan = plan_simulation(3, 5000, END, tenants=12)

    begun = {event.tenant for event in timeline(plan, END, None) if isinstance(event, Established)}

    assert begun == {*(company.name for company in COMPANIES), "tenant-11", "tenant-12"}


def test_other_parameters_give_other_sessions_also_for_the_same_seed() -> None:
    ids = [
        {json.loads(line)["session_id"] for line in truth_lines(plan_simulation(seed, 500, END, brokers=brokers), END)}
        for seed, brokers in ((1, 4), (2, 4), (1, 5))
    ]

    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]


def test_a_restarting_broker_ends_its_sessions_and_is_silent_for_a_while(plan: Plan) -> None:
    broker = plan.world.brokers[0]
    restart = instant_at(next_restart(plan.world.root, broker, plan.begin[0] + 86_400_000))
    around = list(
        events(plan, restart - timedelta(minutes=2), restart + timedelta(minutes=2), Beats(END - timedelta(9)))
    )

    own = [event for event in around if event.source == broker]

    ends = [event.time for event in own if isinstance(event, Destroyed) and event.data.reason == "broker_shutdown"]
    assert ends
    assert all(restart - timedelta(seconds=8) <= time <= restart for time in ends)
    assert not [event for event in own if restart < event.time < restart + timedelta(seconds=45)]
    assert {type(event) for event in own if event.time > restart} >= {Alive, Heartbeats}


def test_heartbeats_of_a_backfill_are_those_of_its_last_two_minutes(plan: Plan) -> None:
    beats = [event for event in timeline(plan, END, None) if isinstance(event, Heartbeats | Alive)]

    assert all(END - timedelta(minutes=2) <= event.time < END for event in beats)
    alive = Counter(event.source for event in beats if isinstance(event, Alive))
    assert alive == dict.fromkeys(plan.world.brokers, 12)
    batches = Counter((event.source, event.tenant) for event in beats if isinstance(event, Heartbeats))
    assert set(batches.values()) == {4}


def test_some_heartbeats_tell_idle_time_round_trip_and_a_new_address(plan: Plan) -> None:
    evening = END - timedelta(hours=19)
    run = events(plan, evening, evening + timedelta(minutes=1), Beats(evening))
    beats = [event for event in run if isinstance(event, Heartbeats)]

    details = [detail for event in beats for detail in event.data.details.values()]

    assert any(detail.idle_seconds for detail in details)
    assert any(detail.round_trip_ms for detail in details)
    assert any(detail.client_ip for detail in details)
    assert len(details) < sum(len(event.data.sessions) for event in beats) / 4


def test_more_sessions_than_a_batch_holds_are_split(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    assert SESSIONS_PER_BATCH_MAX == 10_000
    monkeypatch.setattr("sojourn.events.simulator.stream.SESSIONS_PER_BATCH_MAX", 7)
    noon = END.replace(hour=9)

    beats = list(events(plan, noon, noon + timedelta(milliseconds=1), Beats(noon)))

    batches = [event for event in beats if isinstance(event, Heartbeats)]
    assert max(len(event.data.sessions) for event in batches) == 7
    named = [session for event in batches for session in event.data.sessions]
    assert len(named) == len(set(named)) > 500
    assert len({event.id for event in batches}) == len(batches)


def test_heartbeats_keep_their_real_pace_at_any_speed() -> None:
    plan = plan_simulation(7, 100, END)

    beats = [event for event in timeline(plan, END, 60.0) if isinstance(event, Heartbeats)]

    times = sorted({event.time for event in beats})
    steps = Counter(later - time for time, later in pairwise(times))
    assert steps.most_common(1)[0][0] == min(steps) == timedelta(minutes=30)
    assert all(step % timedelta(minutes=30) == timedelta(0) for step in steps)  # at night nobody may be connected
    assert times[0] - instant_at(plan.begin[0]) < timedelta(minutes=30)


def test_lifecycle_events_come_faster_than_twenty_thousand_a_second() -> None:
    rates = []
    for _ in range(3):  # the best counts: the machine is shared
        began = time.process_time()
        plan = plan_simulation(11, MANY // 2, END)
        count = sum(isinstance(event, Established | Destroyed) for event in timeline(plan, END, None))
        rates.append(count / (time.process_time() - began))

    assert max(rates) > 20_000, f"lifecycle events in a second of processor time: {rates}"


def test_neither_hash_seed_nor_process_changes_a_byte() -> None:
    script = (
        "import hashlib; from datetime import datetime; from sojourn.events.codec import encode;"
        "from sojourn.events.simulator.plan import plan_simulation; from sojourn.events.simulator.play import timeline;"
        f"end = datetime.fromisoformat({END.isoformat()!r});"
        "run = timeline(plan_simulation(5, 500, end), end, None);"
        "print(hashlib.sha256(b''.join(map(encode, run))).hexdigest())"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


@pytest.mark.parametrize(
    ("sessions", "tenants", "brokers", "message"),
    [
        (0, 3, 4, "the number of sessions is 1 to 10000000, not: 0"),
        (10_000_001, 3, 4, "the number of sessions is 1 to 10000000, not: 10000001"),
        (5, 0, 4, "the number of tenants is 1 to 1000, not: 0"),
        (5, 3, 1001, "the number of brokers is 1 to 1000, not: 1001"),
    ],
)
def test_impossible_numbers_are_refused_with_what_is_possible(
    sessions: int, tenants: int, brokers: int, message: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        plan_simulation(1, sessions, END, tenants=tenants, brokers=brokers)

    assert str(refusal.value) == message


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused_with_what_is_possible(speed: float) -> None:
    plan = plan_simulation(1, 5, END)

    with pytest.raises(UsageError, match="the speed is a number above 0, not: "):
        timeline(plan, END, speed)


class Stage:
    """A clock that only moves by sleeping, and what was published when."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.naps: list[float] = []
        self.batches: list[tuple[datetime, list[bytes]]] = []

    def clock(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += timedelta(seconds=seconds)

    async def publish(self, values: Sequence[bytes]) -> int:
        self.batches.append((self.now, list(values)))
        return len(values)


async def test_playing_publishes_each_event_when_its_time_has_come() -> None:
    plan, stage = plan_simulation(7, 200, END), Stage()
    began = stage.now
    run = list(islice(timeline(plan, END, 500.0), 3000))

    published = await play(run, 500.0, stage.clock, stage.sleep, stage.publish)

    assert published == len(run)
    assert [value for _, batch in stage.batches for value in batch] == [encode(event) for event in run]
    for now, batch in stage.batches:
        for value in batch:
            due = (decode(value).time - run[0].time) / 500.0
            assert timedelta(milliseconds=-20) < (now - began) - due < timedelta(milliseconds=100)
    assert len(stage.batches) > 50


async def test_without_a_speed_everything_is_published_at_once_in_full_batches() -> None:
    plan, stage = plan_simulation(7, 1500, END), Stage()

    published = await play(timeline(plan, END, None), None, stage.clock, stage.sleep, stage.publish)

    assert stage.naps == []
    assert published == sum(len(batch) for _, batch in stage.batches) > 2500
    assert {len(batch) for _, batch in stage.batches[:-1]} == {BATCH_EVENTS_MAX}


async def test_a_batch_holds_no_more_bytes_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, stage = plan_simulation(7, 300, END), Stage()
    assert BATCH_BYTES_MAX == 4 * 1024 * 1024
    monkeypatch.setattr("sojourn.events.simulator.play.BATCH_BYTES_MAX", 5000)

    published = await play(timeline(plan, END, None), None, stage.clock, stage.sleep, stage.publish)

    assert published == sum(len(batch) for _, batch in stage.batches) > 300
    assert max(sum(map(len, batch)) for _, batch in stage.batches if len(batch) > 1) <= 5000
    assert max(len(batch) for _, batch in stage.batches) > 3
