"""The host on the embedded log: what it does at a stop, after errors, and over gaps."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from sojourn.consumers import keeper as keeper_module
from sojourn.consumers import partition as partition_module
from sojourn.consumers.host import Host
from sojourn.consumers.keeper import Unappliable
from sojourn.consumers.owning import LogChanged
from sojourn.consumers.partition import Partition
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.publisher import Publisher
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections import owners
from sojourn.projections.store import apply_changes

WAIT_SECONDS_MAX = 30  # it takes one; the machine may be busy


@pytest.fixture
async def log(migrated_database: Database) -> AsyncIterator[EmbeddedLog]:
    async with await migrated_database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(migrated_database)
    yield log
    await log.close()


def event(kind: str, session: str, number: int, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{session}-{number}",
            "source": "/brokers/eu-1",
            "type": f"sojourn.session.{kind}.v1",
            "time": "2026-11-24T08:00:00Z",
            "tenant": "acme",
            "subject": session,
            "sequence": str(number),
            "data": data,
        }
    )


def established(session: str) -> bytes:
    data = {
        "user": {"id": "u-17", "name": "Ada Byron"},
        "desktop": {"id": "d-204", "name": "CAD-204", "pool": "cad"},
        "terminal": {"type": "thin_client", "os": "Linux", "version": "7.1", "name": ""},
        "client_ip": "10.4.2.17",
        "protocol": "blast",
    }
    return event("established", session, 1, data)


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with await database.connect() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def run_until(
    database: Database, log: EmbeddedLog, enough: Callable[[], Awaitable[bool]], stopping: asyncio.Event | None = None
) -> None:
    """Run a host until `enough` holds or `stopping` is set from within, and let it end."""
    stopping = stopping or asyncio.Event()
    running = asyncio.create_task(Host(database, log, "test").run(stopping))
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not running.done() and not stopping.is_set() and not await enough():  # noqa: ASYNC110 - a table tells
            await asyncio.sleep(0.01)
    stopping.set()
    await running


async def applied(log: EmbeddedLog, database: Database) -> bool:
    ends = {(topic, p): end for topic in (LIFECYCLE, HEARTBEATS) for p, end in (await log.end_offsets(topic)).items()}
    found = await rows(database, "SELECT topic, partition, next_offset FROM sojourn_v1.position")
    return {(topic, partition): offset for topic, partition, offset in found} == ends


async def test_stopping_in_a_backlog_passes_over_no_heartbeat(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Publisher(log).publish([established(f"s-{number}") for number in range(60)])
    await Publisher(log).publish([event("heartbeat", f"s-{number}", 2, {}) for number in range(60)])
    monkeypatch.setattr(keeper_module, "BATCH_RECORDS_MAX", 1)
    stopping, apply = asyncio.Event(), Partition.apply_lifecycle

    async def apply_and_stop(self: Partition, batch: Any) -> None:
        await apply(self, batch)
        stopping.set()

    monkeypatch.setattr(Partition, "apply_lifecycle", apply_and_stop)
    await run_until(migrated_database, log, lambda: applied(log, migrated_database), stopping)
    positions = await rows(
        migrated_database, "SELECT sum(next_offset) FROM sojourn_v1.position WHERE topic = 'sojourn.heartbeats'"
    )
    monkeypatch.undo()
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    assert positions == [(0,)]
    counts = await rows(
        migrated_database,
        "SELECT disposition, sum(records) FROM sojourn_v1.disposition WHERE topic = 'sojourn.heartbeats' GROUP BY 1",
    )
    assert counts == [("applied", 60)]


async def test_details_reach_the_list_and_what_later_heartbeats_leave_out_stays(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_module, "FLUSH_SECONDS", 0.01)
    publisher = Publisher(log)
    await publisher.publish([established("s-1"), event("heartbeat", "s-1", 2, {"client_ip": "203.0.113.9"})])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    await publisher.publish([event("heartbeat", "s-1", 3, {"idle_seconds": 4})])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    found = await rows(migrated_database, "SELECT current_client_ip, idle_seconds FROM sojourn_v1.live_detail")
    assert found == [("203.0.113.9", 4)]


async def test_an_error_that_passes_is_tried_again_until_it_has_passed(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Publisher(log).publish([established("s-1")])
    failures = iter([psycopg.errors.DiskFull, psycopg.errors.DeadlockDetected])

    async def fail_twice(*args: Any) -> None:
        failure = next(failures, None)
        if failure is not None:
            raise failure("injected")
        await apply_changes(*args)

    monkeypatch.setattr(partition_module, "apply_changes", fail_twice)
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    assert next(failures, None) is None
    assert await rows(migrated_database, "SELECT session_id FROM sojourn_v1.live_session") == [("s-1",)]


async def test_an_error_that_no_retry_mends_stops_the_host_with_one_line(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Publisher(log).publish([established("s-1")])

    async def refuse(*_: Any) -> None:
        raise psycopg.errors.CheckViolation("injected\nwith a second line")

    monkeypatch.setattr(partition_module, "apply_changes", refuse)

    with pytest.raises(Unappliable, match=r"^PostgreSQL refuses what partition \d+ has to write: injected with"):
        await run_until(migrated_database, log, lambda: applied(log, migrated_database))
    assert await rows(migrated_database, "SELECT sum(next_offset) FROM sojourn_v1.position") == [(0,)]


async def test_heartbeats_that_were_dropped_unread_are_counted_as_a_gap(
    migrated_database: Database, log: EmbeddedLog
) -> None:
    await Publisher(log).publish([established("s-1")])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))
    await Publisher(log).publish([event("heartbeat", "s-1", number, {}) for number in (2, 3)])
    await log.drop_heartbeats_before(datetime.now(UTC) + timedelta(days=1))

    await run_until(migrated_database, log, lambda: applied(log, migrated_database))

    counts = await rows(
        migrated_database, "SELECT disposition, records FROM sojourn_v1.disposition WHERE topic = 'sojourn.heartbeats'"
    )
    assert counts == [("gap", 2)]


async def test_a_log_that_holds_another_record_than_was_applied_stops_the_host(
    migrated_database: Database, log: EmbeddedLog
) -> None:
    await Publisher(log).publish([established("s-1")])
    await run_until(migrated_database, log, lambda: applied(log, migrated_database))
    async with await migrated_database.connect() as connection:
        await connection.execute("UPDATE sojourn_log.lifecycle SET value = 'other'")

    with pytest.raises(LogChanged, match="holds another record than was applied"):
        await run_until(migrated_database, log, lambda: applied(log, migrated_database))


async def test_a_partition_that_another_process_holds_is_not_taken(
    migrated_database: Database, log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "HOLD_SECONDS_MAX", 0.1)
    async with await migrated_database.connect(autocommit=True) as other:
        await owners.hold(other, 3)

        with pytest.raises(owners.OwnedElsewhere, match="partition 3 is owned by another process"):
            await run_until(migrated_database, log, lambda: applied(log, migrated_database))
