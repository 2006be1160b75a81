"""What the embedded log survives: lost answers to COMMIT, cut connections, stopped clients, `kill -9` of PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from sojourn.events.embedded import log_connections
from sojourn.events.embedded.database import Database
from sojourn.events.embedded.log import EmbeddedLog, install
from sojourn.events.errors import Unreachable
from sojourn.events.log import Append
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.contract.log_steps import ends, read_all, seconds_of, values
from tests.contract.log_waiting_contract import FOREVER, WAKE_SECONDS_MAX
from tests.fault.proxy import CommitProxy, Fault, commit_proxy
from tests.integration.server_processes import kill_server

PLACES = [(LIFECYCLE, 0), (LIFECYCLE, 7), (HEARTBEATS, 3)]


class Proxied:
    """The database behind a proxy, which is reached only while `open_for_all` is set."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.open_for_all = asyncio.Event()
        self.open_for_all.set()

    async def connect(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[TupleRow]:
        await self.open_for_all.wait()
        try:
            return await psycopg.AsyncConnection.connect(self.dsn, autocommit=autocommit)
        except psycopg.OperationalError as error:
            raise Unreachable(str(error)) from error

    async def close(self) -> None:
        """Leave it to the database behind."""


@pytest.fixture
async def installed(database: Database) -> Database:
    async with await database.connect() as connection:
        await install(connection)
    return database


@pytest.fixture
async def direct(installed: Database) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(installed)
    yield log
    await log.close()


@pytest.fixture
def proxy(installed: Database) -> Iterator[CommitProxy]:
    with commit_proxy(installed.dsn) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: CommitProxy) -> Proxied:
    return Proxied(proxy.dsn)


@pytest.fixture
async def log(proxied: Proxied) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(proxied)
    yield log
    await log.close()


def appends(value: bytes) -> list[Append]:
    return [Append(*place, None, value) for place in PLACES]


async def everything(log: EmbeddedLog) -> list[list[bytes]]:
    return [values(await read_all(log, place, 0)) for place in PLACES]


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER])
@pytest.mark.parametrize("earlier", [0, 9])  # from the sixth on the client prepares its statements
async def test_an_append_whose_commit_or_answer_is_lost_is_made_exactly_once(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy, fault: Fault, earlier: int
) -> None:
    before = [b"%d" % number for number in range(earlier)]
    for value in before:
        await log.append(appends(value))
    proxy.fault_at(1, fault)

    offsets = await log.append(appends(b"lost"))

    await proxy.hit()
    assert offsets == [earlier] * 3
    assert await log.append(appends(b"after")) == [earlier + 1] * 3
    assert await everything(direct) == [[*before, b"lost", b"after"]] * 3


async def test_every_commit_in_a_row_may_lose_its_answer(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy
) -> None:
    for number in range(20):
        proxy.fault_at(1, Fault.CUT_AFTER if number % 2 else Fault.CUT_BEFORE)
        assert await log.append(appends(b"%d" % number)) == [number] * 3
        await proxy.hit()

    assert await everything(direct) == [[b"%d" % number for number in range(20)]] * 3


async def test_a_commit_that_arrives_after_the_client_is_gone_is_waited_for(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy
) -> None:
    proxy.fault_at(1, Fault.PARTED)
    appending = asyncio.create_task(log.append(appends(b"late")))
    await proxy.hit()
    await _until_somebody_waits_for_a_lock(direct)

    proxy.release()

    assert await appending == [0, 0, 0]
    assert await everything(direct) == [[b"late"]] * 3


async def test_a_commit_that_never_arrives_is_rolled_back_and_made_again(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_connections, "IDLE_SECONDS_MAX", 1)
    proxy.fault_at(1, Fault.PARTED)

    offsets = await log.append(appends(b"again"))

    assert offsets == [0, 0, 0]
    assert await everything(direct) == [[b"again"]] * 3


async def test_an_appender_that_stops_holds_nobody_up_for_long_and_appends_later(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_connections, "IDLE_SECONDS_MAX", 1)
    proxy.fault_at(1, Fault.HELD)
    appending = asyncio.create_task(log.append(appends(b"slow")))
    await proxy.hit()

    offsets = await asyncio.wait_for(direct.append(appends(b"quick")), 10)
    proxy.release()

    assert offsets == [0, 0, 0]
    assert await appending == [1, 1, 1]
    assert await everything(direct) == [[b"quick", b"slow"]] * 3


async def test_a_crash_that_forgets_a_transaction_does_not_make_another_pass_for_it(
    log: EmbeddedLog,
    direct: EmbeddedLog,
    proxy: CommitProxy,
    proxied: Proxied,
    database: Database,
    data_dir: Path,
) -> None:
    """After the crash the other append gets the offsets of the lost one, and even its transaction id."""
    await _open_then_close_the_way(log, proxied)
    await _write_out(database)
    proxy.fault_at(1, Fault.PARTED)
    appending = asyncio.create_task(log.append(appends(b"lost")))
    await proxy.hit()
    await asyncio.to_thread(kill_server, data_dir)

    assert await direct.append(appends(b"other")) == [1, 1, 1]
    proxied.open_for_all.set()

    assert await appending == [2, 2, 2]
    assert await everything(direct) == [[b"first", b"other", b"lost"]] * 3


