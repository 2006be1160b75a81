"""Work that a process does beside what people ask of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from structlog.typing import FilteringBoundLogger

from sojourn.events.errors import Unreachable


@asynccontextmanager
async def beside(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run something beside the block, until it is told to stop and has ended."""
    stopping = asyncio.Event()
    running = asyncio.create_task(run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


async def go_on(round_: Callable[[], Awaitable[None]], log: FilteringBoundLogger, event: str) -> None:
    """Do a round and go on whatever happens: an error in it must not end what else the process does."""
    try:
        await round_()
    except Unreachable:  # the next round does it
        pass
    except Exception as error:  # noqa: BLE001 - see above
        log.error(event, error=type(error).__name__, reason=str(error))  # noqa: TRY400 - one line, as all of its log
