"""The load of bench/stream.py, as processes of their own: who publishes, and who has the page of current sessions open.

Each is told on its standard input what to do, a JSON object a line, and answers with what it has counted so far.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog
from msgspec.structs import replace

from bench.load import destroyed, established
from sojourn.console.opening import opened_log
from sojourn.events.codec import encode
from sojourn.events.publisher import Publisher
from sojourn.events.types import Desktop, Established

TENANT: Final = "acme"
TICK_SECONDS: Final = 0.05  # brokers publish in small batches
PROBE: Final = "probe"
PROBE_DESKTOP: Final = Desktop("d-probe", "PROBE", "cad")
OPENING_SECONDS: Final = 6.0  # of all pages; each is made for itself
COUNTS_SECONDS: Final = 2.0  # these three as in live.js
AGAIN_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 2.0
_SESSION: Final = re.compile(rb'data-session="([^"]+)"')
_PLACES: Final = re.compile(rb'data-places="([^"]*)"')


class Publishing:
    """Publishes changes at a rate, half of them beginnings and half ends, and beside them sessions to be looked for."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._open: deque[str] = deque()
        self._number = 0
        self.rate, self.probe_rate = 0.0, 0.0
        self.published = 0
        self.probed: dict[str, float] = {}

    async def fill(self, count: int) -> None:
        """Establish so many sessions."""
        for _ in range(0, count, 1000):
            await self._publisher.publish([encode(self._begin()) for _ in range(1000)])

    async def change(self) -> None:
        """Publish changes for ever, as many as are due."""
        due, at = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            due, at = (
                min(due + self.rate * (now - at), self.rate),
                now,
            )  # what is late by more than a second is left out
            count = int(due) // 2
            due -= 2 * count
            moment = datetime.now(UTC)
            events = [encode(self._begin()) for _ in range(count)]
            events += [encode(destroyed(TENANT, self._open.popleft(), moment)) for _ in range(count)]
            if events:
                await self._publisher.publish(events)
            self.published += len(events)

    async def probe(self) -> None:
        """Publish sessions that the browser looks for, one at a time and at no even distance."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) / self.probe_rate if self.probe_rate else TICK_SECONDS)
            if self.probe_rate:
                session = f"{PROBE}-{len(self.probed)}"
                event = established(TENANT, session, len(self.probed), datetime.now(UTC))
                event = replace(event, data=replace(event.data, desktop=PROBE_DESKTOP))
                self.probed[session] = time.time()
                await self._publisher.publish([encode(event)])

    def _begin(self) -> Established:
        self._number += 1
        self._open.append(f"s-{self._number:07}")
        return established(TENANT, self._open[-1], self._number, datetime.now(UTC))


class Page:
    """The list of current sessions that somebody looks at, as static/live.js keeps it up to date."""

    def __init__(self, client: aiohttp.ClientSession, cookie: str, counts: Counter[str]) -> None:
        self._client, self._headers, self._counts = client, {"Cookie": cookie}, counts
        self._shown: set[bytes] = set()
        self._places: dict[int, int] = {}
        self._is_beginning = True
        self._asked, self._again = 0.0, AGAIN_SECONDS
        self._is_behind = False
        self._timer: asyncio.TimerHandle | None = None
        self._elsewhere: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Ask for the list, and again whenever the stream says so."""
        await self._ask()
        while True:
            async with self._client.get("/v1/stream", params={"tenant": TENANT}, headers=self._headers) as answer:
                self._counts[f"stream {answer.status}"] += 1
                event = identity = ""
                async for line in answer.content:
                    if line.startswith(b"event: "):
                        event = line[7:].decode().strip()
                    elif line.startswith(b"id: "):
                        identity = line[4:].decode()
                    elif line.startswith(b"data: "):
                        self._counts["bytes"] += len(line)
                        self._hear(event, identity, json.loads(line[6:]))
            await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, event: str, identity: str, told: dict[str, Any]) -> None:
        self._counts[event] += 1
        self._again = told.get("again_ms", self._again * 1000) / 1000
        if event not in {"changes", "resync"} or self._has(identity):
            return
        self._is_behind |= event == "resync" or self._is_beginning
        self._is_beginning = False
        for change in told.get("sessions", ()):
            self._is_behind |= change["change"] == "opened" or change["session_id"].encode() in self._shown
        if not self._is_behind and self._elsewhere is None:
            self._elsewhere = asyncio.get_running_loop().call_later(max(COUNTS_SECONDS, self._again), self._start)
        self._settle()

    def _has(self, identity: str) -> bool:
        return all(self._places.get(partition, 0) >= offset for partition, offset in places(identity).items())

    def _settle(self) -> None:
        if not self._is_behind or self._asking is not None or self._timer is not None:
            return
        early = self._asked + self._again - time.monotonic()
        wait = early if early > 0 else random.uniform(0, self._again) if self._again > 2 * AGAIN_SECONDS else 0.0
        self._timer = asyncio.get_running_loop().call_later(wait, self._start)

    def _start(self) -> None:
        self._timer = self._elsewhere = None
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        self._asked, self._is_behind = time.monotonic(), False
        headers = {**self._headers, "HX-Request": "true", "Sojourn-Unasked": "yes", "Accept": "text/html"}
        try:
            async with self._client.get(f"/t/{TENANT}/sessions", headers=headers) as answer:
                self._counts[f"list {answer.status}"] += 1
                content = await answer.read()
                if answer.status == HTTPStatus.OK:
                    self._shown = set(_SESSION.findall(content))
                    self._places = places(_PLACES.findall(content)[0].decode())
                else:
                    self._is_behind = True
        except aiohttp.ClientError:  # it stops
            self._is_behind = True
        finally:
            self._asking = None
        self._settle()