async def test_killing_postgresql_keeps_exactly_what_was_acknowledged(
    installed: Database, direct: EmbeddedLog, data_dir: Path
) -> None:
    kills, done = 5, asyncio.Event()
    kept: dict[tuple[tuple[str, int], int], bytes] = {}

    async def append(name: int) -> None:
        log = EmbeddedLog(installed)
        try:
            number = 0
            while not done.is_set():
                batch = [
                    Append(topic, partition, None, b"%d/%d" % (name, number))
                    for topic in (LIFECYCLE, HEARTBEATS)
                    for partition in range(number % 3, 12, 1 + name)
                ]
                for one, offset in zip(batch, await log.append(batch), strict=True):
                    assert kept.setdefault(((one.topic, one.partition), offset), one.value) is one.value
                number += 1
        finally:
            await log.close()

    async def kill() -> None:
        for _ in range(kills):
            enough = len(kept) + 500
            while len(kept) < enough:
                await direct.wait(await ends(direct, LIFECYCLE), 1)
            await asyncio.to_thread(kill_server, data_dir)
        done.set()

    await asyncio.gather(*(append(name) for name in range(4)), kill())

    found = {
        (place, record.offset): record.value
        for topic in (LIFECYCLE, HEARTBEATS)
        for place in await ends(direct, topic)
        for record in await read_all(direct, place, 0)
    }
    assert found == kept


async def test_a_waiting_reader_is_woken_though_its_connection_was_cut(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy
) -> None:
    position = {(LIFECYCLE, 0): 0}
    waiting = asyncio.create_task(log.wait(position, FOREVER))
    await log.wait(position, 0.3)
    for _ in range(3):
        proxy.cut_all()
        await log.wait(position, 0.3)
    assert not waiting.done()

    began = time.monotonic()
    await direct.append(appends(b"x"))
    await waiting

    assert time.monotonic() - began < WAKE_SECONDS_MAX


async def test_what_was_appended_while_the_reader_was_cut_off_is_found(
    log: EmbeddedLog, direct: EmbeddedLog, proxy: CommitProxy, proxied: Proxied
) -> None:
    position = {(LIFECYCLE, 0): 0}
    waiting = asyncio.create_task(log.wait(position, FOREVER))
    await log.wait(position, 0.3)
    proxied.open_for_all.clear()
    proxy.cut_all()
    await direct.append(appends(b"x"))
    await log.wait(position, 0.3)
    assert not waiting.done()

    proxied.open_for_all.set()

    assert await seconds_of(waiting) < WAKE_SECONDS_MAX


async def test_while_nobody_answers_calls_fail_after_a_while_and_nothing_was_appended(
    log: EmbeddedLog, direct: EmbeddedLog, proxied: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_connections, "RETRY_SECONDS_MAX", 0.5)
    proxied.dsn = "host=/nowhere"

    with pytest.raises(Unreachable, match=r"^the log in PostgreSQL is not available: [^\n]*; nothing was appended$"):
        await log.append(appends(b"x"))
    with pytest.raises(Unreachable, match=r"^the log in PostgreSQL is not available: [^\n]*$"):
        await log.read(LIFECYCLE, 0, 0)

    assert await everything(direct) == [[]] * 3


async def test_a_full_disk_is_told_as_such_and_not_as_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_connections, "RETRY_SECONDS_MAX", 0.1)

    async def fill() -> None:
        raise psycopg.errors.DiskFull("could not extend file")

    with pytest.raises(log_connections.DatabaseFull, match=r"free some space: could not extend file$") as told:
        await log_connections.until_reachable(fill)
    assert told.value.exit_code == 1


async def test_an_append_that_stays_in_doubt_says_so(
    log: EmbeddedLog,
    direct: EmbeddedLog,
    proxy: CommitProxy,
    proxied: Proxied,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_connections, "RETRY_SECONDS_MAX", 0.5)
    await _open_then_close_the_way(log, proxied)
    proxied.dsn = "host=/nowhere"
    proxied.open_for_all.set()
    proxy.fault_at(1, Fault.CUT_AFTER)

    with pytest.raises(Unreachable, match=r"^[^\n]*; all or nothing may have been appended$"):
        await log.append(appends(b"in doubt"))

    assert await everything(direct) == [[b"first", b"in doubt"]] * 3


async def _open_then_close_the_way(log: EmbeddedLog, proxied: Proxied) -> None:
    """Let the log open the connection that its next call uses, and no more."""
    await log.append(appends(b"first"))
    proxied.open_for_all.clear()


async def _until_somebody_waits_for_a_lock(log: EmbeddedLog) -> None:
    async with asyncio.timeout(30), log._connections.use() as connection:
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while True:
            if await (await connection.execute(query)).fetchone() is not None:
                return
            await asyncio.sleep(0.01)


async def _write_out(database: Database) -> None:
    """Let what a transaction does from now on leave no trace until its COMMIT."""
    async with await database.connect(autocommit=True) as connection:
        await connection.execute("CHECKPOINT")
