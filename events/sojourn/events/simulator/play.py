"""Publishing a simulation: all at once, or as its time goes by."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import Final

from sojourn.events.codec import encode
from sojourn.events.errors import UsageError
from sojourn.events.simulator.plan import Plan, instant_at
from sojourn.events.simulator.stream import BACKFILL_BEATS, Beats, events
from sojourn.events.types import Event

BATCH_EVENTS_MAX: Final = 1000  # one acknowledgement for them all costs little then
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024  # heartbeats of ten thousand sessions have half a megabyte each
WAIT_SECONDS_MIN: Final = 0.02  # shorter ones would only make the batches small

Clock = Callable[[], datetime]
Sleep = Callable[[float], Awaitable[None]]
Publish = Callable[[Sequence[bytes]], Awaitable[int]]


def timeline(plan: Plan, end: datetime, speed: float | None) -> Iterator[Event]:
    """Yield the events of a plan before `end`; heartbeats all along if it is played, else of the last two minutes."""
    if speed is not None and not 0 < speed < inf:
        raise UsageError(f"the speed is a number above 0, not: {speed}")
    begin = instant_at(plan.begin[0])
    if speed is None:
        return events(plan, begin, end, Beats(end - timedelta(milliseconds=BACKFILL_BEATS)))
    return events(plan, begin, end, Beats(begin, speed))


async def play(timeline: Iterable[Event], speed: float | None, clock: Clock, sleep: Sleep, publish: Publish) -> int:
    """Publish each event when `speed` times the time since the first has gone by, None for at once; return how many."""
    began, first = clock(), None
    batch: list[bytes] = []
    size = published = 0
    for event in timeline:
        first = first or event.time
        while speed is not None:
            wait = (event.time - first).total_seconds() / speed - (clock() - began).total_seconds()
            if wait < WAIT_SECONDS_MIN:
                break
            if batch:
                published += await publish(batch)
                batch, size = [], 0
            else:
                await sleep(wait)
        value = encode(event)
        if len(batch) == BATCH_EVENTS_MAX or size + len(value) > BATCH_BYTES_MAX:
            published += await publish(batch)
            batch, size = [], 0
        batch.append(value)
        size += len(value)
    return published + (await publish(batch) if batch else 0)
