"""Filling topics as brokers would have, and the plain loop over them that everything else is held against."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.load import TENANTS
from bench.measure import Meter, Row
from sojourn.events.codec import decode, encode
from sojourn.events.topics import HEARTBEATS, PARTITIONS_DEFAULT, batch_key, session_key, session_partition
from sojourn.events.types import Heartbeat, Heartbeats, HeartbeatsData

SOURCE: Final = "/brokers/eu-1"
BEATS_A_RECORD: Final = 100
POLL_RECORDS_MAX: Final = 10_000  # as the worker asks for
POLL_MS: Final = 200

Keyed = tuple[bytes, bytes]  # key and value of a record


def single_beats(keys: Iterable[tuple[str, str]]) -> dict[int, list[Keyed]]:
    """Return one heartbeat of every session, a record each, by partition."""
    found: dict[int, list[Keyed]] = {number: [] for number in range(PARTITIONS_DEFAULT)}
    now = datetime.now(UTC)
    for number, (tenant, session_id) in enumerate(keys):
        event = Heartbeat(
            specversion="1.0",
            id=f"beat-{number}",
            source=SOURCE,
            time=now,
            tenant=tenant,
            subject=session_id,
            sequence=str(number),
            sequencetype="Integer",
        )
        place = session_partition(tenant, session_id, PARTITIONS_DEFAULT)
        found[place].append((session_key(tenant, session_id), encode(event)))
    return found


def batched_beats(keys: Iterable[tuple[str, str]]) -> tuple[dict[int, list[Keyed]], int]:
    """Return heartbeats of many sessions a record, by partition, and how many beats these are; only full records."""
    here: dict[tuple[int, str], list[str]] = {}
    for tenant, session_id in keys:
        place = session_partition(tenant, session_id, PARTITIONS_DEFAULT)
        here.setdefault((place, tenant), []).append(session_id)
    found: dict[int, list[Keyed]] = {number: [] for number in range(PARTITIONS_DEFAULT)}
    beats, now = 0, datetime.now(UTC)
    for (place, tenant), ids in here.items():
        for start in range(0, len(ids), BEATS_A_RECORD):
            these = ids[start : start + BEATS_A_RECORD]
            if len(these) < BEATS_A_RECORD and start:
                continue
            event = Heartbeats(
                specversion="1.0",
                id=f"beats-{place}-{tenant}-{start}",
                source=SOURCE,
                time=now,
                tenant=tenant,
                data=HeartbeatsData(these),
            )
            found[place].append((batch_key(SOURCE), encode(event)))
            beats += len(these)
    assert {tenant for _, tenant in here} == set(TENANTS)
    return found, beats


async def fill(bootstrap_servers: str, topic: str, records: dict[int, list[Keyed]], rounds: int = 1) -> int:
    """Append the records so many times, in batches of the size that producers make by themselves."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for _ in range(rounds):
            sent = [
                await producer.send_batch(batch, topic, partition=partition)
                for partition, of_partition in records.items()
                for batch in _batches(producer, of_partition)
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return rounds * sum(map(len, records.values()))


def _batches(producer: AIOKafkaProducer, records: Iterable[Keyed]) -> Iterator[object]:
    batch = producer.create_batch()
    for key, value in records:
        if batch.append(key=key, value=value, timestamp=None) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    if batch.record_count():
        yield batch


async def consume(
    meter: Meter, bootstrap_servers: str, name: str, starts: dict[int, int], pieces: int, *, decoding: bool
) -> Row:
    """Read heartbeats from `starts` to their end with a plain loop over all partitions, and perhaps decode them."""
    async with _reader(bootstrap_servers, starts) as consumer:
        places = [TopicPartition(HEARTBEATS, number) for number in starts]
        ends = await consumer.end_offsets(places)
        left = sum(ends.values()) - sum(starts.values())
        before = meter.read({})
        while left:
            for found in (await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS_MAX)).values():
                left -= len(found)
                if decoding:
                    for record in found:
                        decode(record.value)
        after = meter.read({})
    return Row.between(name, pieces, before, after)


@asynccontextmanager
async def _reader(bootstrap_servers: str, starts: dict[int, int]) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(HEARTBEATS, number) for number in starts])
        for number, offset in starts.items():
            consumer.seek(TopicPartition(HEARTBEATS, number), offset)
        yield consumer
    finally:
        await consumer.stop()
