"""The inbox: what somebody wants done with a broker's sessions, each command once."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import structlog

from sojourn.events.broker.backoff import Backoff
from sojourn.events.broker.transport import Transport
from sojourn.events.errors import SojournError
from sojourn.events.fields import CommandKind
from sojourn.events.types import DisconnectRequested

SEEN_MAX: Final = 10_000  # ids; a day of commands, and the topic keeps no more
WAITING_MAX: Final = 100  # commands; a broker that does nothing about so many is not sent more

Answering = Literal["delivered", "acknowledged", "refused", "failed"]
Answer = Callable[[DisconnectRequested, Answering, str | None], Awaitable[None]]

_logger: Final = structlog.get_logger()


class Command:
    """What somebody asks the broker to do. An answer is as durable as an event, and raises what an event does."""

    def __init__(self, event: DisconnectRequested, answer: Answer) -> None:
        self._event, self._answer = event, answer
        self.id: str = event.data.command
        self.kind: CommandKind = event.data.kind
        self.tenant: str = event.tenant
        self.session_id: str = event.subject
        self.reason: str = event.data.reason
        self.message: str | None = event.data.message
        self.requested_by: str = event.data.requested_by
        self.expires_at: datetime = event.data.expires_at

    async def acknowledge(self) -> None:
        """Say that it is carried out; once the session is gone, `destroyed` with this command's id confirms it."""
        await self._answer(self._event, "acknowledged", None)

    async def refuse(self, detail: str) -> None:
        """Say that it will not be carried out, and why."""
        await self._answer(self._event, "refused", detail)

    async def fail(self, detail: str) -> None:
        """Say that it could not be carried out, and why."""
        await self._answer(self._event, "failed", detail)


class Inbox:
    """Fetches commands in the background from the first call of `commands` on."""

    def __init__(
        self, source: str, transport: Transport, kinds: Sequence[CommandKind], has_answered: Callable[[str], bool]
    ) -> None:
        self._source, self._transport, self._kinds, self._has_answered = source, transport, kinds, has_answered
        self._seen: dict[str, None] = {}
        self._waiting = deque[DisconnectRequested]()
        self._room = asyncio.Semaphore(WAITING_MAX)
        self._changed = asyncio.Event()
        self._fetching: asyncio.Task[None] | None = None
        self._is_closed = False

    async def commands(self, answer: Answer) -> AsyncGenerator[Command, None]:
        """Yield what can be carried out, until closed; what cannot is refused."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        while (event := await self._following()) is not None:
            try:
                command = await self._judged(event, answer)
            except BaseException:
                self._waiting.appendleft(event)  # whoever waited for it gave up: the next one gets it
                raise
            self._room.release()
            if command is not None:
                yield command

    async def close(self) -> None:
        """End `commands`; those not handed out yet come again after the next start, unless they expire."""
        self._is_closed = True
        self._changed.set()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _judged(self, event: DisconnectRequested, answer: Answer) -> Command | None:
        """Tell that the command is here, or that it will not be carried out."""
        refusal = self._refusal(event)
        if refusal is not None:
            with _told(event):
                await answer(event, "refused", refusal)
            return None
        if not self._transport.marks_delivered:
            with _told(event):
                await answer(event, "delivered", None)
        return Command(event, answer)

    def _refusal(self, event: DisconnectRequested) -> str | None:
        if event.data.expires_at <= datetime.now(UTC):
            return f"expired before the broker had it, at {event.data.expires_at.astimezone(UTC).isoformat()}"
        if event.data.kind not in self._kinds:
            return f"this broker does not carry out: {event.data.kind!r}"
        return None

    async def _following(self) -> DisconnectRequested | None:
        while not self._waiting and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        return None if self._is_closed else self._waiting.popleft()

    async def _fetch(self) -> None:
        backoff = Backoff("commands")
        while True:
            try:
                async with contextlib.aclosing(self._transport.commands(self._source)) as events:
                    async for event in events:
                        backoff.worked()
                        await self._take(event)
            except Exception as error:  # noqa: BLE001 - commands have to come again after whatever it was
                await asyncio.sleep(backoff.failed(error))

    async def _take(self, event: DisconnectRequested) -> None:
        command = event.data.command
        if event.data.broker != self._source or command in self._seen or self._has_answered(command):
            return
        await self._room.acquire()
        self._waiting.append(event)
        self._changed.set()
        self._seen[command] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]


@contextlib.contextmanager
def _told(event: DisconnectRequested) -> Iterator[None]:
    """Go on without an answer that cannot be spooled: the log will say of the command that it is not confirmed."""
    try:
        yield
    except SojournError as error:
        _logger.warning("command_answer_dropped", command=event.data.command, reason=str(error))
