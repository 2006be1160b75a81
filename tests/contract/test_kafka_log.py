"""Kafka as the log against the contract of all logs, on real Apache Kafka.

Run as a program, it appends until it is killed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from sojourn.events.errors import OffsetOutOfRange, Unreachable
from sojourn.events.kafka import brokers
from sojourn.events.kafka import log as log_module
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.log_append import INT_MAX, TooMuch
from sojourn.events.kafka.log_read import FETCH_BYTES
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import BATCH_BYTES_MAX, create_topics
from sojourn.events.log import Append, Batch, Log, Record
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE
from tests.contract.kafka_steps import administering, delete
from tests.contract.log_contract import LogContract
from tests.contract.log_steps import (
    SECONDS_MAX,
    OpenLog,
    Place,
    Restart,
    append_until_killed,
    ends,
    seconds_of,
    values,
)
from tests.contract.log_waiting_contract import FOREVER, WAKE_SECONDS_MAX
from tests.kafka_server import KafkaServer

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("kafka-log")


@asynccontextmanager
async def opened(bootstrap_servers: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(KafkaSettings(bootstrap_servers))
    try:
        yield log
    finally:
        await log.close()


class TestKafkaLog(LogContract):
    @pytest.fixture
    def open_log(self, kafka: KafkaServer) -> OpenLog:
        @asynccontextmanager
        async def open_one() -> AsyncIterator[Log]:
            async with opened(kafka.bootstrap_servers) as log:
                yield log

        return open_one

    @pytest.fixture
    def restart(self, kafka: KafkaServer) -> Restart:
        async def crash() -> None:
            await asyncio.to_thread(kafka.stop, signal.SIGKILL)
            await asyncio.to_thread(kafka.start)

        return crash

    @pytest.fixture
    def appender(self, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
        return [sys.executable, "-m", __name__, kafka.bootstrap_servers]


@pytest.fixture
async def log(kafka: KafkaServer) -> AsyncIterator[KafkaLog]:
    async with opened(kafka.bootstrap_servers) as log:
        yield log


@pytest.fixture
async def producer(kafka: KafkaServer) -> AsyncIterator[AIOKafkaProducer]:
    """Open somebody else's producer, with transactions."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id="somebody")
    await producer.start()
    yield producer
    await producer.stop()


async def send(producer: AIOKafkaProducer, place: Place, *sent: bytes) -> None:
    for value in sent:
        await producer.send_and_wait(place[0], value, partition=place[1])


async def test_a_reader_reaches_the_end_over_what_transactions_leave(log: KafkaLog, producer: AIOKafkaProducer) -> None:
    place = (LIFECYCLE, 8)
    start = (await ends(log, LIFECYCLE))[place]
    await producer.begin_transaction()
    await send(producer, place, b"committed 1", b"committed 2")
    await producer.commit_transaction()
    await log.wait({place: start + 2}, FOREVER)  # Kafka ends a transaction in the background
    await log.append([Append(*place, None, b"ours")])
    await producer.begin_transaction()
    await send(producer, place, b"aborted 1", b"aborted 2")
    await producer.abort_transaction()
    await log.wait({place: start + 6}, FOREVER)

    found, offset = await read_to_end(log, place, start, records_max=2)

    end = (await log.end_offsets(LIFECYCLE))[8]
    assert [(record.offset - start, record.value) for record in found] == [
        (0, b"committed 1"),
        (1, b"committed 2"),
        (3, b"ours"),
    ]
    assert offset == end == start + 7  # two control records and two aborted ones
    assert await log.read(*place, start + 4) == Batch(*place, (), end)
    assert await log.read(*place, end) == Batch(*place, (), end)


