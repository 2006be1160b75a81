"""`python -m bench.stream [SECONDS]`: open pages, changes and an API client on one `sojourn up`; and how soon one sees.

SECONDS is how long each of its rows is measured, 30 by default: four and a half minutes in all.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import httpx
from playwright.async_api import Page, async_playwright

from bench.measure import machine_seconds, postmaster, process_seconds, server_seconds
from bench.stream_load import PROBE, PROBE_DESKTOP, TENANT
from sojourn.console.opening import opened
from sojourn.events.codec import encode
from sojourn.events.decision_data import TenantConfiguredData
from sojourn.events.decisions import tenant_configured
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.publisher import Publisher
from sojourn.events.topics import LIFECYCLE
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.integration.command import SOJOURN, free_port
from tests.integration.site_steps import Console

SESSIONS: Final = 20_000
CHANGES: Final = 1000  # a second
STREAMS: Final = 200
PEOPLE: Final = 10  # a person has at most thirty
PROBES: Final = 8  # a second: 240 in half a minute
ASKS: Final = 10  # a second at most, of the API
SETTLE_SECONDS: Final = 8.0  # after each change of the load
LAST_SECONDS: Final = 20.0  # until the last that was published must be seen
STOP_SECONDS_MAX: Final = 60.0  # it takes one

# Notes when the row of each session that is looked for is there; the clock is the one of the publisher.
_WATCH: Final = f"""
    window.seen = {{}};
    new MutationObserver(() => {{
        const now = performance.timeOrigin + performance.now();
        for (const row of document.querySelectorAll('#live tr[data-session^="{PROBE}-"]'))
            window.seen[row.dataset.session] ??= now;
    }}).observe(document, {{subtree: true, childList: true, attributes: true, attributeFilter: ["data-session"]}});
"""


class Process:
    """One process of the load, told what to do a line at a time."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.stream_load", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.number = self._process.pid

    async def said(self) -> Any:
        """Return the next line that it writes."""
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line, "a process of the load has failed"
        return json.loads(line)

    async def tell(self, **order: float) -> dict[str, Any]:
        """Tell it what to do, and return what it has counted by then."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return dict(await self.said())

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()


class Reading(NamedTuple):
    """What was counted by a moment."""

    at: float
    applied: int
    told: Mapping[str, int]
    processors: Mapping[str, float]
    machine: float


class Stage:
    """A `sojourn up`, who publishes to it, and who looks at it."""

    def __init__(self, console: Console, up: int, server: int, publisher: Process) -> None:
        self.console, self._up, self._server, self.publisher = console, up, server, publisher
        self.pages: Process | None = None
        self.failed = 0
        self._client: httpx.AsyncClient | None = None

    async def open_pages(self) -> None:
        """Let two hundred pages be opened."""
        people = [await self.console.person(TENANT, "viewer") for _ in range(PEOPLE)]
        cookies = " ".join(person.headers["Cookie"] for person in people)
        self.pages = Process("look", str(self.console.port), str(STREAMS), cookies)
        await self.pages.said()

    async def read(self) -> Reading:
        """Count everything."""
        processors = {"up": process_seconds(self._up), "PostgreSQL": server_seconds(self._server)}
        processors["publisher"] = process_seconds(self.publisher.number)
        if self.pages is not None:
            processors["pages"] = process_seconds(self.pages.number)
        told = {} if self.pages is None else await self.pages.tell()
        applied = await self._offsets("SELECT sum(next_offset) FROM sojourn_v1.position WHERE topic = %s")
        return Reading(time.perf_counter(), applied, told, processors, machine_seconds())

    async def lag(self) -> int:
        """Return how many records are not applied."""
        log = "SELECT sum(next_offset) FROM sojourn_log.log_head WHERE topic = %s"
        return await self._offsets(log) - await self._offsets(
            "SELECT sum(next_offset) FROM sojourn_v1.position WHERE topic = %s"
        )

    async def ask(self, seconds: float) -> list[float]:
        """Ask for first pages of the API, one after the other; return how many milliseconds each took."""
        self._client = self._client or await self.console.client(TENANT, "read")
        taken: list[float] = []
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            answer = await self._client.get("/v1/sessions", params={"limit": 100})
            self.failed += not answer.is_success
            taken.append((time.perf_counter() - now) * 1000)
            await asyncio.sleep(max(0.0, now + 1 / ASKS - time.perf_counter()))
        return taken

    async def _offsets(self, query: str) -> int:
        return int((await self.console.execute(query, [LIFECYCLE]))[0][0])


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Run `sojourn up` with one tenant of twenty thousand open sessions, and who publishes."""
    port = free_port()
    with (folder / "up.log").open("wb") as output:
        up = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
            [SOJOURN, "up", "--port", str(port), "--data-dir", str(folder / "data")], stdout=output, stderr=output
        )
    publisher = None
    try:
        while not _listens(port):
            assert up.poll() is None, (folder / "up.log").read_text()
            await asyncio.sleep(0.1)
        async with opened(folder / "data") as parts:
            assert isinstance(parts.log, EmbeddedLog)
            kept = TenantConfiguredData(heartbeat_timeout_seconds=86_400)  # there are no heartbeats here
            await Publisher(parts.log).publish([encode(tenant_configured(TENANT, kept, datetime.now(UTC)))])
            publisher = Process("publish", str(folder / "data"), str(SESSIONS))
            await publisher.said()
            console = Console(parts.database, parts.log, port)
            made = Stage(console, up.pid, await postmaster(parts.database), publisher)
            while await made.lag():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
            await console.execute("ANALYZE")  # as a server does by itself after some time
            yield made
            await console.close()
            for process in (publisher, made.pages):
                if process is not None:
                    process.end()
    finally:
        up.terminate()
        try:
            up.wait(STOP_SECONDS_MAX)
        finally:
            up.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def api_row(made: Stage, name: str, seconds: float) -> float:
    """Print one row of the first table; return the p50."""
    await asyncio.sleep(SETTLE_SECONDS)
    before = await made.read()
    taken = await made.ask(seconds)
    after, lag = await made.read(), await made.lag()
    passed = after.at - before.at
    cores = {what: (spent - before.processors[what]) / passed for what, spent in after.processors.items()}
    others = (after.machine - before.machine) / passed - sum(cores.values())
    told = {what: (count - before.told.get(what, 0)) / passed for what, count in after.told.items()}
    p50, _, p99 = spread(taken)
    shown = ", ".join(f"{what} {share:.2f}" for what, share in cores.items())
    refused = sum(count for what, count in after.told.items() if what.startswith(("list 4", "list 5", "stream 4")))
    print(
        f"| {name} | {p50:.1f} | {p99:.1f} | {(after.applied - before.applied) / passed:,.0f} | {lag} "
        f"| {told.get('changes', 0):,.0f} | {told.get('resync', 0):,.0f} | {told.get('list 200', 0):.1f} "
        f"| {made.failed + refused} | {shown} | {others:.2f} |",
        flush=True,
    )
    return p50


