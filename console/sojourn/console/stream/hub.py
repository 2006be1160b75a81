"""The hub: looks whether a projector has committed, reads what changed once for each tenant, tells all its streams."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from psycopg import OperationalError

from sojourn.console.site.site import Connection, Site
from sojourn.console.stream.messages import Message, changes_message, freshness_message, resync_message
from sojourn.events.errors import Unreachable
from sojourn.projections.changes import ALWAYS, BEGIN, Kind, Place, load_changes, load_places, load_positions
from sojourn.projections.counts import current_counts
from sojourn.projections.freshness import Freshness, tenant_freshness
from sojourn.projections.read import NoSuchTenant

CHANGES_MAX: Final = 200  # of one message: who shows a hundred rows reads the list anew for as many
QUEUE_MESSAGES_MAX: Final = 16  # of one stream; who is further behind reads the list anew
TOGETHER_SECONDS_MIN: Final = 0.1  # changes within it are told together; a person sees no difference
TOGETHER_SECONDS_MAX: Final = 2.0  # nobody waits longer for the next change, whatever the load
LOOK_SECONDS: Final = 0.05  # between two looks at the positions; each takes less than a millisecond
RECONNECT_SECONDS: Final = 0.2  # a restart takes longer, and a cut connection hardly shows

# What it takes of one core, as measured (docs/performance.md), and how much of that core the streams may have.
TELL_SECONDS: Final = 0.0002  # one message to one stream
ASK_SECONDS: Final = 0.002  # one page that asks for a list which another has just got alike
MAKE_SECONDS: Final = 0.016  # one list that nobody has got yet
TELLING_SHARE: Final = 0.2
ASKING_SHARE: Final = 0.4

_log = structlog.get_logger("sojourn.stream")


class Stream:
    """What one client is to be told; a queue that overflows says to read the list anew."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self._first: list[Message] = []
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._is_ended = False

    def begin(self, messages: Iterable[Message]) -> None:
        """Tell these before what was told since the stream is there."""
        self._first = list(messages)

    def tell(self, messages: Iterable[Message], resync: Message) -> None:
        """Put messages into the queue, or `resync` in place of all that waits there; nothing after the end."""
        if self._is_ended:
            return
        for message in messages:
            self._messages.put_nowait(message)
        if self._messages.qsize() > QUEUE_MESSAGES_MAX:
            while not self._messages.empty():
                self._messages.get_nowait()
            self._messages.put_nowait(resync)

    def end(self) -> None:
        """Let the client go."""
        self._is_ended = True
        self._messages.put_nowait(None)

    async def next(self, timeout_seconds: float) -> Message | None:
        """Return the next message, None at the end; raises TimeoutError where there is none."""
        if self._first:
            return self._first.pop(0)
        async with asyncio.timeout(timeout_seconds):
            return await self._messages.get()


class _Tenant:
    """What was told of one tenant, and to whom."""

    def __init__(self, places: Mapping[int, Place], counts: dict[str, int], freshness: Freshness) -> None:
        self.places, self.counts, self.freshness = places, counts, freshness
        self.streams: set[Stream] = set()


