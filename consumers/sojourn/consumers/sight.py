"""What all keepers of a process see of their surroundings, twice a second: where the log ends, what waits to go out."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog

from sojourn.consumers.writers import Writer
from sojourn.events.log import Log
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.broker_store import misrouting
from sojourn.projections.outbox import waiting_partitions

SIGHT_SECONDS: Final = 0.5  # of the two seconds within which a loss is told
LOST_SECONDS: Final = 5.0  # without a look; brokers may not have reached the log either, or this process was frozen
MISROUTED_FOR: Final = timedelta(days=1)  # a broker that did it lately may do it still
CLOCK_WINDOW: Final = timedelta(seconds=30)  # the quickest record of so long tells the clocks' difference
LEAP: Final = timedelta(seconds=5)  # no delay of records, but a clock that was set

_log = structlog.get_logger("sojourn.sight")


class Seen(NamedTuple):
    """Where both topics ended at `asked_at`, or later, by the log's clock; which partitions have rows in the outbox."""

    asked_at: datetime
    ends: Mapping[str, Mapping[int, int]]
    waiting: frozenset[int]
    misrouting: frozenset[str]


class Sight:
    """Looks at the log and the outbox for all keepers, and knows how the log's clock stands to this machine's."""

    def __init__(self, log: Log, writer: Writer) -> None:
        self._log, self._writer = log, writer
        self.seen: Seen | None = None
        self.clear_since = _clock()
        self._behind = timedelta()
        self._window_at: datetime | None = None

    def now(self) -> datetime:
        """Return the time by the log's clock, as far as it is known."""
        return _clock() - self._behind

    def observe(self, appended_at: datetime) -> None:
        """Note a record that was appended a moment ago: the log's clock then showed `appended_at`."""
        now = _clock()
        behind = now - appended_at
        if self._window_at is None or abs(now - self._window_at) > CLOCK_WINDOW or behind < self._behind:
            leap = abs(behind - self._behind)
            self._window_at, self._behind = now, behind
            if leap > LEAP:  # nobody is late by that
                self.clear_since = self.now()

    async def watch(self) -> None:
        """Look again and again, until cancelled.

        `clear_since` tells since when nothing was in the way; before that, brokers may not have reached the log either.
        """
        looked_at = _clock()
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody is judged meanwhile, and it looks again
                self.clear_since = self.now()
                _log.debug("sight.lost", error=str(error))
            now = _clock()
            if (now - looked_at).total_seconds() > LOST_SECONDS:
                self.clear_since = self.now()
            looked_at = now
            await asyncio.sleep(SIGHT_SECONDS)

    async def _look(self) -> None:
        now = self.now()
        ends = {topic: await self._log.end_offsets(topic) for topic in (LIFECYCLE, HEARTBEATS)}
        async with self._writer.use() as connection:
            waiting = await waiting_partitions(connection)
            sources = await misrouting(connection, now - MISROUTED_FOR)
        self.seen = Seen(now, ends, frozenset(waiting), frozenset(sources))


def _clock() -> datetime:
    return datetime.now(UTC)
