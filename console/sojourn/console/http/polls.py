"""Long polls for commands: one query for all that wait in this process."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from sojourn.console.http.database import Pending

LOOK_SECONDS: Final = 0.5  # who gives a command waits for seconds anyway; two queries a second cost nothing
AGAIN_SECONDS: Final = 5.0  # an answer that got lost is repeated then; at once would turn a poll into a busy loop

Key = tuple[str, str]  # tenant, command id
Find = Callable[[Collection[str]], Awaitable[dict[str, list[Pending]]]]


class _Poll:
    """One request that waits."""

    def __init__(self, token_id: str, deadline: float) -> None:
        self.token_id, self.deadline = token_id, deadline
        self.answer: asyncio.Future[list[Pending]] = asyncio.get_running_loop().create_future()


class Polls:
    """Answers polls when there is a command for them, or when their time is over."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._waiting: set[_Poll] = set()
        self._new = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._handed: dict[Key, float] = {}
        self._stopped = False

    async def take(self, token_id: str, wait_seconds: float) -> list[Pending]:
        """Return all commands that wait for the token's brokers, as soon as one of them was not handed out just now."""
        if self._stopped:
            return []
        poll = _Poll(token_id, asyncio.get_running_loop().time() + wait_seconds)
        self._waiting.add(poll)
        self._new.set()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            return await poll.answer
        finally:
            self._waiting.discard(poll)

    def stop(self) -> None:
        """Answer all that wait, since the process ends."""
        self._stopped = True
        for poll in self._waiting:
            if not poll.answer.done():
                poll.answer.set_result([])
        self._new.set()

    async def _watch(self) -> None:
        while self._waiting and not self._stopped:
            self._new.clear()
            polls = [poll for poll in self._waiting if not poll.answer.done()]
            try:
                found = await self._find({poll.token_id for poll in polls})
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever for the answer
                for poll in polls:
                    if not poll.answer.done():
                        poll.answer.set_exception(error)
            else:
                self._answer(polls, found)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._new.wait(), LOOK_SECONDS)

    def _answer(self, polls: list[_Poll], found: dict[str, list[Pending]]) -> None:
        now = asyncio.get_running_loop().time()
        self._handed = {key: at for key, at in self._handed.items() if now - at < AGAIN_SECONDS}
        handed: dict[Key, float] = {}
        for poll in polls:
            commands = {(one.tenant, one.command_id): one for one in found.get(poll.token_id, [])}
            if not poll.answer.done() and (poll.deadline <= now or commands.keys() - self._handed.keys()):
                poll.answer.set_result(list(commands.values()))
                handed |= dict.fromkeys(commands, now)
        self._handed |= handed
