"""Fault 22: a broker's process is killed with the log up and down; what the SDK acknowledged is in the log, in order.

Brokers run as processes of their own (`publish`), forked from one that has imported everything.
"""

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Awaitable, Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Literal

import msgspec
import psycopg
import pytest
import structlog
from psycopg.rows import TupleRow

from sojourn.console.http.credentials import new_token
from sojourn.events.broker.broker import Broker, SpoolFull
from sojourn.events.broker.transport import Transport
from sojourn.events.broker.transports import http_transport, kafka_transport, log_transport
from sojourn.events.codec import decode, sequence_number
from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.log import Log
from sojourn.events.settings import Settings
from sojourn.events.topics import LIFECYCLE
from sojourn.events.types import Destroyed, Established
from sojourn.projections import schema
from tests.contract.broker_ways import DATA, SOURCE, records_of
from tests.contract.test_broker_transports import insert_token, serving
from tests.fault.cluster import fresh_topics
from tests.fault.harness import rounds, until
from tests.integration.server_processes import kill_server
from tests.kafka_server import KafkaServer

KILLS: Final = rounds(2)  # in each state of the log
EVENTS: Final = 5  # of a session: its beginning told again and again, then its end
CALLERS: Final = 4  # at the same time, so that groups have more than one event
SPOOL_BYTES_MAX: Final = 120_000  # two hundred events: full in a second when the log is away
LONG: Final = "lives as long as the spool"

pytestmark = pytest.mark.timeout(120 + 20 * KILLS)


class Way(msgspec.Struct, frozen=True):
    """How a broker's process reaches the log."""

    kind: Literal["kafka", "embedded", "http"]
    where: str
    token: str = ""


class Publisher:
    """A broker's process after the other, on one spool."""

    def __init__(self, way: Way, folder: Path) -> None:
        self.way, self.spool, self.notes = way, folder / "spool", folder / "notes"
        self.notes.touch()
        self.lives = 0
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload([__name__])
        self._process: BaseProcess | None = None

    def start(self) -> None:
        self.lives += 1
        self._process = self._processes.Process(
            target=publish, args=(self.way, str(self.spool), str(self.notes), self.lives), daemon=True
        )
        self._process.start()

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        assert self._process is not None
        assert self._process.exitcode is None, "the broker ended by itself"
        self._process.kill()
        await asyncio.to_thread(self._process.join)
        assert self._process.exitcode == -signal.SIGKILL

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()

    async def notes_more(self, lines: int, word: str = "\n") -> None:
        """Wait until the brokers were told something so many more times."""
        wanted = self._count(word) + lines

        async def is_so() -> bool:
            return self._count(word) >= wanted

        await until(is_so, f"{lines} more notes of {word!r}")

    def told(self) -> set[tuple[str, int]]:
        """Return session and number of the events that callers were told to be spooled."""
        lines = [line.rpartition(" ") for line in self.notes.read_text().splitlines() if line != "full"]
        return {(session_id, int(number)) for session_id, _, number in lines}

    def _count(self, word: str) -> int:
        return self.notes.read_text().count(word)

    async def conclude(self, log: Log) -> None:
        """Let a sound process send the rest; then everything told must be in the log."""
        async with Broker(SOURCE, opened(self.way), spool=self.spool) as broker:
            async with asyncio.timeout(60):
                await broker.drained()
        await check(log, self.told())


def publish(way: Way, spool: str, notes: str, life: int) -> None:
    """Publish sessions until killed, and note what was acknowledged, when it was."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    file = os.open(notes, os.O_WRONLY | os.O_APPEND)

    async def tell(session_id: str, number: int, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await call()
            except SpoolFull:
                os.write(file, b"full\n")
                await asyncio.sleep(0.05)  # as a broker that takes no sessions for a while
            else:
                os.write(file, f"{session_id} {number}\n".encode())
                return

    async def work(broker: Broker, caller: int) -> None:
        for session in count():
            session_id = f"s-{life}-{caller}-{session}"
            for number in range(EVENTS - 1):
                data = msgspec.structs.replace(DATA, protocol=str(number))
                await tell(session_id, number, lambda data=data: broker.established("acme", session_id, data))  # type: ignore[misc]  # noqa: B023
            await tell(session_id, EVENTS - 1, lambda: broker.destroyed("acme", session_id, "logoff", detail="4"))  # noqa: B023

    async def run() -> None:
        async with Broker(SOURCE, opened(way), spool=Path(spool), spool_bytes_max=SPOOL_BYTES_MAX) as broker:
            data = msgspec.structs.replace(DATA, protocol=str(life))
            await tell(LONG, life, lambda: broker.established("acme", LONG, data))
            await asyncio.gather(*(work(broker, caller) for caller in range(CALLERS)))

    asyncio.run(run())


def opened(way: Way) -> Transport:
    match way.kind:
        case "kafka":
            return kafka_transport(KafkaSettings(way.where))
        case "http":
            return http_transport(way.where, way.token)
        case "embedded":
            return log_transport(EmbeddedLog(_Unopened(Path(way.where))))


class _Unopened:
    """A database that is opened when it is used first: a broker may start while it is away."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._database: Database | None = None
        self.dsn = ""

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[TupleRow]:
        if self._database is None:
            self._database = await open_database(Settings(self._data_dir))
        return await self._database.connect(autocommit=autocommit)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()


