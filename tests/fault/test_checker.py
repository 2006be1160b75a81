"""The checker agrees with sound tables and finds every kind of wrong ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, cast

import psycopg
import pytest

from sojourn.consumers.host import Host
from sojourn.events.codec import encode
from sojourn.events.decision_data import DeadLetterResolvedData, DisconnectRequestedData, TenantConfiguredData
from sojourn.events.decisions import (
    broker_silent,
    dead_letter_resolved,
    disconnect_requested,
    gap_accepted,
    lost,
    lost_ended,
    source_bound,
    tenant_configured,
)
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.log import Append, Log
from sojourn.events.publisher import Publisher
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, session_key, session_partition
from sojourn.events.types import PartitionEvent, SessionEvent
from sojourn.projections import schema
from tests.fault.checker import check
from tests.integration.command import EVENTS

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
OFTEN_SECONDS = 0.02  # until the host has read all


class Corrupted:
    """A database that shows the effect of one statement, which is rolled back afterwards."""

    def __init__(self, database: Database, statement: LiteralString) -> None:
        self.dsn = database.dsn
        self._database, self._statement = database, statement

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[Any]:
        connection = await self._database.connect(autocommit=autocommit)
        await connection.execute(self._statement)
        connection.commit = connection.rollback  # type: ignore[method-assign]
        return connection

    async def close(self) -> None:
        await self._database.close()


def lines(name: str) -> list[bytes]:
    return (EVENTS / f"{name}.ndjson").read_bytes().splitlines()


def later(value: bytes, seconds: float, **fields: Any) -> bytes:
    """Return an example event `seconds` later than it says, with other fields."""
    event = json.loads(value)
    event["time"] = (datetime.fromisoformat(event["time"]) + timedelta(seconds=seconds)).isoformat()
    return json.dumps({**event, **fields}).encode()


def values() -> list[bytes]:
    """Return the examples, the bad ones, and events that compete, repeat, come too soon or stand elsewhere."""
    examples = lines("examples")
    begun, ended = examples[1], examples[6]
    return [
        *examples,
        *lines("bad"),
        later(begun, -60, id="s-1002-0", sequence="0"),
        later(ended, 30, id="s-1002-96", sequence="96"),
        later(ended, 0, id="early-1", subject="s-2000"),
        later(begun, 0, id="early-2", subject="s-2000"),
        later(begun, 0, id="late-1", subject="s-2001", time="1970-01-01T00:00:00Z"),
    ]


async def project_all(database: Database, log: Log) -> None:
    """Run the host until it has read everything, and let it stop, which flushes."""
    stopping = asyncio.Event()
    host = Host(database, log, "checker")
    running = asyncio.create_task(host.run(stopping))
    ends = {topic: await log.end_offsets(topic) for topic in (LIFECYCLE, HEARTBEATS)}
    while not running.done():
        at = {number: partition.next_offsets for number, partition in host.partitions.items()}
        if len(at) == len(ends[LIFECYCLE]) and all(
            at[number][topic] == end for topic, of_topic in ends.items() for number, end in of_topic.items()
        ):
            stopping.set()
        await asyncio.sleep(OFTEN_SECONDS)
    await running


@pytest.fixture
async def log(database: Database) -> AsyncIterator[EmbeddedLog]:
    await schema.upgrade(database)
    async with await database.connect() as connection:
        await install(connection)
    log = EmbeddedLog(database)
    yield log
    await log.close()


async def publish_all(log: EmbeddedLog) -> list[bytes]:
    """Publish all values, the examples again, and one lifecycle event into another partition than its session's."""
    published = values()
    await Publisher(log).publish(published)
    await Publisher(log).publish(lines("examples"))
    partitions = await log.partitions(LIFECYCLE)
    elsewhere = (session_partition("acme", "s-1001", partitions) + 1) % partitions
    await log.append([Append(LIFECYCLE, elsewhere, session_key("acme", "s-1001"), published[0])])
    decided = [*await publish_decisions(log, partitions), *await publish_losses(log, partitions)]
    return [*published, *lines("examples"), published[0], *decided, *await publish_letters(log, partitions)]


async def publish_decisions(log: EmbeddedLog, partitions: int) -> list[bytes]:
    """Bind a broker to crc32, publish a session as it does, in both partitions, and accept a gap."""
    bound, gap = source_bound("/brokers/crc", "crc32", NOW), gap_accepted(3, 7, 9, reason="", who="me", at=NOW)
    decisions = [encode(bound), encode(gap)]
    await Publisher(log).publish(decisions)
    begun, beat = (later(value, 0, source="/brokers/crc", subject="s-1002") for value in lines("examples")[1:3])
    by_crc32, by_murmur2 = (session_partition("acme", "s-1002", partitions, name) for name in ("crc32", "murmur2"))
    assert by_crc32 != by_murmur2
    key = session_key("acme", "s-1002")
    appends = [Append(LIFECYCLE, place, key, begun) for place in (by_crc32, by_murmur2)]
    await log.append([*appends, Append(HEARTBEATS, by_crc32, key, beat)])
    return [*decisions, begun, begun, beat]


