"""The broker SDK for threads and scripts: the calls of `Broker` without await."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sojourn.events.broker.beats import Sessions
from sojourn.events.broker.broker import EVERY_SECONDS, SPOOL_BYTES_MAX, Broker, Counts
from sojourn.events.broker.inbox import Command
from sojourn.events.broker.transport import Transport
from sojourn.events.errors import UsageError
from sojourn.events.fields import CommandKind, Reason
from sojourn.events.types import EstablishedData, HeartbeatData

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call there and return what it does."""
        if self._loop.is_closed():
            call.close()
            raise UsageError("the broker is closed")
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def stop(self) -> None:
        self.wait(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class BlockingCommand:
    """See `Command`."""

    def __init__(self, command: Command, loop: _Loop) -> None:
        self._command, self._loop = command, loop
        self.id, self.kind, self.tenant, self.session_id = command.id, command.kind, command.tenant, command.session_id
        self.reason, self.message, self.requested_by = command.reason, command.message, command.requested_by
        self.expires_at = command.expires_at

    def acknowledge(self) -> None:
        """See `Command`."""
        self._loop.wait(self._command.acknowledge())

    def refuse(self, detail: str) -> None:
        """See `Command`."""
        self._loop.wait(self._command.refuse(detail))

    def fail(self, detail: str) -> None:
        """See `Command`."""
        self._loop.wait(self._command.fail(detail))


class BlockingBroker:
    """See `Broker`; any thread may call, and a thread of the broker's own calls the `sessions` of `keep_beating`."""

    def __init__(
        self,
        source: str,
        transport: Transport,
        *,
        spool: Path,
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        kinds: Sequence[CommandKind] = ("disconnect",),
    ) -> None:
        self._broker = Broker(source, transport, spool=spool, spool_bytes_max=spool_bytes_max, kinds=kinds)
        self._loop = _Loop(f"sojourn broker {source}")

    def __enter__(self) -> Self:
        self._loop.start()
        try:
            self._loop.wait(self._broker.__aenter__())
        except BaseException:
            self._loop.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loop.wait(self._broker.__aexit__(kind, error, trace))
        finally:
            self._loop.stop()

    def established(self, tenant: str, session_id: str, data: EstablishedData, *, at: datetime | None = None) -> None:
        """See `Broker`."""
        self._loop.wait(self._broker.established(tenant, session_id, data, at=at))

    def destroyed(
        self,
        tenant: str,
        session_id: str,
        reason: Reason,
        *,
        detail: str | None = None,
        command: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """See `Broker`."""
        self._loop.wait(self._broker.destroyed(tenant, session_id, reason, detail=detail, command=command, at=at))

    def heartbeat(self, tenant: str, session_id: str, data: HeartbeatData | None = None) -> None:
        """See `Broker`."""
        self._loop.wait(self._broker.heartbeat(tenant, session_id, data))

    def keep_beating(self, sessions: Sessions, every_seconds: float = EVERY_SECONDS) -> None:
        """See `Broker`."""

        async def begin() -> None:
            self._broker.keep_beating(sessions, every_seconds)

        self._loop.wait(begin())

    def drained(self) -> None:
        """See `Broker`."""
        self._loop.wait(self._broker.drained())

    def commands(self) -> Iterator[BlockingCommand]:
        """See `Broker`; another thread may close the broker to end it."""
        commands = self._broker.commands()

        async def following() -> Command | None:
            return await anext(commands, None)

        while (command := self._loop.wait(following())) is not None:
            yield BlockingCommand(command, self._loop)

    @property
    def counts(self) -> Counts:
        """See `Broker`."""
        return self._broker.counts
