"""The simulator is a pure function of its seed, and its truth is what its events say."""

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from sojourn.events.codec import decode, encode
from sojourn.events.simulator.day import OVERTIME, Session, day_sessions
from sojourn.events.simulator.plan import Plan, instant_at, milliseconds, plan_simulation
from sojourn.events.simulator.play import timeline
from sojourn.events.simulator.stream import Beats, events
from sojourn.events.simulator.truth import truth_lines
from sojourn.events.simulator.world import DAY, DAY_BEGINS, build_world
from sojourn.events.types import Destroyed, Established, Event, Heartbeats

seeds = st.integers(min_value=0, max_value=2**63)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- Hypothesis adds the zone
INTERNAL = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "fd00::/8")))


@st.composite
def simulations(draw: st.DrawFn) -> tuple[Plan, int, datetime]:
    sessions, end = draw(st.integers(1, 300)), draw(instants)
    tenants, brokers = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    return plan_simulation(draw(seeds), sessions, end, tenants=tenants, brokers=brokers), sessions, end


def published(plan: Plan, end: datetime) -> list[bytes]:
    return [encode(event) for event in timeline(plan, end, None)]


def truths(plan: Plan, end: datetime) -> list[dict[str, Any]]:
    return [json.loads(line) for line in truth_lines(plan, end)]


def lifecycle(run: Iterable[Event]) -> list[bytes]:
    return [encode(event) for event in run if isinstance(event, Established | Destroyed)]


def milli(text: str) -> str:
    """Return an RFC 3339 instant with three digits, and nothing behind them."""
    instant = datetime.fromisoformat(text)
    assert instant.microsecond % 1000 == 0
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def folded(values: Iterable[bytes]) -> dict[tuple[str, str], dict[str, Any]]:
    """Fold lifecycle events as a tracker must, in a few lines that share nothing with one."""
    sessions: dict[tuple[str, str], dict[str, Any]] = {}
    for event in map(json.loads, values):
        kind, data, key = event["type"].split(".")[-2], event["data"], (event.get("tenant"), event.get("subject"))
        if kind == "established":
            address = ipaddress.ip_address(data["client_ip"])
            derived = "internal" if any(address in network for network in INTERNAL) else "public"
            people = {f"{what}_{name}": data[what][name] for what in ("user", "desktop") for name in ("id", "name")}
            sessions[key] = {
                **people,
                "terminal_type": data["terminal"]["type"],
                "access": data.get("access", derived),
                "client_ip": str(address),
                "broker": event["source"],
                "login_at": milli(event["time"]),
                "state": "active",
            }
        elif kind == "destroyed":
            ended = {"state": "ended", "reason": data["reason"], "logout_at": milli(event["time"])}
            sessions[key] = sessions[key] | ended
    return sessions


@given(seed=seeds, sessions=st.integers(1, 300), end=instants)
def test_the_same_seed_and_end_give_the_same_bytes(seed: int, sessions: int, end: datetime) -> None:
    one, other = (plan_simulation(seed, sessions, end) for _ in range(2))

    assert published(one, end) == published(other, end)
    assert list(truth_lines(one, end)) == list(truth_lines(other, end))


@given(simulations())
def test_exactly_as_many_sessions_as_asked_for_begin_before_the_end(simulation: tuple[Plan, int, datetime]) -> None:
    plan, sessions, end = simulation

    begun = [event for event in timeline(plan, end, None) if isinstance(event, Established)]

    assert len(begun) == sessions == len({(event.tenant, event.subject) for event in begun})
    assert all(event.time < end for event in begun)


@given(simulations())
def test_every_event_decodes_to_itself_and_none_comes_before_its_time(simulation: tuple[Plan, int, datetime]) -> None:
    plan, _, end = simulation

    run = list(timeline(plan, end, None))

    assert [decode(encode(event)) for event in run] == run
    assert all(one.time <= other.time for one, other in pairwise(run))
    assert len({(event.source, event.id) for event in run}) == len(run)


@given(simulations())
def test_each_session_begins_before_it_ends_and_its_sequence_rises(simulation: tuple[Plan, int, datetime]) -> None:
    plan, _, end = simulation
    sessions = defaultdict(list)

    for event in timeline(plan, end, None):
        if isinstance(event, Established | Destroyed):
            sessions[event.tenant, event.subject].append(event)

    for own in sessions.values():
        assert [type(event) for event in own] in ([Established], [Established, Destroyed])
        assert all(one.time < other.time for one, other in pairwise(own))
        assert all(int(one.sequence or 0) < int(other.sequence or 0) for one, other in pairwise(own))
        assert len({event.source for event in own}) == 1


