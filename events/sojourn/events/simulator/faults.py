"""What goes wrong between brokers and the log: a wrapper over the events of a simulation."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from sojourn.events.simulator.plan import milliseconds
from sojourn.events.simulator.world import HOUR, MINUTE, SECOND, drawing
from sojourn.events.types import Destroyed, Established, Event, Heartbeats

HUSH_MIN: Final = 2 * MINUTE  # more than the time-out, so that a hush shows
HUSH_MAX: Final = 90 * MINUTE  # more than the grace period, in which a session may end as well
DELAY_MAX: Final = 70 * SECOND  # two beats and a bit: less than the time-out of three


class Outage(Struct, frozen=True):
    """A broker is away; with a spool it tells afterwards what it would have told of sessions meanwhile."""

    source: str
    start: datetime
    stop: datetime
    spooled: bool = False


class Faults(Struct, frozen=True):
    """How often what goes wrong; shares are of single things, drawn by `seed`.

    A session is hushed when its beats are lost for minutes, though it and its broker live; `hushed_share` is of the
    hours of sessions. `skews` are added to the clocks of brokers.
    """

    seed: str
    missing_end_share: float = 0.0
    dropped_beat_share: float = 0.0
    delayed_share: float = 0.0
    hushed_share: float = 0.0
    skews: Mapping[str, timedelta] = {}
    outages: tuple[Outage, ...] = ()


class Delivery(NamedTuple):
    """An event as it reaches the log at a moment, in milliseconds since 1970."""

    moment: int
    event: Event


def deliveries(events: Iterable[Event], faults: Faults) -> Iterator[Delivery]:
    """Yield what reaches the log of events that come in the order of their times, in the order in which it does."""
    draw = drawing(faults.seed, "faults")
    numbers = count()
    waiting: list[tuple[int, int, Event]] = []
    for event in events:
        moment = milliseconds(event.time)
        while waiting and waiting[0][0] <= moment:
            at, _, late = heapq.heappop(waiting)
            yield Delivery(at, late)
        arrival = _arrival(event, moment, faults)
        passed = None if arrival is None else _passed(event, moment, faults)
        if passed is None or arrival is None:
            continue
        if isinstance(event, Heartbeats | Established | Destroyed) and draw.random() < faults.delayed_share:
            arrival += int(draw.random() * DELAY_MAX)
        skew = faults.skews.get(event.source)
        heapq.heappush(waiting, (arrival, next(numbers), passed if skew is None else _skewed(passed, skew)))
    while waiting:
        at, _, late = heapq.heappop(waiting)
        yield Delivery(at, late)


def _arrival(event: Event, moment: int, faults: Faults) -> int | None:
    """Return when the broker can tell this, or None where it never does."""
    for outage in faults.outages:
        if outage.source == event.source and milliseconds(outage.start) <= moment < milliseconds(outage.stop):
            is_spooled = outage.spooled and isinstance(event, Established | Destroyed)
            return milliseconds(outage.stop) if is_spooled else None
    return moment


def _passed(event: Event, moment: int, faults: Faults) -> Event | None:
    """Return what is left of an event, or None where it is lost."""
    if isinstance(event, Destroyed):
        draw = drawing(faults.seed, "end", event.tenant, event.subject)
        return None if draw.random() < faults.missing_end_share else event
    if not isinstance(event, Heartbeats):
        return event
    draw = drawing(faults.seed, "drop", event.source, event.tenant, moment)
    kept = [
        session
        for session in event.data.sessions
        if draw.random() >= faults.dropped_beat_share
        and not _is_hushed(faults.seed, faults.hushed_share, session, moment)
    ]
    if not kept:
        return None
    if len(kept) == len(event.data.sessions):
        return event
    stays = set(kept)
    details = {session: detail for session, detail in event.data.details.items() if session in stays}
    return replace(event, data=replace(event.data, sessions=kept, details=details))


def _is_hushed(seed: str, share: float, session: str, moment: int) -> bool:
    """Tell whether the session's beats are lost now: a hush may have begun in the hour before."""
    hour = moment // HOUR
    return any(start <= moment < stop for start, stop in (_hush(seed, share, session, hour - back) for back in (0, 1)))


@lru_cache(maxsize=100_000)  # the hours of the sessions that are open now
def _hush(seed: str, share: float, session: str, hour: int) -> tuple[int, int]:
    draw = drawing(seed, "hush", session, hour)
    if draw.random() >= share:
        return 0, 0
    start = hour * HOUR + int(draw.random() * HOUR)
    return start, start + HUSH_MIN + int(draw.random() * (HUSH_MAX - HUSH_MIN))


def _skewed(event: Event, skew: timedelta) -> Event:
    return replace(event, time=event.time + skew)