def places(text: str) -> dict[int, int]:
    """Return the offsets in `0:12,1:98`."""
    pairs = (place.split(":") for place in text.split(",") if place)
    return {int(partition): int(offset) for partition, offset in pairs}


async def publish(data_dir: Path, fill: int) -> None:
    """Publish as one is told: `{"changes": 1000, "probes": 5}`, both a second."""
    async with opened_log(data_dir) as log:
        publishing = Publishing(Publisher(log))
        await publishing.fill(fill)

        def obey(order: dict[str, Any]) -> dict[str, Any]:
            publishing.rate = order.get("changes", publishing.rate)
            publishing.probe_rate = order.get("probes", publishing.probe_rate)
            return {"published": publishing.published, "probed": publishing.probed}

        await _work(obey, publishing.change(), publishing.probe())


async def look(port: int, count: int, cookies: list[str]) -> None:
    """Open so many pages, evenly over some seconds and over the people whose cookies these are."""
    counts: Counter[str] = Counter()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}", connector=connector, timeout=aiohttp.ClientTimeout(total=None)
    ) as client:

        async def page(number: int) -> None:
            await asyncio.sleep(OPENING_SECONDS * number / count)
            await Page(client, cookies[number % len(cookies)], counts).look()

        await _work(lambda _: dict(counts), *(page(number) for number in range(count)))


async def _work(obey: Callable[[dict[str, Any]], dict[str, Any]], *works: Awaitable[None]) -> None:
    """Do the works until the standard input ends, and obey what comes there; the first that fails ends all."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def listen() -> None:
        sys.stdout.write('"ready"\n')
        sys.stdout.flush()
        async for line in lines:
            sys.stdout.write(json.dumps(obey(json.loads(line))) + "\n")
            sys.stdout.flush()

    listening, *tasks = (asyncio.ensure_future(work) for work in (listen(), *works))
    done, _ = await asyncio.wait([listening, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    what, *words = sys.argv[1:]
    asyncio.run(
        publish(Path(words[0]), int(words[1]))
        if what == "publish"
        else look(int(words[0]), int(words[1]), words[2].split(" "))
    )