@given(simulations())
def test_the_truth_is_what_the_events_say_to_an_independent_fold(simulation: tuple[Plan, int, datetime]) -> None:
    plan, _, end = simulation

    told, truth = folded(published(plan, end)), truths(plan, end)

    assert [(line["tenant"], line["session_id"]) for line in truth] == list(told)
    for line in truth:
        session = told[line["tenant"], line["session_id"]]
        assert session.items() <= line.items()
        assert line["end_published"] == (session["state"] == "ended")
        if line["logout_at"] is None:
            assert (line["reason"], line["outcome"], line["online_seconds"]) == (None, None, None)
        else:
            online = datetime.fromisoformat(line["logout_at"]) - datetime.fromisoformat(line["login_at"])
            assert line["online_seconds"] == online / timedelta(seconds=1)
            assert datetime.fromisoformat(line["logout_at"]) < end
            assert (line["outcome"] == "normal") == (line["reason"] in {"logoff", "idle_timeout", "admin_disconnect"})


@given(simulations(), st.integers(1, 48 * 3600))
def test_a_session_is_told_the_same_by_a_simulation_that_ends_later(
    simulation: tuple[Plan, int, datetime], seconds: int
) -> None:
    plan, _, end = simulation

    earlier = lifecycle(timeline(plan, end, None))
    later = lifecycle(timeline(plan, end + timedelta(seconds=seconds), None))

    assert later[: len(earlier)] == earlier


@given(simulations())
def test_nobody_is_connected_twice_to_one_desktop(simulation: tuple[Plan, int, datetime]) -> None:
    plan, _, end = simulation
    until = milliseconds(end)
    times = defaultdict(list)

    for session in plan.sessions(plan.begin[0]):
        if session.login >= until:
            break
        times[session.tenant, session.seat.desktop.id].append((session.login, session.logout))

    for own in times.values():
        assert all(one[1] < other[0] for one, other in pairwise(sorted(own)))


@given(simulations())
def test_whoever_comes_back_names_the_session_that_was_cut(simulation: tuple[Plan, int, datetime]) -> None:
    plan, _, end = simulation
    until = milliseconds(end)
    seen: dict[str, Session] = {}

    for session in plan.sessions(plan.begin[0]):
        if session.login >= until:
            break
        seen[session.id] = session
        if session.predecessor in seen:
            cut = seen[session.predecessor]
            assert cut.reason in {"network", "error", "broker_shutdown"}
            assert (cut.person, cut.seat, cut.device) == (session.person, session.seat, session.device)
            assert cut.logout < session.login


@given(simulations())
def test_heartbeats_name_exactly_the_sessions_that_are_really_open(simulation: tuple[Plan, int, datetime]) -> None:
    plan, _, end = simulation
    truth = truths(plan, end + timedelta(days=2))

    beats = [event for event in timeline(plan, end, None) if isinstance(event, Heartbeats)]

    for beat in beats:
        at = milli(beat.time.isoformat())
        alive = {
            line["session_id"]
            for line in truth
            if (line["broker"], line["tenant"]) == (beat.source, beat.tenant)
            and line["login_at"] <= at
            and (line["logout_at"] is None or line["logout_at"] > at)
        }
        assert set(beat.data.sessions) == alive
        assert set(beat.data.details) <= alive


@given(seed=seeds, day=st.integers(18_000, 24_000), tenants=st.integers(1, 12))
def test_a_companys_sessions_begin_within_its_day_and_end_soon_after_it(seed: int, day: int, tenants: int) -> None:
    world = build_world(seed, 60, tenants, 3)

    for tenant in world.tenants:
        begins = day * DAY + DAY_BEGINS - tenant.offset
        for session in day_sessions(world, tenant, day):
            assert begins <= session.login < begins + DAY
            assert session.login < session.logout < begins + DAY + OVERTIME


@given(
    seed=seeds,
    since=instants,
    spans=st.tuples(*[st.integers(0, 40 * 3600)] * 2),
    beats_hours=st.floats(-1, 60),
)
def test_a_run_that_is_stopped_and_goes_on_equals_one_that_was_not(
    seed: int, since: datetime, spans: tuple[int, int], beats_hours: float
) -> None:
    plan = Plan(build_world(seed, 40, 3, 4), (milliseconds(since - timedelta(days=2)), ""))
    middle = since + timedelta(seconds=spans[0])
    until = middle + timedelta(seconds=spans[1])
    beats = Beats(max(since + timedelta(hours=beats_hours), until - timedelta(minutes=10)))

    whole = [encode(event) for event in events(plan, since, until, beats)]
    before = [encode(event) for event in events(plan, since, middle, beats)]
    after = [encode(event) for event in events(plan, middle, until, beats)]

    assert before + after == whole


@given(simulations(), st.floats(0.5, 5000))
def test_playing_at_a_speed_publishes_the_same_lifecycle(simulation: tuple[Plan, int, datetime], speed: float) -> None:
    plan, sessions, end = simulation
    assume(sessions * speed > 1000)  # else there are more heartbeats than a test has time for

    begin = instant_at(plan.begin[0])
    played = lifecycle(events(plan, begin, end, Beats(end - timedelta(hours=1), speed)))

    assert played == lifecycle(timeline(plan, end, None))
