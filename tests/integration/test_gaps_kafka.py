"""Gaps on real Kafka: records deleted, a topic made anew, partitions added; and its records for auditors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from sojourn.consumers.gaps import Gap, PartitionsChanged, check_partitions
from sojourn.events.embedded.database import Database
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import TOPICS, create_topics
from sojourn.events.log import Append
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.conftest import open_folder
from tests.integration.command_line import run_here
from tests.integration.test_gaps import (
    PARTITION,
    SESSIONS,
    Connection,
    accept,
    accepted_events,
    append,
    apply,
    begun,
    binary,
    ended,
    found,
    live,
    position_of,
    records,
    rows,
)
from tests.kafka_server import KafkaServer, demand_kafka

DELETED_SECONDS_MAX: Final = 60  # Kafka deletes a topic within a second, some time after it says so

pytestmark = pytest.mark.xdist_group("kafka-gaps")


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    demand_kafka()
    with open_folder() as folder:
        server = KafkaServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def administered(kafka: KafkaServer) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_anew(kafka: KafkaServer) -> None:
    """Delete the topics and make them again, as soon as Kafka lets them."""
    settings = KafkaSettings(kafka.bootstrap_servers)
    async with administered(kafka) as admin:
        there = [topic for topic in await admin.list_topics() if topic in TOPICS]
        if there:
            await admin.delete_topics(there)
        async with asyncio.timeout(DELETED_SECONDS_MAX):
            while any(topic in TOPICS for topic in await admin.list_topics()):  # noqa: ASYNC110 - Kafka does not tell
                await asyncio.sleep(0.05)
    await create_topics(settings)


async def delete_before(kafka: KafkaServer, offset: int) -> None:
    async with administered(kafka) as admin:
        await admin.delete_records({TopicPartition(LIFECYCLE, PARTITION): RecordsToDelete(offset)})


@asynccontextmanager
async def opened(kafka: KafkaServer) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(KafkaSettings(kafka.bootstrap_servers))
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def log(kafka: KafkaServer) -> AsyncIterator[KafkaLog]:
    await make_anew(kafka)
    async with opened(kafka) as log:
        yield log


async def test_records_that_kafka_dropped_unapplied_are_a_gap_that_can_be_accepted(
    migrated_database: Database, migrated: Connection, kafka: KafkaServer, log: KafkaLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    await append(log, map(begun, SESSIONS[30:60]))
    await delete_before(kafka, 30)
    nothing_lost = await found(log, migrated)
    await delete_before(kafka, 50)

    gap = await found(log, migrated)
    accepted = await accept(log, migrated)
    await apply(migrated_database, log)

    assert nothing_lost is None
    detail = "the log dropped records before they were applied: sojourn.lifecycle, partition 3, offsets 30 to 49 (20)"
    assert gap == Gap(LIFECYCLE, PARTITION, 30, 50, "lost", detail)
    assert accepted == (60, False)
    assert await live(migrated) == {*SESSIONS[:30], *SESSIONS[50:60]}
    assert len(await accepted_events(log)) == 1
    assert await found(log, migrated) is None


async def test_retention_of_what_was_applied_is_no_gap_even_when_nothing_is_left(
    migrated_database: Database, migrated: Connection, kafka: KafkaServer, log: KafkaLog
) -> None:
    await append(log, map(begun, SESSIONS[:30]))
    await apply(migrated_database, log)
    await delete_before(kafka, 30)

    gap = await found(log, migrated)

    assert gap is None
    assert await records(log) == []


@pytest.mark.parametrize("refilled", [0, 5, 45])
async def test_a_topic_made_anew_is_found_and_read_from_its_start(
    migrated_database: Database, migrated: Connection, kafka: KafkaServer, log: KafkaLog, refilled: int
) -> None:
    await append(log, [*map(begun, SESSIONS[:20]), *map(ended, SESSIONS[:10])])
    await apply(migrated_database, log)
    await make_anew(kafka)
    if refilled:
        await append(log, map(begun, SESSIONS[20 : 20 + refilled]))

    gap = await found(log, migrated)
    await accept(log, migrated)
    await apply(migrated_database, log)

    assert gap is not None
    assert gap[:5] == (LIFECYCLE, PARTITION, 30, 0, "changed")
    assert "holds nothing of what was applied from offsets 0 to 29 (records: 30)" in gap.detail
    assert await live(migrated) == {*SESSIONS[10:20], *SESSIONS[20 : 20 + refilled]}
    assert (await position_of(migrated)).next_offset == refilled + 1
    assert len(await rows(migrated, "SELECT FROM sojourn.ended_session")) == 10


async def test_partitions_that_were_added_are_refused(migrated: Connection, kafka: KafkaServer, log: KafkaLog) -> None:
    await check_partitions(log, migrated)
    async with administered(kafka) as admin:
        await admin.create_partitions({topic: NewPartitions(14) for topic in (LIFECYCLE, HEARTBEATS)})

    async with opened(kafka) as grown:
        with pytest.raises(PartitionsChanged, match=r"make it anew with 12 .*, not with: 14$"):
            await check_partitions(grown, migrated)


def test_auditors_read_keys_headers_and_values_of_any_bytes_from_kafka_without_a_database(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_dir: Path, kafka: KafkaServer
) -> None:
    headers = (("trace", b"1"), ("trace", b"\xff"))

    async def prepare() -> None:
        await make_anew(kafka)
        async with opened(kafka) as log:
            text = Append(LIFECYCLE, PARTITION, b"acme/s-1", "Žofie".encode(), headers)
            await log.append([text, binary(SESSIONS[0])])

    asyncio.run(prepare())
    with run_here(monkeypatch, capfd, data_dir) as run:
        monkeypatch.setenv("SOJOURN_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        said, lines = run("log", "read", "--json"), run("log", "read").out.splitlines()

    record = json.loads(said.out.splitlines()[0])
    assert (record["partition"], record["offset"], record["key"]) == (PARTITION, 0, "acme/s-1")
    assert record["headers"] == [["trace", "1"], ["trace", {"base64": "/w=="}]]
    assert record["value"] == "Žofie"
    assert lines[1].endswith(f"lifecycle@3:1       sojourn.session.established.v1  acme/{SESSIONS[0]}")
    assert not data_dir.exists()