async def test_what_follows_a_long_aborted_transaction_is_found(log: KafkaLog, producer: AIOKafkaProducer) -> None:
    place = (HEARTBEATS, 8)
    start = (await ends(log, HEARTBEATS))[place]
    await producer.begin_transaction()
    for _ in range(3 * FETCH_BYTES // 500_000):
        await producer.send_and_wait(HEARTBEATS, os.urandom(500_000), partition=8)
    await producer.abort_transaction()
    await log.wait({place: start}, FOREVER)
    last = (await log.append([Append(*place, None, b"last")]))[0]

    batch = await log.read(*place, start)

    assert (values(batch.records), batch.next_offset) == ([b"last"], last + 1)


async def test_an_open_transaction_hides_itself_and_what_follows_until_it_ends(
    log: KafkaLog, producer: AIOKafkaProducer
) -> None:
    place = (LIFECYCLE, 9)
    start = (await ends(log, LIFECYCLE))[place]
    await producer.begin_transaction()
    await send(producer, place, b"theirs")
    await log.append([Append(*place, None, b"ours")])

    assert (await log.end_offsets(LIFECYCLE))[9] == start
    assert await log.read(*place, start) == Batch(*place, (), start)
    waiting = asyncio.create_task(seconds_of(log.wait({place: start}, FOREVER)))
    await log.wait({place: start}, 0.3)
    assert not waiting.done()
    await producer.commit_transaction()
    await asyncio.wait_for(waiting, WAKE_SECONDS_MAX)

    found, offset = await read_to_end(log, place, start)
    assert values(found) == [b"theirs", b"ours"]
    assert offset == (await log.end_offsets(LIFECYCLE))[9]


async def test_what_others_leave_out_is_read_as_empty(log: KafkaLog, producer: AIOKafkaProducer) -> None:
    """So that a record without a value becomes a dead letter, as an empty one does, and stops nobody."""
    start = (await log.end_offsets(LIFECYCLE))[10]
    await producer.begin_transaction()
    await producer.send_and_wait(LIFECYCLE, None, key=b"k", partition=10, headers=[("nothing", None), ("h", b"v")])
    await producer.commit_transaction()
    await log.wait({(LIFECYCLE, 10): start}, FOREVER)

    (record,) = (await log.read(LIFECYCLE, 10, start)).records

    assert (record.key, record.value, record.headers) == (b"k", b"", (("nothing", b""), ("h", b"v")))


class NoText(str):
    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode(encoding, errors).replace(b"b", b"\xff")


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_a_header_name_that_is_no_text_stops_nobody(
    log: KafkaLog, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch, codec: str | None
) -> None:
    """librdkafka sends any bytes there, and aiokafka's reader stops at them."""
    monkeypatch.setattr("aiokafka.producer.message_accumulator.DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    place = (COMMANDS, 1)
    start = (await log.end_offsets(COMMANDS))[1]
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, compression_type=codec)
    batch = producer.create_batch()
    for n in range(4):
        headers = [("ž", b"h"), *[(NoText("nbb"), b"w")] * (n % 2)]
        batch.append(timestamp=n, key=None, value=b"%d" % n * 100, headers=headers)
    await producer.start()
    await (await producer.send_batch(batch, COMMANDS, partition=1))
    await producer.stop()

    found, offset = await read_to_end(log, place, start, records_max=3)

    assert [(record.offset - start, record.value) for record in found] == [(n, b"%d" % n * 100) for n in range(4)]
    assert [record.headers for record in found] == [(("ž", b"h"),), (("ž", b"h"), ("n??", b"w"))] * 2
    assert offset == start + 4


async def test_a_restart_of_kafka_is_waited_for_by_appends_and_reads(kafka: KafkaServer, log: KafkaLog) -> None:
    place = (LIFECYCLE, 11)
    start = (await ends(log, LIFECYCLE))[place]
    stopping, stopped = asyncio.Event(), asyncio.Event()
    acknowledged: dict[int, bytes] = {}

    async def append(to: KafkaLog, name: str) -> None:
        while not stopping.is_set():
            value = f"{name}/{len(acknowledged)}".encode()
            (offset,) = await to.append([Append(*place, None, value)])
            assert acknowledged.setdefault(offset, value) is value

    async def read() -> list[bytes]:
        found: list[bytes] = []
        while not stopped.is_set() or len(found) < len(acknowledged):
            batch = await log.read(*place, start + len(found))
            found += values(batch.records)
            if not batch.records:
                await log.wait({place: batch.next_offset}, 0.1)
        return found

    async with opened(kafka.bootstrap_servers) as other:
        appenders = [(log, f"a{number}") for number in range(8)] + [(other, "b")]
        appending = [asyncio.create_task(append(to, name)) for to, name in appenders]
        reading = asyncio.create_task(read())
        for number in (signal.SIGKILL, signal.SIGTERM):
            await grown(acknowledged)
            await asyncio.to_thread(kafka.stop, number)
            await asyncio.to_thread(kafka.start)
            await grown(acknowledged)
        stopping.set()
        await asyncio.gather(*appending)
        stopped.set()

    found = await reading
    assert dict(enumerate(found, start)) == acknowledged


async def grown(acknowledged: dict[int, bytes]) -> None:
    """Wait until a hundred more are acknowledged."""
    goal = len(acknowledged) + 100
    async with asyncio.timeout(SECONDS_MAX):
        while len(acknowledged) < goal:  # noqa: ASYNC110 - several tasks fill it, none of which should know of this
            await asyncio.sleep(0.01)


async def test_a_hanging_broker_costs_one_append_and_not_those_after_it(
    kafka: KafkaServer, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = (LIFECYCLE, 1)
    start = (await log.append([Append(*place, None, b"first")]))[0]
    used = log._appender._identity
    kafka.send(signal.SIGSTOP)
    try:
        monkeypatch.setattr(brokers, "AWAY_SECONDS_MAX", 1.0)
        with pytest.raises(Unreachable, match=r"^Kafka does not answer [^\n]*; some or all may have been appended$"):
            await log.append([Append(*place, None, b"given up")] * 3)
        monkeypatch.undo()
        assert log._appender._identity is not used  # whose numbers may have a hole now
        following = asyncio.create_task(log.append([Append(*place, None, b"%d" % number) for number in range(3)]))
        assert await asyncio.wait({following}, timeout=0.5) == (set(), {following})
    finally:
        kafka.send(signal.SIGCONT)

    first = (await following)[0]
    last = (await log.append([Append(*place, None, b"last")]))[0]
    found = values((await log.read(*place, start)).records)
    assert found[first - start : first - start + 3] == [b"0", b"1", b"2"]
    assert found[last - start] == b"last"
    assert found.count(b"given up") in (0, 3)
    assert len(found) in (5, 8)


async def test_a_producer_whose_numbers_kafka_does_not_take_is_replaced(log: KafkaLog) -> None:
    place = (LIFECYCLE, 2)
    start = (await log.append([Append(*place, None, b"first")]))[0]
    stuck = log._appender._identity
    assert stuck is not None
    stuck.sequences[place] += 5

    offsets = await log.append([Append(*place, None, b"second"), Append(LIFECYCLE, 3, None, b"x")])

    assert offsets[0] == start + 1
    assert values((await log.read(*place, start)).records) == [b"first", b"second"]
    assert log._appender._identity is not stuck


async def test_producer_ids_are_replaced_before_their_numbers_end(log: KafkaLog) -> None:
    await log.append([Append(LIFECYCLE, 2, None, b"x")])
    used = log._appender._identity
    assert used is not None
    used.sequences[LIFECYCLE, 2] = INT_MAX - 1

    await log.append([Append(LIFECYCLE, 2, None, b"x")] * 2)

    assert log._appender._identity is not used


async def test_more_than_a_batch_holds_is_refused_and_nothing_of_it_appended(log: KafkaLog) -> None:
    before = await log.end_offsets(LIFECYCLE)
    half = bytes(BATCH_BYTES_MAX // 2)

    with pytest.raises(TooMuch, match=r"^[^\n]*partition 4 of sojourn\.lifecycle would get: 83\d{5}$"):
        await log.append([Append(LIFECYCLE, 3, None, b"x"), *[Append(LIFECYCLE, 4, None, half)] * 2])

    assert await log.end_offsets(LIFECYCLE) == before
    await log.append([Append(LIFECYCLE, 3, None, half), Append(LIFECYCLE, 4, None, half)])


async def test_where_nobody_answers_calls_end_with_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "AWAY_SECONDS_MAX", 0.3)
    async with opened("127.0.0.1:1") as log:
        for call in (
            log.partitions(LIFECYCLE),
            log.read(LIFECYCLE, 0, 0),
            log.end_offsets(LIFECYCLE),
            log.append([Append(LIFECYCLE, 0, None, b"x")]),
        ):
            with pytest.raises(Unreachable, match=r"^Kafka does not answer \([^\n]*\): 127\.0\.0\.1:1$"):
                await call
        assert await seconds_of(log.wait({(LIFECYCLE, 0): 0}, 0.1)) < WAKE_SECONDS_MAX


async def test_what_was_fetched_long_ago_is_not_taken_for_the_log(
    log: KafkaLog, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = (HEARTBEATS, 0)
    offset = (await log.append([Append(*place, None, b"%d" % number) for number in range(3)]))[0]
    await log.read(*place, offset, records_max=1)
    monkeypatch.setattr(log_module, "CURSOR_SECONDS_MAX", 0)
    await made_anew(kafka, HEARTBEATS)

    with pytest.raises(OffsetOutOfRange) as raised:
        await log.read(*place, offset + 1)

    assert (raised.value.start, raised.value.end) == (0, 0)
    assert await log.append([Append(*place, None, b"new")]) == [0]
    assert values((await log.read(*place, 0)).records) == [b"new"]


async def made_anew(kafka: KafkaServer, *topics: str) -> None:
    async with administering(kafka.bootstrap_servers) as admin:
        await delete(admin, topics)
    await create_topics(KafkaSettings(kafka.bootstrap_servers))


async def read_to_end(log: KafkaLog, place: Place, start: int, *, records_max: int = 2000) -> tuple[list[Record], int]:
    """Read from an offset to the end, over gaps."""
    records: list[Record] = []
    offset = start
    while True:
        batch = await log.read(*place, offset, records_max=records_max)
        records += batch.records
        offset = batch.next_offset
        if not batch.records:
            return records, offset


async def _append(bootstrap_servers: str, run: str) -> None:
    async with opened(bootstrap_servers) as log:
        await append_until_killed(log, run)


if __name__ == "__main__":
    asyncio.run(_append(*sys.argv[1:]))
