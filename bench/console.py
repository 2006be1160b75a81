"""`python -m bench.console DIR`: pages of long lists, as a client waits for them and as the server works for them.

DIR is filled once, which takes half an hour or so, and used again.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import httpx
import psycopg

from bench.console_rows import TENANT, fill
from bench.measure import process_seconds
from sojourn.console.opening import opened
from sojourn.events.embedded.database import Database
from sojourn.projections.counts import current_counts, matching
from sojourn.projections.listing import Place, current_page, history_page
from sojourn.projections.read import CurrentFilter, HistoryFilter, as_reader
from tests.integration.site_steps import running_console

LIVE: Final = 1_000_000
HISTORY: Final = 20_000_000
ROUNDS: Final = 60  # of each kind of page
WARM: Final = 2  # before them
ROWS: Final = 100

Ask = Callable[[psycopg.AsyncConnection[Any]], Awaitable[Any]]

CURRENT: Final[dict[str, dict[str, Any]]] = {
    "first page": {},
    "from inside, thin clients": {"access": "internal", "terminal": "thin_client"},
    "from the public internet (2 %)": {"access": "public"},
    "lost (0.3 %)": {"state": "lost"},
    "unconfirmed (none)": {"state": "unconfirmed"},
    "a user's id": {"user": "u-777"},
    "search: part of a name": {"search": "cslai"},
    "search: a Chinese surname": {"search": "王"},
    "search: a desktop": {"search": "CAD-77777"},
    "search: part of all desktops": {"search": "cad"},
    "search: the beginning of an address": {"search": "10.7.7."},
    "search: nothing like it": {"search": "zzzz"},
    "search: a letter that nobody has": {"search": "q"},
    "search: two letters of many names": {"search": "an"},
    "a type of terminal that nobody uses": {"terminal": "other"},
    "two values that never meet": {"terminal": "mobile", "access": "public"},
}
ENDED: Final[dict[str, dict[str, Any]]] = {
    "first page": {},
    "abnormal ends (11 %)": {"outcome": "abnormal"},
    "a user's id": {"user": "u-777"},
    "search: part of a name": {"search": "cslai"},
    "search: a Chinese surname": {"search": "王"},
    "search: a desktop": {"search": "CAD-7777"},
    "search: the beginning of an address": {"search": "10.4.7.7"},
    "search: nothing like it": {"search": "zzzz"},
    "search: a letter that nobody has": {"search": "q"},
    "search: two letters of many names": {"search": "an"},
    "a type of terminal that nobody uses": {"terminal": "other"},
    "two values that never meet": {"terminal": "mobile", "access": "public"},
    "a reason that no end had": {"reason": "error"},
}


async def run(folder: Path) -> None:
    """Fill the folder if need be, and print the table."""
    async with opened(folder / "data") as (_, database, _):
        async with await database.connect(autocommit=True) as connection:
            cursor = await connection.execute("SELECT FROM sojourn_v1.tenant_config WHERE tenant = %s", [TENANT])
            is_filled = cursor.rowcount > 0
        if not is_filled:
            began = time.monotonic()
            with psycopg.connect(database.dsn, autocommit=True) as writer:
                fill(writer, LIVE, HISTORY)
            print(f"filled in {(time.monotonic() - began) / 60:.0f} minutes", file=sys.stderr)
        await measure(database, folder)


async def measure(database: Database, folder: Path) -> None:
    """Print how long each kind of page takes."""
    print("| list | page | HTTP: p50 ms | p99 | in the server: p50 ms | p99 | CPU ms of PostgreSQL | of Python |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    async with running_console(database, folder) as console, await database.connect(autocommit=True) as connection:
        client = await console.client(TENANT, "read")
        for name, query in CURRENT.items():
            await _row(connection, client, "current", name, query, _current(CurrentFilter(**query)))
        middle = (datetime.now(UTC) - timedelta(hours=4)).isoformat()
        place = Place(middle, ("", 0, 0, middle))
        await _row(connection, client, "current", "deep: half a million in", None, _current(CurrentFilter(), place))
        for name, query in ENDED.items():
            await _row(connection, client, "history", name, query, _history(HistoryFilter(**query)))
        middle = (datetime.now(UTC) - timedelta(days=240)).isoformat()
        place = Place(middle, ("", 0, 0, middle))
        await _row(connection, client, "history", "deep: 13 million in", None, _history(HistoryFilter(), place))
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=240)
        end = day + timedelta(days=1)
        span = {"from": day.isoformat(), "to": end.isoformat()}
        await _row(
            connection, client, "history", "a day 240 days ago", span, _history(HistoryFilter(from_at=day, to_at=end))
        )


def _current(filters: CurrentFilter, place: Place | None = None) -> Ask:
    async def ask(connection: psycopg.AsyncConnection[Any]) -> None:
        async with as_reader(connection, TENANT):
            await current_page(connection, filters, "login_at", "descending", place, ROWS)
            await current_counts(connection)
            if filters != CurrentFilter():
                await matching(connection, filters)

    return ask


def _history(filters: HistoryFilter, place: Place | None = None) -> Ask:
    async def ask(connection: psycopg.AsyncConnection[Any]) -> None:
        async with as_reader(connection, TENANT):
            await history_page(connection, filters, "logout_at", "descending", place, ROWS)
            await matching(connection, filters)

    return ask


async def _row(
    connection: psycopg.AsyncConnection[Any],
    client: httpx.AsyncClient,
    listed: str,
    name: str,
    query: dict[str, str] | None,
    ask: Ask,
) -> None:
    path = "/v1/sessions" if listed == "current" else "/v1/history"

    async def over_http() -> bool:
        answer = await client.get(path, params={"limit": ROWS, **(query or {})})
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            await asyncio.sleep(1)
            return False
        answer.raise_for_status()
        return True

    async def in_server() -> bool:
        await ask(connection)
        return True

    http = "– | –" if query is None else _quantiles(await _timed(over_http))
    backend = connection.info.backend_pid
    postgres, python = process_seconds(backend), time.process_time()
    server = _quantiles(await _timed(in_server))
    postgres, python = process_seconds(backend) - postgres, time.process_time() - python
    each = 1000 / (ROUNDS + WARM)
    print(f"| {listed} | {name} | {http} | {server} | {postgres * each:.1f} | {python * each:.1f} |", flush=True)


async def _timed(once: Callable[[], Awaitable[bool]]) -> list[float]:
    """Return how long each of some rounds took; one that was not answered is not counted."""
    taken: list[float] = []
    while len(taken) < ROUNDS + WARM:
        began = time.perf_counter()
        if await once():
            taken.append((time.perf_counter() - began) * 1000)
    return taken[WARM:]


def _quantiles(taken: list[float]) -> str:
    hundredths = quantiles(taken, n=100, method="inclusive")
    return f"{hundredths[49]:.1f} | {hundredths[98]:.1f}"


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