async def check(log: Log, told: set[tuple[str, int]]) -> None:
    """Compare the log with what callers were told: all of it, in order, and again only as a whole."""
    values: dict[tuple[str, int], bytes] = {}
    ids: dict[str, bytes] = {}
    order: dict[str, list[int]] = {}
    sequences: dict[str, list[int]] = {}
    for record in await records_of(log, LIFECYCLE):
        event = decode(record.value)
        assert isinstance(event, Established | Destroyed)
        number = int(event.data.protocol if isinstance(event, Established) else event.data.detail or "")
        assert ids.setdefault(event.id, record.value) == record.value, "a repeat is a repeat of the whole event"
        assert values.setdefault((event.subject, number), record.value) == record.value, "two ids for one call"
        if number not in order.setdefault(event.subject, []):
            order[event.subject].append(number)
            sequences.setdefault(event.subject, []).append(sequence_number(event) or 0)
    assert not told - values.keys(), "callers were told that these are spooled, and they are not in the log"
    invented = values.keys() - told
    assert len(invented) <= len({session_id.rpartition("-")[0] for session_id, _ in invented}), "one call was under way"
    for session_id, numbers in order.items():
        assert numbers == sorted(numbers), session_id
        assert sequences[session_id] == list(range(1, len(numbers) + 1)), session_id
        assert session_id == LONG or numbers == list(range(len(numbers))), session_id


async def kill_some(publisher: Publisher, draw: random.Random, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Start brokers and kill them at random, each after it was told some events; the first sees what happens."""
    for number in range(KILLS):
        publisher.start()
        await publisher.notes_more(draw.randint(1, 60))
        if number == 0:
            await meanwhile()
            await publisher.notes_more(draw.randint(1, 60))
        await publisher.kill()


async def nothing() -> None:
    """Leave the log alone."""


@pytest.mark.xdist_group("kafka-faults")
async def test_a_killed_broker_loses_nothing_that_it_was_told_with_kafka_up_and_down(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    await fresh_topics(kafka)
    publisher, draw = Publisher(Way("kafka", kafka.bootstrap_servers), tmp_path), random.Random(KILLS)
    log = KafkaLog(KafkaSettings(kafka.bootstrap_servers))
    try:
        await kill_some(publisher, draw, nothing)
        await asyncio.to_thread(kafka.stop, signal.SIGKILL)
        await kill_some(publisher, draw, lambda: publisher.notes_more(1, "full"))
        await kill_some(publisher, draw, lambda: asyncio.to_thread(kafka.start))

        await publisher.conclude(log)
    finally:
        publisher.close()
        await log.close()


@pytest.fixture
async def installed(database: Database) -> Database:
    await schema.upgrade(database)
    async with await database.connect() as connection:
        await install(connection)
    return database


async def test_a_killed_broker_loses_nothing_that_it_was_told_while_postgresql_dies(
    installed: Database, data_dir: Path, tmp_path: Path
) -> None:
    publisher, draw = Publisher(Way("embedded", str(data_dir)), tmp_path), random.Random(KILLS)
    log = EmbeddedLog(installed)
    try:
        await kill_some(publisher, draw, nothing)
        await kill_some(publisher, draw, lambda: asyncio.to_thread(kill_server, data_dir))
        await asyncio.to_thread(kill_server, data_dir)
        await kill_some(publisher, draw, nothing)

        await publisher.conclude(log)
    finally:
        publisher.close()
        await log.close()


async def test_a_killed_broker_loses_nothing_that_it_was_told_while_the_server_is_up_down_and_without_its_log(
    installed: Database, data_dir: Path, tmp_path: Path
) -> None:
    token = new_token()
    await insert_token(installed, token)
    log, draw = EmbeddedLog(installed), random.Random(KILLS)
    try:
        async with serving(installed, log) as url:
            publisher = Publisher(Way("http", url, token.token), tmp_path)
            await kill_some(publisher, draw, nothing)
            await kill_some(publisher, draw, lambda: asyncio.to_thread(kill_server, data_dir))
        await kill_some(publisher, draw, lambda: publisher.notes_more(1, "full"))
        async with serving(installed, log, int(url.rpartition(":")[2])):
            await kill_some(publisher, draw, nothing)

            await publisher.conclude(log)
    finally:
        publisher.close()
        await log.close()
