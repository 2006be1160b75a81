"""From a plan to the events that its brokers publish, in the order of time and a day at most in memory."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from operator import itemgetter
from typing import Final, NamedTuple

from sojourn.events.fields import SESSIONS_PER_BATCH_MAX
from sojourn.events.simulator.day import Session
from sojourn.events.simulator.plan import Plan, instant_at, milliseconds
from sojourn.events.simulator.world import MINUTE, RESTART_DOWN, SECOND, World, drawing, next_restart
from sojourn.events.types import (
    Alive,
    AliveData,
    Destroyed,
    DestroyedData,
    Established,
    EstablishedData,
    Event,
    HeartbeatData,
    Heartbeats,
    HeartbeatsData,
)

HEARTBEAT_EVERY: Final = 30 * SECOND
ALIVE_EVERY: Final = 10 * SECOND
BACKFILL_BEATS: Final = 2 * MINUTE  # of heartbeats suffice to show who is alive; those of days would be millions
DETAIL_SHARE: Final = 0.08  # of sessions of which a batch tells more than that they are alive
ROUND_TRIP_MS_MAX: Final = 180  # across the world and back

Live = dict[tuple[str, str], dict[str, Session]]  # the open sessions of each broker and tenant


class Beats(NamedTuple):
    """From when on brokers send heartbeats, and how many times faster than real time that timeline is played.

    Heartbeats keep their pace in real time, since liveness is judged by the log's clock.
    """

    since: datetime
    speed: float = 1.0


class Happening(NamedTuple):
    """What happens at a moment: the event, unless nobody publishes it, and the session that begins or ends."""

    moment: int
    event: Event | None
    session: Session | None


def events(plan: Plan, since: datetime, until: datetime | None, beats: Beats) -> Iterator[Event]:
    """Yield the events from `since` on and before `until` in the order of their times; None is for ever."""
    return (happening.event for happening in happenings(plan, since, until, beats) if happening.event is not None)


def happenings(plan: Plan, since: datetime, until: datetime | None, beats: Beats) -> Iterator[Happening]:
    """Yield what `events` yields, and beside it which sessions begin and end."""
    first, end = milliseconds(since), None if until is None else milliseconds(until)
    live: Live = defaultdict(dict)
    streams = [_turns(plan, first), _ticks(beats, first, HEARTBEAT_EVERY), _ticks(beats, first, ALIVE_EVERY)]
    for moment, what in heapq.merge(*streams, key=itemgetter(0)):
        if end is not None and moment >= end:
            return
        if isinstance(what, Session):
            _turn(live, moment, what)
            if moment >= first:
                yield Happening(moment, _lifecycle_event(what, moment), what)
        elif what == HEARTBEAT_EVERY:
            for event in _heartbeats(plan.world, live, moment):
                yield Happening(moment, event, None)
        else:
            for event in _alive(plan.world, live, moment):
                yield Happening(moment, event, None)


Step = tuple[int, Session | int]  # a moment, and who begins or ends then, or which interval is over


def _turns(plan: Plan, first: int) -> Iterator[Step]:
    """Yield each session when it begins and when it ends, from those on that are open at the first moment."""
    ends: list[tuple[int, str, Session]] = []
    for session in plan.sessions(first):
        if session.logout < first:
            continue
        while ends and ends[0][0] <= session.login:
            moment, _, ended = heapq.heappop(ends)
            yield moment, ended
        yield session.login, session
        heapq.heappush(ends, (session.logout, session.id, session))


def _ticks(beats: Beats, first: int, every: int) -> Iterator[Step]:
    step = max(1, round(every * beats.speed))
    start = max(first, milliseconds(beats.since))
    return ((moment, every) for moment in count(-(-start // step) * step, step))


def _turn(live: Live, moment: int, session: Session) -> None:
    place = session.seat.broker, session.tenant
    if moment == session.login:
        live[place][session.id] = session
    else:
        del live[place][session.id]


def _lifecycle_event(session: Session, moment: int) -> Event | None:
    if moment == session.login:
        return Established(
            specversion="1.0",
            id=f"{session.id}-1",
            source=session.seat.broker,
            time=instant_at(moment),
            subject=session.id,
            tenant=session.tenant,
            sequence="1",
            sequencetype="Integer",
            datacontenttype="application/json",
            data=EstablishedData(
                user=session.person.user,
                desktop=session.seat.desktop,
                terminal=session.device.terminal,
                client_ip=session.client_ip,
                protocol=session.device.protocol,
                access=session.device.access if session.access_told else None,
                predecessor=session.predecessor,
            ),
        )
    if not session.end_published:
        return None
    return Destroyed(
        specversion="1.0",
        id=f"{session.id}-2",
        source=session.seat.broker,
        time=instant_at(moment),
        subject=session.id,
        tenant=session.tenant,
        sequence="2",
        sequencetype="Integer",
        datacontenttype="application/json",
        data=DestroyedData(reason=session.reason, detail=session.detail),
    )


def _heartbeats(world: World, live: Live, moment: int) -> Iterator[Event]:
    for broker in world.brokers:
        for tenant in world.tenants:
            sessions = list(live[broker, tenant.name].values())
            draw = drawing(world.root, "beat", broker, tenant.name, moment)
            for start in range(0, len(sessions), SESSIONS_PER_BATCH_MAX):
                part = sessions[start : start + SESSIONS_PER_BATCH_MAX]
                details = {}
                for session in part:
                    roamed = session.roamed[1] if session.roamed and session.roamed[0] <= moment else None
                    if draw.random() < DETAIL_SHARE:
                        idle, trip = draw.random() ** 3 * 1200, 2 + draw.random() ** 2 * ROUND_TRIP_MS_MAX
                        details[session.id] = HeartbeatData(int(idle), int(trip), roamed)
                    elif roamed:
                        details[session.id] = HeartbeatData(client_ip=roamed)
                yield Heartbeats(
                    specversion="1.0",
                    id=f"{broker.rpartition('/')[2]}-{tenant.name}-beats-{moment}-{start}",
                    source=broker,
                    time=instant_at(moment),
                    tenant=tenant.name,
                    datacontenttype="application/json",
                    data=HeartbeatsData([session.id for session in part], details),
                )


def _alive(world: World, live: Live, moment: int) -> Iterator[Event]:
    for broker in world.brokers:
        restart = next_restart(world.root, broker, moment)
        if restart <= moment < restart + RESTART_DOWN:
            continue
        sessions = sum(len(live[broker, tenant.name]) for tenant in world.tenants)
        yield Alive(
            specversion="1.0",
            id=f"{broker.rpartition('/')[2]}-alive-{moment}",
            source=broker,
            time=instant_at(moment),
            datacontenttype="application/json",
            data=AliveData(sessions=sessions, interval_seconds=ALIVE_EVERY // SECOND),
        )
