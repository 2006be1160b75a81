"""`GET /v1/stream`: what changes of a tenant's sessions, as it happens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Final

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter
from litestar.response import Stream as StreamResponse

from sojourn.console.http.problems import too_many
from sojourn.console.site.access import AnyConnection, Gate, Who, needs
from sojourn.console.site.principal import Principal
from sojourn.console.stream.hub import Hub, Stream
from sojourn.console.stream.messages import HEARTBEAT, ID, ID_CHARACTERS_MAX, offsets_of
from sojourn.events.errors import Unreachable

HEARTBEAT_SECONDS: Final = 15.0  # proxies cut what is silent for a minute
CHECK_SECONDS: Final = 5.0  # until who was signed out or disabled is told nothing more; a query each time
STREAMS_MAX: Final = 1000  # of one process: each keeps some kilobytes
STREAMS_OF_ONE_MAX: Final = 30  # open pages of a person, or of a program
RETRY_SECONDS: Final = 10

_ID: Final = {"pattern": f"^({ID.pattern})?$", "maxLength": ID_CHARACTERS_MAX}  # for readers; `offsets_of` judges it


def stream_handlers(hub: Hub, gate: Gate) -> list[HTTPRouteHandler]:
    """Return the handler of the stream."""
    open_by: Counter[str] = Counter()

    @get(
        "/v1/stream",
        opt={**needs("read"), "is_use": False},  # a browser opens it again by itself
        operation_id="streamChanges",
        tags=["stream"],
        summary="What changes, as it happens",
        media_type="text/event-stream",
    )
    async def stream(
        request: Request,  # type: ignore[type-arg]
        principal: Who,
        last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", schema_extra=_ID)] = None,
    ) -> StreamResponse:
        """Tell of changes as Server-Sent Events, until the client goes or may read no more.

        `changes` names sessions that were opened, changed or ended, `resync` says that more changed than is told, so
        that lists are to be read anew, and `freshness` how fresh the lists are. `again_ms` is how long one should wait
        between two questions for a list. A client that comes again with `Last-Event-ID` is told what it missed.
        """
        who = f"{principal.home}/{principal.actor}"
        if hub.count >= STREAMS_MAX or open_by[who] >= STREAMS_OF_ONE_MAX:
            raise too_many(RETRY_SECONDS, f"a process has at most {STREAMS_MAX} streams, {STREAMS_OF_ONE_MAX} of one")
        last = None if not last_event_id else offsets_of(last_event_id)
        opened = await hub.open(principal.tenant, last)
        return StreamResponse(
            _told(hub, opened, request, gate, principal, open_by, who),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return [stream]


async def _told(
    hub: Hub,
    opened: Stream,
    connection: AnyConnection,
    gate: Gate,
    principal: Principal,
    open_by: Counter[str],
    who: str,
) -> AsyncIterator[bytes]:
    """Yield messages until the end; a client that may read no more is told nothing after some seconds."""
    clock = asyncio.get_running_loop().time
    open_by[who] += 1
    try:
        told_at = checked_at = clock()
        while True:
            due = min(told_at + HEARTBEAT_SECONDS, checked_at + CHECK_SECONDS)
            try:
                message = await opened.next(max(0, due - clock()))
            except TimeoutError:
                message = HEARTBEAT if clock() >= told_at + HEARTBEAT_SECONDS else b""
            if message is None:
                return
            if clock() >= checked_at + CHECK_SECONDS:
                if not await _may_still_read(gate, connection, principal):
                    return
                checked_at = clock()
            if message:
                told_at = clock()
                yield message
    finally:
        open_by[who] -= 1
        hub.close(opened)


async def _may_still_read(gate: Gate, connection: AnyConnection, principal: Principal) -> bool:
    try:
        now = await gate.principal(connection, is_use=False)
    except Unreachable:  # there is nothing to tell either; a page says so, and comes again
        return False
    if now is None or now.home != principal.home or not now.may("read"):
        return False
    return principal.tenant == principal.home or now.may("platform")
