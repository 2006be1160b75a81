"""`python -m bench.statistics [SESSIONS]`: a year of one tenant, each statistic of it, first and again.

Filling the history with five million sessions takes some minutes and ten gigabytes, four minutes on a quiet machine.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection

from bench.measure import postmaster, server_seconds
from sojourn.console.opening import opened
from sojourn.events.embedded.database import Database
from sojourn.projections.read import HistoryFilter, as_reader
from sojourn.projections.statistics.blocks import write_block
from sojourn.projections.statistics.cache import StatisticsCache
from sojourn.projections.statistics.concurrency import concurrency
from sojourn.projections.statistics.distribution import access, terminals
from sojourn.projections.statistics.durations import durations
from sojourn.projections.statistics.frequency import frequency
from sojourn.projections.statistics.hours import hours
from sojourn.projections.statistics.work_hours import work_hours

SESSIONS: Final = 5_000_000
DAYS: Final = 365
YEAR_END: Final = datetime(2026, 11, 1, tzinfo=UTC)
RANGES: Final = {"7 days": 7, "30 days": 30, "a year": DAYS}
STATISTICS: Final[tuple[Callable[..., Awaitable[Any]], ...]] = (
    work_hours,
    frequency,
    terminals,
    access,
    concurrency,
    durations,
    hours,
)

# Two records of each session. 20 000 users; one session in 50 ends badly, one in 200 was lost, one in 200 corrected.
_FILL: Final = """
    INSERT INTO sojourn_v1.session_history
    SELECT
        %(tenant)s, md5(n::text), n %% 12, n / 12 * 2 + kind, CASE kind WHEN 0 THEN login ELSE logout END,
        n || '-' || kind, '/brokers/eu-' || n %% 4, (ARRAY['established', 'destroyed'])[1 + kind],
        CASE kind WHEN 0 THEN login ELSE logout END, kind + 1, decode(md5(n::text), 'hex'), 'applied', NULL, kind + 1,
        (ARRAY['active', 'ended'])[1 + kind], 'u-' || u, 'Ada Byron ' || u, 'd-' || d, 'CAD-' || d, 'cad',
        (ARRAY['thin_client', 'soft_client', 'mobile', 'browser'])[1 + u %% 4],
        (ARRAY['Linux', 'Windows', 'macOS'])[1 + u %% 3], '7.1', 'TC-' || d, '10.4.' || u / 256 || '.' || u %% 256,
        CASE WHEN n %% 5 = 0 THEN 'public' ELSE 'internal' END, 'blast', '/brokers/eu-' || n %% 4, NULL, login,
        CASE kind WHEN 1 THEN logout END, CASE kind WHEN 1 THEN extract(epoch FROM logout - login)::float8 END,
        CASE WHEN kind = 1 THEN CASE WHEN n %% 50 = 0 THEN 'abnormal' ELSE 'normal' END END,
        CASE WHEN kind = 1 THEN CASE WHEN n %% 50 = 0 THEN 'network' ELSE 'logoff' END END, NULL,
        CASE WHEN kind = 1 AND n %% 200 = 0 THEN logout END,
        CASE WHEN kind = 1 AND n %% 200 = 0 THEN logout + interval '2 minutes' END, NULL, NULL, 0,
        decode(md5(n::text) || md5(n::text) || md5(n::text), 'hex')
    FROM (
        SELECT n, u, d, login, login + least(exp(8.5 + 2 * random() - random()), 50000) * interval '1 second' AS logout
        FROM (
            SELECT n, (hashint8(n) & 2147483647) %% 20000 AS u, (hashint8(n) & 2147483647) %% 20000 + n %% 7 / 6 AS d,
                %(day)s + (28800 + 14400 * (random() + random() + random() - 1.5)) * interval '1 second' AS login
            FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
        ) AS begun
    ) AS made, (VALUES (0), (1)) AS kinds (kind)
"""
# Indexes of a filled table are made in a fifth of the time that it takes to fill them row by row.
_INDEXES: Final = """
    SELECT indexname, replace(indexdef, ' ONLY ', ' ') FROM pg_indexes
    WHERE schemaname = 'sojourn_v1' AND tablename = 'session_history' AND indexname <> 'session_history_pkey'
"""
_KEY: Final = 'ADD CONSTRAINT session_history_pkey PRIMARY KEY (tenant, partition, "offset", appended_at)'
_CORRECT: Final = """
    INSERT INTO sojourn_v1.superseded
    SELECT tenant, partition, "offset", appended_at, "offset", appended_at FROM sojourn_v1.session_history
    WHERE revision = 2 AND "offset" %% 400 = 1
"""
_COMPLETE: Final = """
    INSERT INTO sojourn_v1.position (topic, partition, epoch, next_offset, committed_at, complete_to)
    VALUES ('sojourn.heartbeats', 0, 1, 0, now(), now())
