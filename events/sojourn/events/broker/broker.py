"""The broker SDK: tell what happens to sessions, and hear what somebody wants done with them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import uuid4

from sojourn.events.broker.beats import Beats, Sessions
from sojourn.events.broker.commit import Committer
from sojourn.events.broker.drain import Drainer
from sojourn.events.broker.inbox import Answering, Command, Inbox
from sojourn.events.broker.memory import Memory, Spooled
from sojourn.events.broker.spool import Spool, SpoolDamaged, SpoolFull, SpoolTaken
from sojourn.events.broker.transport import Transport
from sojourn.events.broker.validation import checked
from sojourn.events.decision_data import DisconnectAcknowledgedData, DisconnectDeliveredData, DisconnectFailedData
from sojourn.events.errors import UsageError
from sojourn.events.fields import CommandKind, Reason
from sojourn.events.types import (
    Alive,
    CommandAnswer,
    Destroyed,
    DestroyedData,
    DisconnectAcknowledged,
    DisconnectDelivered,
    DisconnectFailed,
    DisconnectRequested,
    Established,
    EstablishedData,
    HeartbeatData,
)

__all__ = ["Broker", "Command", "Counts", "Sessions", "SpoolDamaged", "SpoolFull", "SpoolTaken"]

SPOOL_BYTES_MAX: Final = 256 * 1024 * 1024  # 400 thousand events: days of a broker without its log
EVERY_SECONDS: Final = 30.0  # the tracker's time-out is three of these, unless a tenant has another
CLOSE_SECONDS_MAX: Final = 5.0  # the log takes what is left in less, or it is away


class Counts(NamedTuple):
    """What became of events and beats since the broker was opened; `waiting` are the events still in the spool."""

    waiting: int
    acknowledged: int
    rejected: int
    beats_sent: int
    beats_dropped: int


class _Parts(NamedTuple):
    """What works while the broker is open."""

    threads: ThreadPoolExecutor
    spool: Spool
    committer: Committer
    drainer: Drainer
    beats: Beats
    inbox: Inbox
    draining: asyncio.Task[None]


class Broker:
    """One connection broker: `source` names it in its events, and `spool` is a folder that nobody else uses.

    `kinds` are the commands that it can carry out; any other is refused. Leaving the block waits some seconds for the
    log; what is spooled by then is sent when the spool is opened again.
    """

    def __init__(
        self,
        source: str,
        transport: Transport,
        *,
        spool: Path,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        kinds: Sequence[CommandKind] = ("disconnect",),
    ) -> None:
        checked(Alive(**_attributes(source, None)))
        self.source = source
        self._transport, self._kinds = transport, kinds
        self._folder, self._spool_bytes_max = spool, spool_bytes_max
        self._beating: asyncio.Task[None] | None = None
        self._opened: _Parts | None = None

    async def __aenter__(self) -> Self:
        threads = ThreadPoolExecutor(1, "sojourn-spool")
        try:
            self._opened = await self._open(threads)
        except BaseException:
            threads.shutdown()
            await self._transport.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        parts, self._opened = self._parts, None
        try:
            await _end(self._beating)
            await parts.inbox.close()
            await parts.committer.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await parts.drainer.drained()
        finally:
            await _end(parts.draining)
            await self._transport.close()
            await asyncio.get_running_loop().run_in_executor(parts.threads, parts.spool.close)
            parts.threads.shutdown()

    async def established(
        self, tenant: str, session_id: str, data: EstablishedData, *, at: datetime | None = None
    ) -> None:
        """Say that a session began, now or `at` a time; on the disk when it returns.

        Raises `UsageError` for what the contract refuses, and `SpoolFull` when there is no room: then it was not said.
        """
        await self._spool(Established(**_attributes(self.source, at), tenant=tenant, subject=session_id, data=data))

    async def destroyed(
        self,
        tenant: str,
        session_id: str,
        reason: Reason,
        *,
        detail: str | None = None,
        command: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Say that a session ended, and which command had asked for that; see `established`."""
        data = DestroyedData(reason, detail, command)
        await self._spool(Destroyed(**_attributes(self.source, at), tenant=tenant, subject=session_id, data=data))

    async def heartbeat(self, tenant: str, session_id: str, data: HeartbeatData | None = None) -> None:
        """Say that a session is alive; dropped and counted when the log is away, since a late beat proves nothing."""
        await self._parts.beats.beat(tenant, session_id, data)

    def keep_beating(self, sessions: Sessions, every_seconds: float = EVERY_SECONDS) -> None:
        """Beat for the (tenant, session id) pairs that `sessions` returns each time, and say that the broker is alive.

        Once for all sessions of the broker: who says that it is alive says how many it holds.
        """
        beats = self._parts.beats
        if every_seconds <= 0:
            raise UsageError(f"seconds between heartbeats are more than 0, not: {every_seconds}")
        if self._beating is not None:
            raise UsageError(f"this broker keeps its sessions beating already: {self.source!r}")
        self._beating = asyncio.create_task(beats.keep(sessions, every_seconds))

    async def drained(self) -> None:
        """Wait until the log has acknowledged, or rejected, all that is spooled now."""
        await self._parts.drainer.drained()

    def commands(self) -> AsyncGenerator[Command, None]:
        """Yield each command once, until the broker is closed.

        Refused without being shown: those that have expired, and those of other kinds than the broker's.
        """
        return self._parts.inbox.commands(self._answer)

    @property
    def counts(self) -> Counts:
        """Return what became of events and beats since the broker was opened."""
        spool, drainer, beats = self._parts.spool, self._parts.drainer, self._parts.beats
        return Counts(spool.tail - spool.head, drainer.acknowledged, drainer.rejected, beats.sent, beats.dropped)

    @property
    def _parts(self) -> _Parts:
        if self._opened is None:
            raise UsageError(f"the broker is not open, use it inside `async with`: {self.source!r}")
        return self._opened

    async def _open(self, threads: ThreadPoolExecutor) -> _Parts:
        spool = await asyncio.get_running_loop().run_in_executor(threads, Spool, self._folder, self._spool_bytes_max)
        memory = Memory(self.source)
        try:
            memory.load(spool.memory, spool.since)
        except BaseException:
            spool.close()
            raise
        spool.since.clear()
        committer = Committer(spool, memory, threads)
        drainer = Drainer(spool, self._transport, threads, committer.committed)
        beats = Beats(self.source, self._transport, self._kinds)
        inbox = Inbox(self.source, self._transport, self._kinds, memory.has_answered)
        return _Parts(threads, spool, committer, drainer, beats, inbox, asyncio.create_task(drainer.run()))

    async def _spool(self, event: Spooled) -> None:
        committer = self._parts.committer
        checked(event)
        await committer.commit(event)

    async def _answer(self, request: DisconnectRequested, answering: Answering, detail: str | None) -> None:
        session: dict[str, Any] = {"tenant": request.tenant, "subject": request.subject}
        attributes, command = _attributes(self.source, None), request.data.command
        answer: CommandAnswer
        match answering:
            case "delivered":
                answer = DisconnectDelivered(**attributes, **session, data=DisconnectDeliveredData(command))
            case "acknowledged":
                answer = DisconnectAcknowledged(**attributes, **session, data=DisconnectAcknowledgedData(command))
            case "refused" | "failed":
                data = DisconnectFailedData(command, answering, detail)
                answer = DisconnectFailed(**attributes, **session, data=data)
        await self._spool(answer)


def _attributes(source: str, at: datetime | None) -> dict[str, Any]:
    """Return what every event has; the id is made once, so that whatever is sent again is known to be a repeat."""
    return {"specversion": "1.0", "id": str(uuid4()), "source": source, "time": at or datetime.now(UTC)}


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
