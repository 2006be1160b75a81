"""The hub: hears of every commit of a projector, reads what changed once for each tenant, and tells all its streams."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from psycopg import OperationalError, sql

from sojourn.console.site.site import Site
from sojourn.console.stream.messages import Message, changes_message, freshness_message, resync_message
from sojourn.events.errors import Unreachable
from sojourn.projections.changes import ALWAYS, APPLIED, BEGIN, Kind, Place, load_changes, load_places
from sojourn.projections.counts import current_counts
from sojourn.projections.freshness import Freshness, tenant_freshness
from sojourn.projections.read import NoSuchTenant

CHANGES_MAX: Final = 200  # of one message: who shows a hundred rows reads the list anew for as many
QUEUE_MESSAGES_MAX: Final = 16  # of one stream; who is further behind reads the list anew
TOGETHER_SECONDS_MIN: Final = 0.1  # changes within it are told together; a person sees no difference
TOGETHER_SECONDS_MAX: Final = 2.0  # nobody waits longer for the next change, whatever the load
SHARE: Final = 0.2  # of the time that the hub takes from what else its process does
LISTEN_SECONDS: Final = 5.0  # finds a LISTEN connection that died without a word
RECONNECT_SECONDS: Final = 0.2  # a restart takes longer, and a cut connection hardly shows
PAGE_SECONDS: Final = 0.02  # what one page of a list takes from this process and the database
PAGES_SHARE: Final = 0.5  # of one core, for all pages that ask again because of a message

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

    def __init__(self, places: Mapping[int, Place]) -> None:
        self.places = places
        self.streams: set[Stream] = set()
        self.freshness: Freshness | None = None


class Hub:
    """All streams of this process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tenants: dict[str, _Tenant] = {}
        self._heard = asyncio.Event()
        self._opening = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._is_stopped = False

    @property
    def count(self) -> int:
        """How many streams there are."""
        return sum(len(tenant.streams) for tenant in self._tenants.values())

    @property
    def again_ms(self) -> int:
        """How many milliseconds a page should leave between two questions for its list, as many as ask now."""
        return int(1000 * max(TOGETHER_SECONDS_MIN, self.count * PAGE_SECONDS / PAGES_SHARE))

    async def open(self, tenant: str, last: Mapping[int, int] | None) -> Stream:
        """Return a stream of a tenant's changes, from the offsets that its client knows; `close` takes it back."""
        self._start()
        stream = Stream(tenant)
        async with self._opening:
            if tenant not in self._tenants:
                async with self._site.reader(tenant) as connection:
                    self._tenants[tenant] = _Tenant(await load_places(connection))
            self._tenants[tenant].streams.add(stream)  # before it reads: what comes meanwhile is told after that
        try:
            async with self._site.reader(tenant) as connection:
                places = await load_places(connection)
                known = places if last is None else _known(places, last)
                changes = None if known is None else await load_changes(connection, tenant, known, CHANGES_MAX)
                counts = await current_counts(connection)
                fresh = await tenant_freshness(connection)
        except BaseException:
            self.close(stream)
            raise
        stream.begin([self._told(places, changes, counts), freshness_message(fresh)])
        if self._is_stopped:
            stream.end()
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream."""
        told = self._tenants[stream.tenant]
        told.streams.remove(stream)
        if not told.streams:
            del self._tenants[stream.tenant]

    def stop(self) -> None:
        """End all streams, and those that come."""
        self._is_stopped = True
        for told in self._tenants.values():
            for stream in told.streams:
                stream.end()

    async def aclose(self) -> None:
        """Stop listening."""
        for task in (self._listening, self._telling):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    def _start(self) -> None:
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())
            self._listening.add_done_callback(self._failed)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())
            self._telling.add_done_callback(self._failed)

    async def _listen(self) -> None:
        while True:
            with suppress(OperationalError, Unreachable):
                async with await self._site.database.connect(autocommit=True) as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(APPLIED)))
                    while True:
                        self._heard.set()
                        async for _ in connection.notifies(timeout=LISTEN_SECONDS):
                            self._heard.set()
                        await connection.execute("SELECT")
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _tell(self) -> None:
        """Tell what changed, again and again; the more it takes, the more is told together."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            began = time.monotonic()
            for tenant in list(self._tenants):
                with suppress(Unreachable, NoSuchTenant, KeyError):  # told in the next round, or nobody is there
                    await self._tell_tenant(tenant)
            took = time.monotonic() - began
            await asyncio.sleep(min(max(TOGETHER_SECONDS_MIN, took / SHARE), TOGETHER_SECONDS_MAX))

    async def _tell_tenant(self, tenant: str) -> None:
        told = self._tenants[tenant]
        async with self._site.reader(tenant) as connection:
            places = await load_places(connection)
            known = {partition: told.places.get(partition, BEGIN) for partition in places}
            changes = await load_changes(connection, tenant, known, CHANGES_MAX)
            counts = await current_counts(connection)
            fresh = await tenant_freshness(connection)
        messages = []
        if changes is None or changes:
            messages.append(self._told(places, changes, counts))
        if fresh != told.freshness:
            messages.append(freshness_message(fresh))
        told.places, told.freshness = places, fresh
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


def _known(places: Mapping[int, Place], last: Mapping[int, int]) -> dict[int, Place] | None:
    """Return the places of which a client knows the offsets; None where it knows another log."""
    if last.keys() != places.keys() or any(last[number] > place.offset for number, place in places.items()):
        return None
    return {number: Place(offset, ALWAYS) for number, offset in last.items()}