class Hub:
    """All streams of this process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tenants: dict[str, _Tenant] = {}
        self._has_streams = asyncio.Event()
        self._opening = asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None
        self._is_stopped = False

    @property
    def count(self) -> int:
        """How many streams there are."""
        return sum(len(tenant.streams) for tenant in self._tenants.values())

    @property
    def again_ms(self) -> int:
        """How many milliseconds a page should leave between two questions for its list, as many as ask now."""
        each = ASK_SECONDS + MAKE_SECONDS * self._site.shared.made_share
        return int(1000 * max(TOGETHER_SECONDS_MIN, self.count * each / ASKING_SHARE))

    async def open(self, tenant: str, last: Mapping[int, int] | None) -> Stream:
        """Return a stream of a tenant's changes, from the offsets that its client knows; `close` takes it back."""
        self._start()
        stream = Stream(tenant)
        async with self._opening:  # one at a time: after a restart all come at once, and others want to read as well
            if tenant not in self._tenants:
                async with self._site.reader(tenant) as connection:
                    self._tenants[tenant] = _Tenant(*await _standing(connection))
            told = self._tenants[tenant]
            told.streams.add(stream)  # whatever is told from now on comes after this
            self._has_streams.set()
            places, counts, fresh = told.places, told.counts, told.freshness
            try:
                missed = {} if last is None else await self._missed(tenant, last)
            except BaseException:
                self.close(stream)
                raise
        stream.begin([self._told(places, missed, counts), freshness_message(fresh)])
        if self._is_stopped:
            stream.end()
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream."""
        told = self._tenants[stream.tenant]
        told.streams.remove(stream)
        if not told.streams:
            del self._tenants[stream.tenant]
            self._site.shared.forget(stream.tenant)
        if not self._tenants:
            self._has_streams.clear()

    def stop(self) -> None:
        """End all streams, and those that come."""
        self._is_stopped = True
        for told in self._tenants.values():
            for stream in told.streams:
                stream.end()

    async def aclose(self) -> None:
        """Look no more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _missed(self, tenant: str, last: Mapping[int, int]) -> Mapping[str, Kind] | None:
        """Return what changed since a client was told; None where it knows another log, or too much did."""
        async with self._site.reader(tenant) as connection:
            known = _known(await load_places(connection), last)
            return None if known is None else await load_changes(connection, tenant, known, CHANGES_MAX)

    def _start(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())
            self._telling.add_done_callback(self._failed)

    async def _tell(self) -> None:
        while True:
            await self._has_streams.wait()
            with suppress(OperationalError, Unreachable):
                async with await self._site.database.connect(autocommit=True) as connection:
                    await connection.execute("SET ROLE sojourn_auditor; SET search_path = sojourn")
                    await self._tell_changes(connection)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _tell_changes(self, connection: Connection) -> None:
        """Tell what changed for as long as there are streams; the more it takes, the more is told together."""
        told = None
        while self._tenants:
            positions = await load_positions(connection)
            if positions == told:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            began = time.monotonic()
            for tenant in list(self._tenants):
                with suppress(NoSuchTenant, KeyError):  # nobody is there
                    await self._tell_tenant(tenant)
            told = positions
            takes = time.monotonic() - began + self.count * TELL_SECONDS
            await asyncio.sleep(min(max(TOGETHER_SECONDS_MIN, takes / TELLING_SHARE), TOGETHER_SECONDS_MAX))

    async def _tell_tenant(self, tenant: str) -> None:
        told = self._tenants[tenant]
        async with self._site.reader(tenant) as connection:
            places, counts, fresh = await _standing(connection)
            known = {partition: told.places.get(partition, BEGIN) for partition in places}
            changes = await load_changes(connection, tenant, known, CHANGES_MAX)
        messages = []
        if changes is None or changes:
            messages.append(self._told(places, changes, counts))
        if fresh != told.freshness:
            messages.append(freshness_message(fresh))
        told.places, told.counts, told.freshness = places, counts, fresh
        if told.streams:
            self._site.shared.renew(tenant)
        resync = self._told(places, None, counts)
        for stream in told.streams:
            stream.tell(messages, resync)

    def _told(self, places: Mapping[int, Place], changes: Mapping[str, Kind] | None, counts: dict[str, int]) -> Message:
        if changes is None:
            return resync_message(places, counts, self.again_ms)
        return changes_message(places, changes, counts, self.again_ms)

    def _failed(self, task: asyncio.Task[None]) -> None:
        """End all streams where the hub itself fails: their clients come again, and begin it anew."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("stream.failed", error=type(error).__name__)
            for told in self._tenants.values():
                for stream in told.streams:
                    stream.end()


async def _standing(connection: Connection) -> tuple[dict[int, Place], dict[str, int], Freshness]:
    """Return up to where the lists go, how many sessions they have, and how fresh they are."""
    return await load_places(connection), await current_counts(connection), await tenant_freshness(connection)


def _known(places: Mapping[int, Place], last: Mapping[int, int]) -> dict[int, Place] | None:
    """Return the places of which a client knows the offsets; None where it knows another log."""
    if last.keys() != places.keys() or any(last[number] > place.offset for number, place in places.items()):
        return None
    return {number: Place(offset, ALWAYS) for number, offset in last.items()}