async def seen_row(made: Stage, page: Page, name: str, seconds: float) -> str:
    """Publish sessions to be looked for, and return the row that tells how soon they were there."""
    await asyncio.sleep(SETTLE_SECONDS)
    known = set((await made.publisher.tell(probes=PROBES))["probed"])
    await asyncio.sleep(seconds)
    probed = (await made.publisher.tell(probes=0))["probed"]
    due = probed.keys() - known
    until = time.monotonic() + LAST_SECONDS
    seen = await page.evaluate("window.seen")
    while due - seen.keys() and time.monotonic() < until:
        await asyncio.sleep(0.5)
        seen = await page.evaluate("window.seen")
    taken = [seen[session] - probed[session] * 1000 for session in due & seen.keys()]
    p50, p95, p99 = spread(taken)
    return (
        f"| {name} | {len(taken)} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {max(taken, default=nan):.0f} "
        f"| {len(due) - len(taken)} |"
    )


@asynccontextmanager
async def looking(console: Console, query: Mapping[str, str]) -> AsyncIterator[Page]:
    """Open the page of current sessions in Chromium, as somebody who has signed in."""
    person = await console.person(TENANT, "viewer")
    name, _, value = person.headers["Cookie"].partition("=")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        context = await browser.new_context(base_url=console.url, viewport={"width": 1280, "height": 800})
        await context.add_cookies(
            [
                {
                    "name": name,
                    "value": value,
                    "url": console.url.replace("http:", "https:"),
                    "secure": True,
                    "httpOnly": True,
                }
            ]
        )
        await context.add_init_script(_WATCH)
        page = await context.new_page()
        await page.goto(f"/t/{TENANT}/sessions?{urlencode(query)}")
        yield page
        await browser.close()


def spread(taken: list[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99; of nothing, nothing."""
    if not taken:
        return nan, nan, nan
    hundredths = quantiles(taken if len(taken) > 1 else taken * 2, n=100, method="inclusive")
    return hundredths[49], hundredths[94], hundredths[98]


async def measure(made: Stage, seconds: float) -> None:
    """Print both tables."""
    async with looking(made.console, {}) as page:
        seen = [await seen_row(made, page, f"{PROBES} changes a second, one page", seconds)]
    print("| API first page while | p50 ms | p99 | changes applied a second | lag at the end, records ", end="")
    print("| messages told a second: changes | resync | lists asked a second | refused | cores | of others |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |")
    await api_row(made, "nothing else happens", seconds)
    await made.publisher.tell(changes=CHANGES)
    alone = await api_row(made, f"{CHANGES:,} changes a second", seconds)
    await made.open_pages()
    loaded = await api_row(made, f"{CHANGES:,} changes a second, {STREAMS} open pages", seconds)
    print(f"\nAPI with {STREAMS} open pages: {loaded / alone:.2f} × without, at p50\n")
    async with looking(made.console, {"search": PROBE_DESKTOP.name}) as page:
        seen.append(await seen_row(made, page, f"{CHANGES:,} changes a second, {STREAMS} other pages", seconds))
        await made.publisher.tell(changes=0)
        seen.append(await seen_row(made, page, f"{PROBES} changes a second, {STREAMS} other pages", seconds))
    print("| published until seen | sessions | p50 ms | p95 | p99 | longest | never |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(seen))


async def run(seconds: float) -> None:
    """Measure on a fresh data directory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        async with stage(Path(folder)) as made:
            await measure(made, seconds)


if __name__ == "__main__":
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} cores\n")
    asyncio.run(run(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