async def publish_losses(log: EmbeddedLog, partitions: int) -> list[bytes]:
    """Lose two sessions, one of them for good, ask for one to be disconnected, and tell what holds for a tenant."""
    soon = datetime.now(UTC) + timedelta(hours=1)  # later than any sign of life, or the owner would find them again
    losses = [lost("acme", session, soon, soon + timedelta(seconds=90), 90, 7) for session in ("s-1004", "s-2001")]
    ended = lost_ended("acme", "s-2001", losses[1].id, (soon, soon + timedelta(seconds=90)), 1800)
    asked = DisconnectRequestedData("c-1", "disconnect", "/brokers/eu-2", "maintenance", "ada", soon)
    asking = disconnect_requested("acme", "s-1004", asked, NOW)
    of_sessions: list[SessionEvent] = [*losses, ended, asking]
    of_partition: list[PartitionEvent] = [
        tenant_configured("acme", TenantConfiguredData(internal_networks=["192.0.2.0/24"]), NOW),
        broker_silent("/brokers/quiet", 4, NOW, NOW + timedelta(seconds=90), 7),
    ]
    appends = [
        Append(LIFECYCLE, session_partition("acme", event.subject, partitions), None, encode(event))
        for event in of_sessions
    ] + [Append(LIFECYCLE, 4, None, encode(event)) for event in of_partition]
    await log.append(appends)
    return [append.value for append in appends]


async def publish_letters(log: EmbeddedLog, partitions: int) -> list[bytes]:
    """Publish a session whose beginning cannot be read, and resolve that; and one that goes on waiting."""
    sent = []
    resolutions: dict[str, Literal["requeued", "discarded"] | None] = {
        "s-3000": "requeued",
        "s-3001": None,
        "s-3002": "discarded",
    }
    for session, resolution in resolutions.items():
        place, key = session_partition("acme", session, partitions), session_key("acme", session)
        begun, ended = (later(value, 0, subject=session) for value in (lines("examples")[1], lines("examples")[6]))
        spoilt = begun.replace(b'"client_ip"', b'"client"')
        (offset,) = await log.append([Append(LIFECYCLE, place, key, spoilt)])
        (record,) = (await log.read(LIFECYCLE, place, offset, records_max=1)).records
        values = [ended]
        if resolution is not None:
            value = begun if resolution == "requeued" else None
            data = DeadLetterResolvedData(
                LIFECYCLE, place, offset, record.appended_at, resolution, "mended", "ada", value
            )
            values.append(encode(dead_letter_resolved(data, NOW)))
        await log.append([Append(LIFECYCLE, place, key, value) for value in values])
        sent += [spoilt, *values]
    return sent


async def complaint(database: Corrupted, log: Log, acknowledged: list[bytes]) -> str:
    """Return what the checker has to say."""
    try:
        await check(cast("Database", database), log, acknowledged)
    except AssertionError as error:
        return str(error)
    return ""


