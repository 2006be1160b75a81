"""What every way from a broker to Sojourn must do; a test module subclasses `BrokerContract` for each.

Nothing here assumes an empty log: each test has sessions and commands of its own.
"""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from sojourn.events.broker.blocking import BlockingBroker
from sojourn.events.broker.broker import Broker
from sojourn.events.codec import encode
from sojourn.events.topics import HEARTBEATS, PARTITIONS_DEFAULT, session_partition
from sojourn.events.types import (
    Alive,
    AliveData,
    Destroyed,
    DestroyedData,
    DisconnectAcknowledged,
    DisconnectDelivered,
    DisconnectFailed,
    Established,
    Event,
    HeartbeatData,
    Heartbeats,
)
from tests.contract.broker_ways import (
    DATA,
    SECONDS_MAX,
    SOURCE,
    Way,
    command_id,
    events_of,
    records_of,
    requested,
    until,
)


def session_ids(count: int) -> list[str]:
    return [f"s-{uuid4()}" for _ in range(count)]


async def of_session(way: Way, session_id: str) -> list[Event]:
    return [event for event in await events_of(way.log) if getattr(event, "subject", None) == session_id]


class BrokerContract:
    """One behaviour for all ways."""

    async def test_what_was_published_is_in_the_log_in_order(self, way: Way) -> None:
        transport, (session_id,) = way.open(), session_ids(1)
        events = [
            Destroyed(
                specversion="1.0",
                id=str(number),
                source=SOURCE,
                time=datetime.now(UTC),
                tenant="acme",
                subject=session_id,
                data=DestroyedData("logoff", str(number)),
            )
            for number in range(20)
        ]

        rejections = await transport.publish([encode(event) for event in events])

        assert rejections == []
        assert await of_session(way, session_id) == events
        await transport.close()

    async def test_a_session_arrives_as_it_was_told_and_counted(self, way: Way, tmp_path: Path) -> None:
        (session_id,) = session_ids(1)

        async with Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
            await broker.established("acme", session_id, DATA)
            await broker.destroyed("acme", session_id, "logoff", detail="by the user")
            await broker.drained()

            began, ended = await of_session(way, session_id)

        assert isinstance(began, Established)
        assert isinstance(ended, Destroyed)
        assert (began.data, ended.data) == (DATA, DestroyedData("logoff", "by the user"))
        assert [event.sequence for event in (began, ended)] == ["1", "2"]
        assert {event.source for event in (began, ended)} == {SOURCE}

    async def test_beats_reach_each_sessions_partition_and_alive_every_one(self, way: Way, tmp_path: Path) -> None:
        ids, seconds = session_ids(40), 2**20 + uuid4().int % 2**20

        async with Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
            broker.keep_beating(lambda: [("acme", one) for one in ids], every_seconds=seconds)

            async def is_alive() -> bool:
                alive = [event for event in await events_of(way.log, HEARTBEATS) if isinstance(event, Alive)]
                said = [event.data for event in alive if event.data and event.data.interval_seconds == seconds]
                return said == [AliveData(40, seconds, ["disconnect"])] * PARTITIONS_DEFAULT

            await until(is_alive)
            assert (broker.counts.beats_sent, broker.counts.beats_dropped) == (40, 0)

        found = dict[str, int]()
        for record, event in zip(
            await records_of(way.log, HEARTBEATS), await events_of(way.log, HEARTBEATS), strict=True
        ):
            if isinstance(event, Heartbeats):
                found |= dict.fromkeys(set(event.data.sessions) & set(ids), record.partition)
        assert found == {one: session_partition("acme", one, PARTITIONS_DEFAULT) for one in ids}

    async def test_a_single_beat_says_what_it_was_given(self, way: Way, tmp_path: Path) -> None:
        (session_id,) = session_ids(1)

        async with Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
            await broker.heartbeat("acme", session_id, HeartbeatData(idle_seconds=7))

            assert broker.counts.beats_sent == 1

        beats = [event for event in await events_of(way.log, HEARTBEATS) if getattr(event, "subject", "") == session_id]
        assert [event.data for event in beats] == [HeartbeatData(idle_seconds=7)]

    async def test_a_command_is_delivered_answered_and_confirmed(self, way: Way, tmp_path: Path) -> None:
        (session_id,), command = session_ids(1), command_id()

        async with asyncio.timeout(SECONDS_MAX), Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
            await broker.established("acme", session_id, DATA)
            await broker.drained()  # the command might be delivered before
            await way.request(requested(command, session_id))
            async with aclosing(broker.commands()) as commands:
                async for asked in commands:
                    if asked.id == command:
                        await asked.acknowledge()
                        await broker.destroyed("acme", session_id, "admin_disconnect", command=asked.id)
                        break
            await broker.drained()

        assert (asked.tenant, asked.session_id, asked.kind, asked.message) == (
            "acme",
            session_id,
            "disconnect",
            "good bye",
        )
        kinds = [Established, DisconnectDelivered, DisconnectAcknowledged, Destroyed]
        assert [type(event) for event in await of_session(way, session_id)] == kinds

    async def test_each_command_comes_once_and_only_to_its_broker(self, way: Way, tmp_path: Path) -> None:
        mine, other = [command_id() for _ in range(3)], command_id()
        await way.request(requested(other, broker="/brokers/us-1"))
        for command in mine[:2]:
            await way.request(requested(command))

        got = list[str]()
        async with asyncio.timeout(SECONDS_MAX), Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
            async for asked in broker.commands():
                got.append(asked.id)
                if set(mine[:2]) <= set(got) and mine[2] not in got:
                    await way.request(requested(mine[2]))
                if mine[2] in got:
                    break

        assert [command for command in got if command in mine] == [*sorted(mine[:2], key=got.index), mine[2]]
        assert other not in got

    async def test_what_a_broker_cannot_carry_out_is_refused(self, way: Way, tmp_path: Path) -> None:
        (refused, failed), (first, second) = session_ids(2), (command_id(), command_id())
        await way.request(requested(first, refused))
        await way.request(requested(second, failed))

        left = {first, second}
        async with asyncio.timeout(SECONDS_MAX), Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
            async for asked in broker.commands():
                if asked.id == first:
                    await asked.refuse("not now")
                if asked.id == second:
                    await asked.fail("it broke")
                left.discard(asked.id)
                if not left:
                    break
            await broker.drained()

        outcomes = [
            (event.data.outcome, event.data.detail)
            for session_id in (refused, failed)
            for event in await of_session(way, session_id)
            if isinstance(event, DisconnectFailed)
        ]
        assert outcomes == [("refused", "not now"), ("failed", "it broke")]

    async def test_closing_ends_whoever_waits_for_commands(self, way: Way, tmp_path: Path) -> None:
        async def read_on(broker: Broker) -> None:
            async for _ in broker.commands():
                pass

        async with asyncio.timeout(SECONDS_MAX):
            async with Broker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
                reading = asyncio.create_task(read_on(broker))
                await asyncio.sleep(0)
            await reading

    async def test_threads_can_do_all_that_without_await(self, way: Way, tmp_path: Path) -> None:
        (session_id,), command = session_ids(1), command_id()
        await way.request(requested(command, session_id))

        def work() -> None:
            with BlockingBroker(SOURCE, way.open(), spool=tmp_path / "spool") as broker:
                broker.established("acme", session_id, DATA)
                broker.heartbeat("acme", session_id)
                for asked in broker.commands():
                    if asked.id == command:
                        asked.acknowledge()
                        broker.destroyed("acme", session_id, "admin_disconnect", command=asked.id)
                        break
                broker.drained()

        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.to_thread(work)

        kinds = {type(event) for event in await of_session(way, session_id)}
        assert kinds == {Established, DisconnectDelivered, DisconnectAcknowledged, Destroyed}
