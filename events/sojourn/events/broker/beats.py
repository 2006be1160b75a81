"""Heartbeats: sent or dropped, never kept, since a late one proves nothing."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import structlog

from sojourn.events.broker.backoff import Backoff, trace_of
from sojourn.events.broker.transport import Transport
from sojourn.events.broker.validation import checked
from sojourn.events.errors import UsageError
from sojourn.events.fields import CommandKind
from sojourn.events.types import Alive, AliveData, Event, Heartbeat, HeartbeatData, Heartbeats, HeartbeatsData

WAIT_SECONDS_MAX: Final = 5.0  # a beat that the log took later would tell that the session was alive then
SENDING_MAX: Final = 100  # single beats under way; a log that takes so long loses the others
SESSIONS_MAX: Final = 5000  # of one event: half of what the contract takes
IDS_CHARACTERS_MAX: Final = 100_000  # of one event: about a tenth of a record at most, whatever the ids hold

Sessions = Callable[[], Iterable[tuple[str, str]]]

_logger: Final = structlog.get_logger()


class Beats:
    """Sends beats of one broker, and counts by session what became of them."""

    def __init__(self, source: str, transport: Transport, kinds: Sequence[CommandKind]) -> None:
        self._source, self._transport, self._kinds = source, transport, list(kinds)
        self._backoff = Backoff("heartbeats")
        self._sending = 0
        self.sent = 0
        self.dropped = 0

    async def beat(self, tenant: str, session_id: str, data: HeartbeatData | None) -> None:
        """Send one beat, or drop it."""
        value = checked(
            Heartbeat(
                specversion="1.0",
                id=str(uuid4()),
                source=self._source,
                time=datetime.now(UTC),
                tenant=tenant,
                subject=session_id,
                data=data,
            )
        )
        if self._sending >= SENDING_MAX:
            self.dropped += 1
            return
        self._sending += 1
        try:
            await self._send([value], 1)
        finally:
            self._sending -= 1

    async def keep(self, sessions: Sessions, every_seconds: float) -> None:
        """Beat for all sessions each time, until cancelled."""
        due = time.monotonic()
        while True:
            try:
                await self._beat_all(list(sessions()), every_seconds)
            except Exception as error:  # noqa: BLE001 - a caller's mistake must not stop the beats for good
                _logger.error("heartbeats_failed", reason=str(error), **trace_of(error))  # noqa: TRY400
            due = max(due + every_seconds, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _beat_all(self, sessions: list[tuple[str, str]], every_seconds: float) -> None:
        """Send the beats, and only when all went that the broker is alive: else its sessions would seem to be gone."""
        by_tenant: dict[str, list[str]] = {}
        for tenant, session_id in sessions:
            by_tenant.setdefault(tenant, []).append(session_id)
        all_went = True
        for tenant, session_ids in by_tenant.items():
            for some in _shares(session_ids):
                value, count = self._batch(tenant, some)
                if value is not None and all_went:
                    all_went = await self._send([value], count)
                elif value is not None:
                    self.dropped += count  # the log was away a moment ago
        if all_went:
            interval = max(1, math.ceil(every_seconds))
            data = AliveData(len(sessions), interval, self._kinds)
            alive = Alive(specversion="1.0", id=str(uuid4()), source=self._source, time=datetime.now(UTC), data=data)
            await self._send([checked(alive)], 0)

    def _batch(self, tenant: str, session_ids: list[str]) -> tuple[bytes | None, int]:
        """Return one event for all, but those sessions that the contract refuses."""
        try:
            return checked(self._of(tenant, session_ids)), len(session_ids)
        except UsageError as error:
            if len(session_ids) == 1:
                _logger.error("heartbeat_refused", tenant=tenant, session_id=session_ids[0], reason=str(error))  # noqa: TRY400
                self.dropped += 1
                return None, 0
        fitting = [session_id for session_id in session_ids if self._batch(tenant, [session_id])[0] is not None]
        return (checked(self._of(tenant, fitting)), len(fitting)) if fitting else (None, 0)

    def _of(self, tenant: str, session_ids: list[str]) -> Event:
        return Heartbeats(
            specversion="1.0",
            id=str(uuid4()),
            source=self._source,
            time=datetime.now(UTC),
            tenant=tenant,
            data=HeartbeatsData(session_ids),
        )

    async def _send(self, values: list[bytes], sessions: int) -> bool:
        """Tell whether the other side was there."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                rejections = await self._transport.publish(values)
        except Exception as error:  # noqa: BLE001 - whatever keeps a beat from the log, the next one is tried
            self._backoff.failed(error)
            self.dropped += sessions
            return False
        self._backoff.worked()
        for rejection in rejections:
            _logger.error("heartbeat_rejected", reason=rejection.reason, detail=rejection.detail)
        self.dropped += sessions if rejections else 0
        self.sent += 0 if rejections else sessions
        return True


def _shares(session_ids: list[str]) -> Iterator[list[str]]:
    share, characters = list[str](), 0
    for session_id in session_ids:
        if len(share) == SESSIONS_MAX or (share and characters + len(session_id) > IDS_CHARACTERS_MAX):
            yield share
            share, characters = [], 0
        share.append(session_id)
        characters += len(session_id)
    if share:
        yield share
