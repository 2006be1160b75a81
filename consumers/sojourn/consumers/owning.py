"""Becoming the owner of a partition: the epoch, the positions, the check that the log is the same, the liveness."""

from datetime import datetime, timedelta
from typing import Protocol

from sojourn.consumers.commands import Deadlines
from sojourn.consumers.gaps import find_gap
from sojourn.consumers.killpoints import reach
from sojourn.consumers.liveness import Liveness
from sojourn.consumers.partition import Partition
from sojourn.consumers.signs import Signs
from sojourn.consumers.sweep import Sweep
from sojourn.consumers.writers import Writer
from sojourn.events.errors import SojournError
from sojourn.events.log import Log
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.broker_store import load_brokers
from sojourn.projections.command_store import load_pending
from sojourn.projections.letters import load_parked
from sojourn.projections.pages import load_liveness
from sojourn.projections.store import acquire, load_decided


class LogChanged(SojournError):
    """the log is not the one that was applied before"""


class Hold(Protocol):
    """Holds a partition number while this process lives, so that others see it; may raise `OwnedElsewhere`."""

    async def __call__(self, number: int) -> None:
        """Hold it; holding it already is fine."""


async def own(writer: Writer, log: Log, number: int, owner: str, count: int, since: datetime) -> Partition:
    """Raise the epoch of a partition, of `count`, and load what is needed to go on from its positions.

    `since` is the time now, by the log's clock.

    Raises `LogChanged`, which says exactly what is lost, when the log and what was applied of it part.
    """
    starts = {topic: (await log.start_offsets(topic))[number] for topic in (LIFECYCLE, HEARTBEATS)}
    async with writer.use() as connection:
        owned = await acquire(connection, number, owner, starts)
        reach("partition.acquired")
        gap = await find_gap(log, connection, number, owned.positions[LIFECYCLE])
        if gap is not None:
            raise LogChanged(f"{gap.detail}; see `sojourn log accept-gap {number} --dry-run`")
        sessions, pages = await load_liveness(connection, number)
        decided = await load_decided(connection, number)
        signs = Signs(await load_brokers(connection, number))
        deadlines = Deadlines(await load_pending(connection, number))
        queued = await load_parked(connection, number)
    liveness = Liveness({session.key: session.slot for session in sessions}, pages)
    sweep = Sweep(number, liveness, signs, since, decided)
    for key, slot, broker, alive_at, loss in sessions:
        if loss is not None and loss.over:  # it was heard of after that, though the page may not have been written
            alive_at = max(alive_at, loss.last_seen_at + timedelta(seconds=1))  # noqa: PLW2901 - the better one
        liveness.arm(sweep.opened(key, slot, broker, alive_at, loss))
    partition = Partition(writer, owned, liveness, signs, sweep, deadlines, decided, count)
    partition.queued = queued
    return partition
