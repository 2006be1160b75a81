"""Appending to the log what the outbox of one partition holds: decisions, operators' requests, commands to brokers."""

import time
from datetime import datetime
from typing import Final

import structlog

from sojourn.consumers.killpoints import reach
from sojourn.consumers.liveness import Liveness
from sojourn.consumers.sweep import Sweep
from sojourn.consumers.writers import Writer
from sojourn.events.codec import Undecodable, decode
from sojourn.events.log import Append, Log
from sojourn.events.modes import STRUCTURED_HEADERS
from sojourn.events.topics import COMMANDS, LIFECYCLE
from sojourn.events.types import DisconnectRequested, Lost, LostEnded
from sojourn.projections.outbox import ANY_EPOCH, Waiting, delete_outbox, load_outbox
from sojourn.projections.store import Owned

ROWS_MAX: Final = 1000  # half a megabyte
CHECKED_SECONDS_MAX: Final = (
    2.0  # between the check of the epoch and the append; what was frozen for longer checks again
)

_log = structlog.get_logger("sojourn.relay")


class Relay:
    """Appends for one partition, in the order of the outbox.

    1. Read the oldest rows, in a transaction that checks the epoch: a zombie gets no further.
    2. Leave out what does not hold any more: decisions of an earlier owner (this one decides itself), a `lost` whose
       session was heard of since, a command that has expired.
    3. Append. A crash before the next step appends the same again: the ids are the same, so the fold counts it once.
    4. Delete the rows, if the epoch still owns the partition.
    """

    def __init__(self, writer: Writer, owned: Owned, liveness: Liveness, sweep: Sweep) -> None:
        self._writer, self._owned, self._liveness, self._sweep = writer, owned, liveness, sweep
        self.is_due = True  # an earlier owner may have left something

    async def run(self, log: Log, now: datetime) -> None:
        """Append until nothing waits; raises `Fenced`, `Unreachable`."""
        while True:
            async with self._writer.use() as connection:
                rows = await load_outbox(connection, self._owned, ROWS_MAX)
            checked_at = time.monotonic()
            self.is_due = False
            if not rows:
                return
            reach("relay.checked")
            appends = [await self._append(log, row) for row in rows if self._holds(row, now)]
            if time.monotonic() - checked_at > CHECKED_SECONDS_MAX:
                continue
            if appends:
                await log.append(appends)
                reach("relay.appended")
            async with self._writer.use() as connection:
                await delete_outbox(connection, self._owned, [row.outbox_id for row in rows])
            reach("relay.deleted")

    def _holds(self, row: Waiting, now: datetime) -> bool:
        try:
            event = decode(row.value)
        except Undecodable as error:
            _log.error("outbox.refused", row=row.outbox_id, error=str(error))
            return False
        if row.topic == COMMANDS:
            assert isinstance(event, DisconnectRequested)
            if event.data.expires_at <= now:
                _log.warning("command.expired", tenant=event.tenant, command=event.data.command)
                return False
            return True
        if row.epoch not in {ANY_EPOCH, self._owned.epoch}:
            return False
        if isinstance(event, Lost | LostEnded):
            seen_at = self._liveness.last_seen((event.tenant, event.subject))
            before = event.data.last_seen_at if isinstance(event, Lost) else event.data.ended_after
            if seen_at is not None and seen_at > before:
                self._sweep.dropped(event)
                return False
        return True

    async def _append(self, log: Log, row: Waiting) -> Append:
        partition = self._owned.partition
        if row.topic != LIFECYCLE:
            partition %= await log.partitions(row.topic)
        return Append(row.topic, partition, row.key, row.value, STRUCTURED_HEADERS)
