"""The broker SDK over a log in memory: what is spooled, sent, dropped, refused and counted."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sojourn.events.broker import broker as broker_module
from sojourn.events.broker import memory
from sojourn.events.broker.broker import Broker, SpoolFull, SpoolTaken
from sojourn.events.broker.transport import Rejection
from sojourn.events.broker.transports import log_transport
from sojourn.events.codec import decode
from sojourn.events.errors import UsageError
from sojourn.events.topics import HEARTBEATS
from sojourn.events.types import Alive, Destroyed, Established, HeartbeatData, Heartbeats
from tests.contract.broker_ways import DATA, SOURCE, MemoryLog, events_of, records_of, until


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
async def broker(log: MemoryLog, folder: Path) -> AsyncIterator[Broker]:
    async with opened(log, folder) as broker:
        yield broker


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than a test has to for a log that is away."""
    monkeypatch.setattr(broker_module, "CLOSE_SECONDS_MAX", 0.05)
    monkeypatch.setattr("sojourn.events.broker.backoff.BACKOFF_SECONDS_MAX", 0.1)


def opened(log: MemoryLog, folder: Path, **options: Any) -> Broker:
    return Broker(SOURCE, log_transport(log), spool=folder, **options)


async def sequences(log: MemoryLog) -> dict[str, list[str | None]]:
    found = dict[str, list[str | None]]()
    for event in await events_of(log):
        assert isinstance(event, Established | Destroyed)
        found.setdefault(event.subject, []).append(None if event.sequence is None else str(event.sequence))
    return found


async def test_events_wait_in_the_spool_and_go_in_order_when_the_log_is_back(broker: Broker, log: MemoryLog) -> None:
    log.is_away = True
    for number in range(1200):
        await broker.established("acme", "s-1" if number % 2 else f"t-{number}", DATA)
    assert broker.counts.waiting == 1200

    log.is_away = False
    await broker.drained()

    assert (await sequences(log))["s-1"] == [str(number + 1) for number in range(600)]
    assert broker.counts[:3] == (0, 1200, 0)


async def test_a_repeat_after_a_lost_answer_is_the_same_bytes(broker: Broker, log: MemoryLog) -> None:
    log.answers_lost = 2

    await broker.established("acme", "s-1", DATA)
    await broker.destroyed("acme", "s-1", "logoff")
    await broker.drained()

    values = [record.value for record in await records_of(log, "sojourn.lifecycle")]
    assert len(values) > 2
    assert len(set(values)) == 2
    assert isinstance(decode(values[-1]), Destroyed)


async def test_sequences_go_on_after_a_restart_for_sessions_that_are_open(log: MemoryLog, folder: Path) -> None:
    for life in range(3):
        async with opened(log, folder) as broker:
            await broker.established("acme", "stays", DATA)
            await broker.established("acme", f"short-{life}", DATA)
            await broker.destroyed("acme", f"short-{life}", "logoff")
            await broker.destroyed("acme", f"short-{life}", "error")
            await broker.drained()

    found = await sequences(log)
    assert found["stays"] == ["1", "2", "3"]
    assert found["short-2"] == ["1", "2", None], "after its end nobody knows of it"


async def test_sequences_outlive_the_files_that_they_were_counted_in(log: MemoryLog, folder: Path) -> None:
    async with opened(log, folder, spool_bytes_max=40_000) as broker:
        await broker.established("acme", "s-1", DATA)
        for number in range(200):
            await broker.established("acme", f"t-{number}", DATA)
            await broker.destroyed("acme", f"t-{number}", "logoff")
            await broker.drained()
    assert not (folder / "00000000000000000000.events").exists()

    async with opened(log, folder) as broker:
        await broker.destroyed("acme", "s-1", "logoff")
        await broker.drained()

    assert (await sequences(log))["s-1"] == ["1", "2"]


