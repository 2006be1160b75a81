"""What every adapter of the log port must do; an adapter's test module subclasses `LogContract`.

Nothing here assumes an empty log or says how an adapter works: each test starts from the ends that it finds.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from sojourn.events.codec import encode
from sojourn.events.errors import OffsetOutOfRange, SojournError
from sojourn.events.log import Append, Batch, Log
from sojourn.events.publisher import Publisher
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE, session_partition
from sojourn.events.types import Alive, Destroyed, DestroyedData, Heartbeat
from tests.contract.log_steps import OpenLog, Place, Restart, append_and_kill, ends, read_all, values
from tests.contract.log_waiting_contract import WaitingContract


class LogContract(WaitingContract):
    """One behaviour for all adapters."""

    async def test_appended_records_are_read_back_as_they_were_given(self, log: Log) -> None:
        appends = [
            Append(LIFECYCLE, 0, b"acme/s-1", b'{"id": 1}', (("traceparent", b"00-ab"),)),
            Append(LIFECYCLE, 0, None, b"no key"),
            Append(LIFECYCLE, 0, b"", b"an empty key"),
            Append(LIFECYCLE, 0, b"an empty value", b""),
            Append(LIFECYCLE, 0, bytes(range(256)), bytes(range(256)) * 3),
            Append(LIFECYCLE, 0, b"k", b"v", (("any", bytes(range(256))), ("any", b""), ("", b"\0"), ("ž 王", b"x"))),
        ]

        offsets = await log.append(appends)

        records = (await log.read(LIFECYCLE, 0, offsets[0])).records
        assert [record.offset for record in records] == offsets
        assert [
            Append(record.topic, record.partition, record.key, record.value, record.headers) for record in records
        ] == appends

    async def test_a_value_of_two_mebibytes_is_kept(self, log: Log) -> None:
        value = os.urandom(2 << 20)

        offsets = await log.append([Append(LIFECYCLE, 3, b"k", value), Append(LIFECYCLE, 3, b"k", b"after it")])

        assert values(await read_all(log, (LIFECYCLE, 3), offsets[0])) == [value, b"after it"]

    async def test_offsets_come_in_the_order_given_over_topics_and_partitions(self, log: Log) -> None:
        places = [(HEARTBEATS, 2), (LIFECYCLE, 1), (LIFECYCLE, 0), (LIFECYCLE, 1), (COMMANDS, 0), (HEARTBEATS, 2)]
        before = {
            place: end for topic in (LIFECYCLE, HEARTBEATS, COMMANDS) for place, end in (await ends(log, topic)).items()
        }

        offsets = await log.append([Append(*place, None, b"%d" % number) for number, place in enumerate(places)])

        expected = [before[place] + places[:number].count(place) for number, place in enumerate(places)]
        assert offsets == expected
        for number, (place, offset) in enumerate(zip(places, offsets, strict=True)):
            assert (await log.read(*place, offset, records_max=1)).records[0].value == b"%d" % number

    async def test_appending_nothing_returns_no_offsets(self, log: Log) -> None:
        assert await log.append([]) == []

    @pytest.mark.parametrize("topic", [LIFECYCLE, HEARTBEATS, COMMANDS])
    async def test_end_offsets_move_by_what_was_appended_and_starts_stay(self, log: Log, topic: str) -> None:
        await log.append([Append(topic, 1, None, b"earlier")])
        starts, before = await log.start_offsets(topic), await log.end_offsets(topic)

        await log.append([Append(topic, 1, None, b"x")] * 3 + [Append(topic, 0, None, b"y")])

        assert set(starts) == set(before) == set(range(await log.partitions(topic)))
        assert await log.end_offsets(topic) == {**before, 0: before[0] + 1, 1: before[1] + 3}
        assert await log.start_offsets(topic) == starts

    @pytest.mark.parametrize("topic", [LIFECYCLE, HEARTBEATS])
    async def test_a_partition_can_be_read_from_any_offset_in_any_size(self, log: Log, topic: str) -> None:
        expected = [b"%d" % number for number in range(30)]
        appends = [Append(topic, partition, None, value) for value in expected for partition in (4, 5)]
        first = (await log.append(appends))[0]

        for skipped in range(30):
            for records_max in (1, 2, 7, 30, 1000):
                batch = await log.read(topic, 4, first + skipped, records_max=records_max)

                count = len(batch.records)
                assert 1 <= count <= records_max
                assert values(batch.records) == expected[skipped : skipped + count]
                assert [record.offset for record in batch.records] == list(
                    range(first + skipped, first + skipped + count)
                )
                assert (batch.topic, batch.partition) == (topic, 4)
                assert batch.next_offset == first + skipped + count

    async def test_a_long_log_is_read_whole_in_batches(self, log: Log) -> None:
        expected = [b"%d" % number for number in range(5000)]
        first = (await log.append([Append(LIFECYCLE, 0, b"k", value) for value in expected]))[0]

        assert values(await read_all(log, (LIFECYCLE, 0), first)) == expected

    async def test_reading_at_the_end_gives_nothing_and_the_same_offset(self, log: Log) -> None:
        end = (await log.end_offsets(LIFECYCLE))[7]

        batch = await log.read(LIFECYCLE, 7, end)

        assert batch == Batch(LIFECYCLE, 7, (), end)

    @pytest.mark.parametrize("topic", [LIFECYCLE, HEARTBEATS])
    async def test_an_offset_outside_the_log_is_an_error_that_says_what_there_is(self, log: Log, topic: str) -> None:
        await log.append([Append(topic, 2, None, b"x")])
        start, end = (await log.start_offsets(topic))[2], (await log.end_offsets(topic))[2]

        for offset in (start - 1, end + 1, end + 1000):
            with pytest.raises(OffsetOutOfRange) as raised:
                await log.read(topic, 2, offset)

            error = raised.value
            assert (error.topic, error.partition, error.offset) == (topic, 2, offset)
            assert (error.start, error.end) == (start, end)

    async def test_an_unknown_topic_is_an_error_in_one_line(self, log: Log) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: log.partitions("sojourn.unknown"),
            lambda: log.end_offsets("sojourn.unknown"),
            lambda: log.read("sojourn.unknown", 0, 0),
            lambda: log.append([Append("sojourn.unknown", 0, None, b"x")]),
        ]

        for call in calls:
            with pytest.raises(SojournError, match=r"^[^\n]*'sojourn\.unknown'$"):
                await call()

    async def test_an_unknown_partition_is_an_error_and_nothing_is_appended(self, log: Log) -> None:
        before = await log.end_offsets(LIFECYCLE)

        with pytest.raises(SojournError, match=r"^[^\n]*: 999$"):
            await log.append([Append(LIFECYCLE, 0, None, b"x"), Append(LIFECYCLE, 999, None, b"x")])
        with pytest.raises(SojournError, match=r"^[^\n]*: 999$"):
            await log.read(LIFECYCLE, 999, 0)

        assert await log.end_offsets(LIFECYCLE) == before

    async def test_append_times_are_the_present_and_never_fall_in_a_partition(self, log: Log) -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)  # the log's clock may round to milliseconds
        start = await ends(log, LIFECYCLE)

        await asyncio.gather(
            *(log.append([Append(LIFECYCLE, number % 2, None, b"x")] * 5) for number in range(60)),
        )

        after = datetime.now(UTC) + timedelta(seconds=1)
        for place in ((LIFECYCLE, 0), (LIFECYCLE, 1)):
            times = [record.appended_at for record in await read_all(log, place, start[place])]
            assert len(times) == 150
            assert times == sorted(times)
            assert before <= times[0]
            assert times[-1] <= after
            assert {moment.utcoffset() for moment in times} == {timedelta(0)}

    async def test_concurrent_appenders_leave_no_gap_and_keep_their_own_order(self, open_log: OpenLog) -> None:
        async with open_log() as log, open_log() as other:
            start = await ends(log, LIFECYCLE)
            kept: dict[tuple[Place, int], bytes] = {}

            async def append(to: Log, name: str) -> None:
                for number in range(20):
                    partitions = sorted(range(number % 4, 12, 1 + number % 3), reverse=name in {"a0", "b1"})
                    appends = [
                        Append(LIFECYCLE, partition, None, f"{name}/{number}".encode()) for partition in partitions
                    ]
                    for one, offset in zip(appends, await to.append(appends), strict=True):
                        assert kept.setdefault(((one.topic, one.partition), offset), one.value) is one.value

            await asyncio.gather(
                *(append(log, f"a{number}") for number in range(4)),
                *(append(other, f"b{number}") for number in range(4)),
            )

            found = {place: await read_all(log, place, offset) for place, offset in start.items()}
        assert {(place, record.offset): record.value for place, some in found.items() for record in some} == kept
        for some in found.values():
            numbers = defaultdict(list)
            for record in some:
                name, number = record.value.decode().split("/")
                numbers[name].append(int(number))
            assert all(of_one == sorted(of_one) for of_one in numbers.values())

    async def test_appends_that_are_given_up_leave_no_gap(self, log: Log) -> None:
        start = (await log.end_offsets(LIFECYCLE))[0]

        async def append(number: int, seconds: float) -> int | None:
            appends = [Append(LIFECYCLE, 0, None, b"%d" % number)] * 3
            try:
                return (await asyncio.wait_for(log.append(appends), seconds))[0]
            except TimeoutError:
                return None

        first = [await append(number, 0.0001 * number) for number in range(40)]
        acknowledged = {number: offset for number, offset in enumerate(first) if offset is not None}
        last = (await log.append([Append(LIFECYCLE, 0, None, b"last")]))[0]

        assert 0 not in acknowledged
        found = values(await read_all(log, (LIFECYCLE, 0), start))
        assert found[last - start] == b"last"
        for number in range(40):
            copies = [place for place, value in enumerate(found, start) if value == b"%d" % number]
            assert len(copies) in ((3,) if number in acknowledged else (0, 3))
            assert number not in acknowledged or copies[0] == acknowledged[number]

    async def test_a_killed_appender_leaves_no_gap_and_loses_nothing_acknowledged(
        self, open_log: OpenLog, appender: list[str]
    ) -> None:
        async with open_log() as log:
            start = await ends(log, LIFECYCLE)
            acknowledged = {run: await append_and_kill(appender, run, log) for run in ("one", "two", "three")}

            offsets = await log.append([Append(*place, None, b"last") for place in start])

            for place, last in zip(start, offsets, strict=True):
                found = values(await read_all(log, place, start[place]))
                assert found.index(b"last") == last - start[place]
                for run, count in acknowledged.items():
                    of_run = [value for value in found if value.startswith(run.encode())]
                    assert of_run == [b"%s/%d" % (run.encode(), number) for number in range(len(of_run))]
                    assert count <= len(of_run) <= count + 1

    async def test_a_restart_keeps_everything(self, open_log: OpenLog, restart: Restart) -> None:
        topics = (LIFECYCLE, HEARTBEATS, COMMANDS)
        async with open_log() as log:
            start = {place: end for topic in topics for place, end in (await ends(log, topic)).items()}
            await log.append([Append(*place, b"k", b"%d" % n, (("h", b"v"),)) for n in range(3) for place in start])
            before = {place: await read_all(log, place, offset) for place, offset in start.items()}

        await restart()

        async with open_log() as log:
            assert {place: await read_all(log, place, offset) for place, offset in start.items()} == before
            assert all(len(records) == 3 for records in before.values())
            assert await log.append([Append(LIFECYCLE, 0, None, b"more")]) == [start[LIFECYCLE, 0] + 3]

    async def test_publishing_acknowledges_every_line_and_keeps_a_sessions_order(self, log: Log) -> None:
        starts = {topic: await ends(log, topic) for topic in (LIFECYCLE, HEARTBEATS)}
        of_session: list[bytes] = [encode(_destroyed(number)) for number in range(5)]
        beat = encode(Heartbeat(**_ENVELOPE, id="beat", tenant="acme", subject="s-1"))
        alive = encode(Alive(**_ENVELOPE, id="alive"))
        publisher = Publisher(log)

        acknowledged = await publisher.publish([*of_session[:3], beat, b"no event", alive])
        acknowledged += await publisher.publish(of_session[3:])

        assert acknowledged == 8
        found = {
            place: [(record.key, record.value) for record in await read_all(log, place, start)]
            for topic in starts
            for place, start in starts[topic].items()
        }
        home = session_partition("acme", "s-1", len(starts[LIFECYCLE]))
        in_lifecycle = [pair for place in starts[LIFECYCLE] for pair in found[place]]
        assert [value for _, value in found[LIFECYCLE, home] if value != b"no event"] == of_session
        assert sorted(in_lifecycle, key=str) == sorted(
            [(None, b"no event"), *((b"acme/s-1", value) for value in of_session)], key=str
        )
        for place in starts[HEARTBEATS]:
            expected = [(b"acme/s-1", beat)] if place[1] == home else []
            assert found[place] == [*expected, (b"~batch//brokers/eu-1", alive)]


_ENVELOPE: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "source": "/brokers/eu-1",
    "time": datetime(2026, 11, 24, 8, tzinfo=UTC),
}


def _destroyed(number: int) -> Destroyed:
    return Destroyed(**_ENVELOPE, id=f"e-{number}", tenant="acme", subject="s-1", data=DestroyedData(reason="logoff"))