CORRUPTIONS: list[tuple[str, LiteralString]] = [
    ("check_counts", "UPDATE sojourn_v1.session_count SET sessions = sessions + 1"),
    ("check_live", "DELETE FROM sojourn_v1.live_session WHERE session_id = 's-1004'"),
    ("check_live", "UPDATE sojourn_v1.live_session SET user_name = 'Eve' WHERE session_id = 's-1004'"),
    ("check_live", "UPDATE sojourn_v1.live_session SET login_at = login_at + interval '1 us' WHERE tenant = 'globex'"),
    ("check_history", "DELETE FROM sojourn_v1.session_history WHERE disposition = 'duplicate' AND event_id = 'g-1'"),
    ("check_history", "UPDATE sojourn_v1.session_history SET outcome = 'abnormal' WHERE outcome = 'normal'"),
    ("check_history", "UPDATE sojourn_v1.session_history SET revision = revision + 1 WHERE session_id = 's-2000'"),
    ("check_history", "UPDATE sojourn_v1.session_history SET disposition = 'applied' WHERE disposition = 'late'"),
    ("check_history", "UPDATE sojourn_v1.session_history SET clock_flags = 0 WHERE clock_flags = 1"),
    ("check_digests", "UPDATE sojourn_v1.session_history SET digest = '' WHERE session_id = 's-1002'"),
    ("check_digests", "UPDATE sojourn_v1.session_history SET digest = '' WHERE disposition = 'duplicate'"),
    ("check_superseded", "DELETE FROM sojourn_v1.superseded WHERE tenant = 'acme'"),
    ("check_superseded", "UPDATE sojourn_v1.superseded SET by_offset = by_offset + 1"),
    ("check_dead_letters", "DELETE FROM sojourn_v1.dead_letter WHERE reason = 'conflict'"),
    ("check_dead_letters", "UPDATE sojourn_v1.dead_letter SET reason = 'not_json' WHERE reason = 'truncated_json'"),
    ("check_dead_letters", "UPDATE sojourn_v1.dead_letter SET value = ''"),
    ("check_dead_letters", "UPDATE sojourn_v1.dead_letter SET tenant = 'globex' WHERE reason = 'wrong_partition'"),
    ("check_dispositions", "UPDATE sojourn_v1.disposition SET records = records + 1 WHERE disposition = 'applied'"),
    ("check_dispositions", "DELETE FROM sojourn_v1.disposition WHERE disposition = 'orphan'"),
    ("check_tenants", "DELETE FROM sojourn_v1.tenant_config WHERE tenant = 'globex'"),
    ("check_tenants", 'UPDATE sojourn_v1.tenant_config SET "offset" = 1000'),
    ("check_positions", "UPDATE sojourn_v1.position SET next_offset = next_offset - 1 WHERE next_offset > 0"),
    ("check_positions", "UPDATE sojourn_v1.position SET record_crc = 1 WHERE topic = 'sojourn.lifecycle'"),
    ("check_positions", "DELETE FROM sojourn_v1.position WHERE partition = 3"),
    ("check_owners", "UPDATE sojourn.partition_owner SET epoch = epoch + 1 WHERE partition = 2"),
    ("check_last_seen", "UPDATE sojourn_v1.liveness_page SET seen = '\\x7f' || substr(seen, 2)"),
    ("check_details", "DELETE FROM sojourn_v1.live_detail"),
    ("check_details", "UPDATE sojourn_v1.live_detail SET session_id = 's-9' WHERE tenant = 'acme'"),
    ("check_decisions", "UPDATE sojourn_v1.broker SET partitioner = 'murmur2' WHERE partition = 3"),
    ("check_decisions", "DELETE FROM sojourn_v1.broker WHERE source = '/brokers/crc'"),
    ("check_decisions", "DELETE FROM sojourn_v1.accepted_gap"),
    ("check_decisions", "UPDATE sojourn_v1.broker SET tenants = '{acme}' WHERE source = '/brokers/crc'"),
    ("check_decisions", "UPDATE sojourn_v1.broker SET silent_id = NULL WHERE source = '/brokers/quiet'"),
    ("check_decisions", "DELETE FROM sojourn_v1.tenant_setting"),
    ("check_live", "UPDATE sojourn_v1.live_session SET state = 'active' WHERE state = 'lost'"),
    ("check_live", "UPDATE sojourn_v1.live_session SET ended_after = NULL WHERE session_id = 's-1004'"),
    ("check_history", "UPDATE sojourn_v1.session_history SET ended_before = NULL WHERE reason = 'lost'"),
    ("check_history", "UPDATE sojourn_v1.session_history SET online_seconds = 0 WHERE reason = 'lost'"),
    ("check_history", "DELETE FROM sojourn_v1.session_history WHERE disposition = 'parked'"),
    ("check_commands", "UPDATE sojourn_v1.command SET state = 'confirmed'"),
    ("check_commands", "DELETE FROM sojourn_v1.command"),
    ("check_dead_letters", "UPDATE sojourn_v1.dead_letter SET resolution = NULL WHERE resolution = 'released'"),
    ("check_dead_letters", "UPDATE sojourn_v1.dead_letter SET mended = NULL"),
    ("check_dead_letters", "UPDATE sojourn_v1.dead_letter SET waits = NULL WHERE session_id = 's-3001'"),
    ("check_slots", "UPDATE sojourn_v1.live_session SET slot = 7, partition = 0"),
]


async def test_the_checker_agrees_with_sound_tables_and_finds_each_corruption(
    database: Database, log: EmbeddedLog
) -> None:
    acknowledged = await publish_all(log)
    await project_all(database, log)

    await check(database, log, acknowledged)

    for name, statement in CORRUPTIONS:
        assert name in await complaint(Corrupted(database, statement), log, acknowledged), statement


async def test_the_checker_finds_last_seen_that_is_too_old(database: Database, log: EmbeddedLog) -> None:
    published = lines("examples")[:1]
    await Publisher(log).publish(published)
    await asyncio.sleep(1.1)  # last-seen has whole seconds, of the log's own clock
    beat = lines("examples")[2]
    await Publisher(log).publish([beat])
    await project_all(database, log)
    await check(database, log, [*published, beat])

    corrupted = Corrupted(database, "DELETE FROM sojourn_v1.liveness_page")
    assert "last seen at" in await complaint(corrupted, log, [*published, beat])


async def test_the_checker_misses_an_acknowledged_value_that_the_log_does_not_hold(
    database: Database, log: EmbeddedLog
) -> None:
    published = lines("examples")
    await Publisher(log).publish(published)
    await project_all(database, log)
    await check(database, log, published[1:])

    for value in (
        later(published[0], 1),
        published[0],  # acknowledged twice, held once
        later(published[2], 1),
        json.dumps({**json.loads(published[10]), "data": {"sessions": ["s-1001", "s-1003"]}}).encode(),
        later(published[11], 1),
        b"not held",
    ):
        with pytest.raises(AssertionError, match="unacknowledged"):
            await check(database, log, [*published, value])