async def test_what_is_remembered_of_sessions_that_never_end_is_bounded(
    log: MemoryLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SESSIONS_MAX", 2)

    async with opened(log, folder) as broker:
        for session_id in ("old", "newer", "newest"):
            await broker.established("acme", session_id, DATA)
        for session_id in ("old", "newest"):
            await broker.destroyed("acme", session_id, "logoff")
        await broker.drained()

    assert await sequences(log) == {"old": ["1", None], "newer": ["1"], "newest": ["1", "2"]}


async def test_callers_at_the_same_time_share_a_sync_and_keep_their_order(
    broker: Broker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = list[int]()
    sync = os.fdatasync

    def noted(file: int) -> None:
        syncs.append(file)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", noted)

    await asyncio.gather(*(broker.established("acme", "s-1", DATA, at=at(number)) for number in range(500)))
    await broker.drained()

    assert len(syncs) < 50
    assert [event.time for event in await events_of(log)] == [at(number) for number in range(500)]


def at(second: int) -> datetime:
    return datetime.fromtimestamp(1_795_000_000 + second, UTC)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda broker: broker.established("Acme", "s", DATA), "tenant: "),
        (lambda broker: broker.established("acme", "", DATA), "session_id: "),
        (lambda broker: broker.established("acme", "s\0", DATA), "session_id: "),
        (lambda broker: broker.established("acme", "s", with_ip("10.0.0.256")), "data.client_ip: "),
        (lambda broker: broker.established("acme", "s", with_ip(7)), "client_ip"),
        (lambda broker: broker.established("acme", "s", None), "data"),
        (lambda broker: broker.established("acme", "s", DATA, at=datetime(2026, 1, 1)), "at: "),  # noqa: DTZ001
        (lambda broker: broker.destroyed("acme", "s", "boredom"), "data.reason"),
        (lambda broker: broker.destroyed("acme", "s", "error", detail="x" * 1001), "data.detail"),
        (lambda broker: broker.destroyed("acme", "s", "error", command="a\nb"), "data.command"),
        (lambda broker: broker.destroyed("acme", "\ud800", "error"), "JSON"),
        (lambda broker: broker.heartbeat("acme", "s", HeartbeatData(idle_seconds=-1)), "data.idle_seconds"),
        (lambda broker: broker.heartbeat("acme", "s", HeartbeatData(client_ip="here")), "data.client_ip: "),
    ],
)
async def test_what_the_contract_refuses_is_told_by_field_and_spools_nothing(
    broker: Broker, call: Any, named: str
) -> None:
    with pytest.raises(UsageError) as raised:
        await call(broker)

    assert named in str(raised.value)
    assert "\n" not in str(raised.value)
    assert broker.counts == (0, 0, 0, 0, 0)


def with_ip(address: Any) -> Any:
    return msgspec.structs.replace(DATA, client_ip=address)