"""
_FROM_ROWS: Final = "a year from rows, without blocks: durations"
_COUNT: Final = "SELECT count(*), sum(online_seconds) FROM ended_session"


class Figure(NamedTuple):
    """One answer: how long it took, and how much of it processors were at work here and in PostgreSQL."""

    what: str
    sessions: int
    seconds: float
    python_seconds: float
    postgres_seconds: float

    @property
    def core_seconds(self) -> float:
        """The processor time of both."""
        return self.python_seconds + self.postgres_seconds


async def fill(database: Database, tenant: str, sessions: int) -> None:
    """Write a year of ended sessions of one tenant, and a tenth as many of another."""
    async with await database.connect(autocommit=True) as connection:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        await connection.execute(_COMPLETE)
        indexes = await (await connection.execute(_INDEXES)).fetchall()
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX sojourn_v1.{name}".encode())
        await connection.execute("ALTER TABLE sojourn_v1.session_history DROP CONSTRAINT session_history_pkey")
        for name, rows in ((tenant, sessions), (f"not-{tenant}", sessions // 10)):
            await connection.execute(
                "INSERT INTO sojourn_v1.tenant_config VALUES (%s, %s, NULL, NULL, 'Europe/Berlin', 0, 0, now())",
                [name, YEAR_END - timedelta(days=DAYS)],
            )
            for number in range(DAYS):
                day = YEAR_END - timedelta(days=DAYS - number)
                for month in (day, day + timedelta(days=2)):
                    await connection.execute("SELECT sojourn_v1.ensure_history_month(%s)", [month.date()])
                first, last = rows * number // DAYS, rows * (number + 1) // DAYS - 1
                await connection.execute(_FILL, {"tenant": name, "day": day, "first": first, "last": last})
        await connection.execute(f"ALTER TABLE sojourn_v1.session_history {_KEY}".encode())
        for _, definition in indexes:
            await connection.execute(definition.encode())
        await connection.execute(_CORRECT.replace("%%", "%"))
        await connection.execute("VACUUM ANALYZE sojourn_v1.session_history, sojourn_v1.superseded")
        await connection.execute("CHECKPOINT")


async def measure(database: Database, tenant: str) -> list[Figure]:
    """Ask with nothing kept, let a console keep blocks, then ask for ranges: each statistic first and again."""
    server = await postmaster(database)
    figures: list[Figure] = []

    async def note(what: str, asked: Awaitable[Any]) -> None:
        postgres, python, began = server_seconds(server), time.process_time(), time.perf_counter()
        answer = await asked
        seconds, python = time.perf_counter() - began, time.process_time() - python
        figures.append(Figure(what, answer.sessions, seconds, python, server_seconds(server) - postgres))

    async with await database.connect(autocommit=True) as connection:
        await note("limit: count(*) and sum(online_seconds) in SQL", _counted(connection, tenant))
        year = HistoryFilter(from_at=YEAR_END - timedelta(days=DAYS))
        await note(_FROM_ROWS, _asked(connection, tenant, StatisticsCache(), year, durations))
        await note("all blocks of the year, written once (how many)", _kept(connection, tenant))
        for name, days in RANGES.items():
            filters = HistoryFilter(from_at=YEAR_END - timedelta(days=days))
            for statistic in STATISTICS:
                cache = StatisticsCache()
                for when in ("first", "again"):
                    what = f"{name}, {when}: {statistic.__name__}"
                    await note(what, _asked(connection, tenant, cache, filters, statistic))
    return figures


class _Count(NamedTuple):
    sessions: int


async def _counted(connection: AsyncConnection[Any], tenant: str) -> _Count:
    async with as_reader(connection, tenant):
        row: Any = await (await connection.execute(_COUNT)).fetchone()
    return _Count(row[0])


async def _kept(connection: AsyncConnection[Any], tenant: str) -> _Count:
    blocks = 0
    while await write_block(connection, tenant):
        blocks += 1
    return _Count(blocks)


async def _asked(
    connection: AsyncConnection[Any],
    tenant: str,
    cache: StatisticsCache,
    filters: HistoryFilter,
    statistic: Callable[..., Awaitable[Any]],
) -> Any:
    async with as_reader(connection, tenant):
        return await statistic(connection, cache, filters, "Europe/Berlin")


def table(figures: list[Figure]) -> str:
    """Return the figures as Markdown, and how much less a first answer of a year takes than from rows."""
    lines = ["| what | sessions | seconds | core-seconds: Python | PostgreSQL |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {each.what} | {each.sessions:,} | {each.seconds:.2f} | {each.python_seconds:.2f} "
        f"| {each.postgres_seconds:.2f} |"
        for each in figures
    ]
    by_name = {each.what: each for each in figures}
    before, after = by_name[_FROM_ROWS], by_name["a year, first: durations"]
    lines += ["", f"a year, first: durations: {after.core_seconds / before.core_seconds:.2f} × {_FROM_ROWS}"]
    return "\n".join(lines)


async def run(sessions: int) -> list[Figure]:
    """Fill a fresh data directory and measure."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        async with opened(Path(directory) / "data") as parts:
            await fill(parts.database, "long", sessions)
            return await measure(parts.database, "long")


def main() -> None:
    """Print the table, and how much memory this process took at most."""
    print(table(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else SESSIONS))))
    print(f"\nmemory of the process at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