@pytest.mark.parametrize("source", ["/sojourn", "", "a\nb", "x" * 1001])
def test_a_source_that_no_broker_may_have_is_refused_at_once(log: MemoryLog, folder: Path, source: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$"):
        Broker(source, log_transport(log), spool=folder)


async def test_a_full_spool_is_the_callers_error_and_loses_nothing(log: MemoryLog, folder: Path) -> None:
    log.is_away, taken = True, list[str]()
    async with opened(log, folder, spool_bytes_max=20_000) as broker:
        for number in range(100):
            try:
                await broker.established("acme", f"s-{number}", DATA)
                taken.append(f"s-{number}")
            except SpoolFull:
                break
        with pytest.raises(SpoolFull, match=str(folder)):
            await broker.established("acme", "one more", DATA)

        log.is_away = False
        await broker.drained()
        await broker.established("acme", "now", DATA)
        await broker.drained()

    assert 10 < len(taken) < 100
    assert sorted(await sequences(log)) == sorted([*taken, "now"])


async def test_leaving_sends_what_is_left_unless_the_log_is_away(log: MemoryLog, folder: Path) -> None:
    async with opened(log, folder) as broker:
        log.is_away = True
        await broker.established("acme", "s-1", DATA)
    assert (await until_back(log)) == []

    async with opened(log, folder):
        pass

    assert list(await sequences(log)) == ["s-1"]


async def until_back(log: MemoryLog) -> list[Any]:
    log.is_away = False
    return list(await events_of(log))


async def test_a_spool_belongs_to_one_broker_and_one_process(log: MemoryLog, folder: Path) -> None:
    async with opened(log, folder) as broker:
        await broker.established("acme", "s-1", DATA)

        with pytest.raises(SpoolTaken):
            await opened(log, folder).__aenter__()
    with pytest.raises(UsageError, match=r"for '/brokers/eu-1', not: '/brokers/eu-2'$"):
        await Broker("/brokers/eu-2", log_transport(log), spool=folder).__aenter__()

    async with opened(log, folder):
        pass


async def test_a_broker_that_is_not_open_says_so(log: MemoryLog, folder: Path) -> None:
    with pytest.raises(UsageError, match="not open"):
        await opened(log, folder).established("acme", "s-1", DATA)


async def test_events_that_are_rejected_are_kept_beside_the_spool_and_block_nothing(folder: Path) -> None:
    class Rejecting:
        marks_delivered = True

        def __init__(self) -> None:
            self.got = list[bytes]()

        async def publish(self, values: Any) -> list[Rejection]:
            self.got += values
            return [Rejection(value, "tenant_mismatch", "not yours") for value in values if b'"evil"' in value]

        async def close(self) -> None:
            pass

    transport = Rejecting()
    async with Broker(SOURCE, transport, spool=folder) as broker:  # type: ignore[arg-type]  # it gives no commands
        for tenant in ("acme", "evil", "acme"):
            await broker.established(tenant, "s-1", DATA)
        await broker.drained()

        assert broker.counts[:3] == (0, 2, 1)

    (line,) = (folder / "rejected.ndjson").read_bytes().splitlines()
    kept = msgspec.json.decode(line)
    assert (kept["reason"], kept["detail"]) == ("tenant_mismatch", "not yours")
    assert decode(msgspec.json.encode(kept["event"])) == decode(transport.got[1])


async def test_beats_are_dropped_and_counted_while_the_log_is_away(broker: Broker, log: MemoryLog) -> None:
    log.is_away = True
    for _ in range(3):
        await broker.heartbeat("acme", "s-1", HeartbeatData(idle_seconds=4))
    log.is_away = False

    await broker.heartbeat("acme", "s-1")

    assert (broker.counts.beats_sent, broker.counts.beats_dropped) == (1, 3)
    assert len(await events_of(log, HEARTBEATS)) == 1
    assert broker.counts.waiting == 0


async def test_a_log_that_hangs_delays_no_beat_and_piles_up_none(
    broker: Broker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: Any) -> list[int]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(log, "append", hang)
    monkeypatch.setattr("sojourn.events.broker.beats.WAIT_SECONDS_MAX", 0.05)
    monkeypatch.setattr("sojourn.events.broker.beats.SENDING_MAX", 2)

    await asyncio.gather(*(broker.heartbeat("acme", f"s-{number}") for number in range(5)))

    assert broker.counts.beats_dropped == 5


async def test_all_sessions_beat_each_time_and_the_broker_says_that_it_is_alive(broker: Broker, log: MemoryLog) -> None:
    sessions = {("acme", "s-1"), ("acme", "s-2"), ("zeta", "s-1")}
    broker.keep_beating(lambda: sessions, every_seconds=0.05)
    await until(lambda: beaten(log, 24))

    sessions.clear()

    async def is_empty() -> bool:
        alive = [event for event in await events_of(log, HEARTBEATS) if isinstance(event, Alive)]
        return any(event.data is not None and event.data.sessions == 0 for event in alive)

    await until(is_empty)
    beats = [event for event in await events_of(log, HEARTBEATS) if isinstance(event, Heartbeats)]
    assert {(event.tenant, one) for event in beats for one in event.data.sessions} == {
        ("acme", "s-1"),
        ("acme", "s-2"),
        ("zeta", "s-1"),
    }


async def beaten(log: MemoryLog, count: int) -> bool:
    return sum(isinstance(event, Alive) for event in await events_of(log, HEARTBEATS)) >= count


async def test_a_broker_whose_beats_did_not_go_does_not_say_that_it_is_alive(
    broker: Broker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, refused = log.append, list[Any]()

    async def refuse_beats(appends: Any) -> list[int]:
        if any(b"heartbeats.v1" in append.value for append in appends):
            refused.append(appends)
            raise OSError
        return await append(appends)

    monkeypatch.setattr(log, "append", refuse_beats)
    broker.keep_beating(lambda: [("acme", "s-1"), ("zeta", "s-1")], every_seconds=0.01)

    async def is_refused() -> bool:
        return len(refused) >= 3

    await until(is_refused)
    assert await events_of(log, HEARTBEATS) == []
    assert len(refused) * 2 == broker.counts.beats_dropped, "the second tenant's were not even tried"


async def test_neither_a_callers_error_nor_a_bad_id_stops_the_beats(broker: Broker, log: MemoryLog) -> None:
    calls = list[int]()

    def sessions() -> list[tuple[str, str]]:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("s-1")
        return [("acme", "s-1"), ("acme", "bad\n"), ("Bad", "s-2")]

    broker.keep_beating(sessions, every_seconds=0.01)
    await until(lambda: beaten(log, 12))

    beats = [event for event in await events_of(log, HEARTBEATS) if isinstance(event, Heartbeats)]
    assert {one for event in beats for one in event.data.sessions} == {"s-1"}
    assert broker.counts.beats_dropped >= 2


async def test_beats_of_many_sessions_are_split_into_records_that_any_log_takes(broker: Broker, log: MemoryLog) -> None:
    ids = [f"{number:05}-{'ž' * 190}" for number in range(12_000)]
    broker.keep_beating(lambda: [("acme", one) for one in ids], every_seconds=1000)
    await until(lambda: beaten(log, 12))

    beats = [event for event in await events_of(log, HEARTBEATS) if isinstance(event, Heartbeats)]
    assert sorted(one for event in beats for one in event.data.sessions) == ids
    assert max(len(record.value) for record in await records_of(log, HEARTBEATS)) < 512 * 1024


async def test_only_one_set_of_sessions_beats_and_at_some_pace(broker: Broker) -> None:
    with pytest.raises(UsageError, match="more than 0, not: 0"):
        broker.keep_beating(list, every_seconds=0)
    broker.keep_beating(list)

    with pytest.raises(UsageError, match="already"):
        broker.keep_beating(list)
