"""What every adapter of the log port must do when readers wait for records."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import pytest

from sojourn.events.log import Append, Log
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.contract.log_steps import FAR, OpenLog, Place, Restart, ends, seconds_of, values

WAKE_SECONDS_MAX: Final = 2.0  # well below any slow poll; a notification takes milliseconds, also on a busy machine
FOREVER: Final = 60.0  # a wait that only a wake-up can end in time


class WaitingContract:
    """The part of `LogContract` that is about waiting, and what a subclass must provide."""

    @pytest.fixture
    def open_log(self) -> OpenLog:
        """Open a log as another process would: all that are opened in one test see the same records."""
        raise NotImplementedError

    @pytest.fixture
    def restart(self) -> Restart:
        """Stop what keeps the records, and start it again; no log is open meanwhile."""
        raise NotImplementedError

    @pytest.fixture
    def appender(self) -> list[str]:
        """Return a command which calls `append_until_killed` with its last argument as the run."""
        raise NotImplementedError

    @pytest.fixture
    async def log(self, open_log: OpenLog) -> AsyncIterator[Log]:
        async with open_log() as log:
            yield log

    async def test_waiting_returns_at_once_when_the_record_is_there(self, log: Log) -> None:
        first = (await log.append([Append(LIFECYCLE, 0, None, b"x")]))[0]

        seconds = await seconds_of(log.wait({(LIFECYCLE, 1): FAR, (LIFECYCLE, 0): first}, FOREVER))

        assert seconds < WAKE_SECONDS_MAX

    async def test_waiting_ends_when_the_time_is_over_though_others_move(self, log: Log) -> None:
        place, other = (LIFECYCLE, 0), (LIFECYCLE, 1)
        end = (await ends(log, LIFECYCLE))[place]

        waiting = asyncio.create_task(seconds_of(log.wait({place: end}, 0.5)))
        while not waiting.done():
            await log.append([Append(*other, None, b"x"), Append(HEARTBEATS, place[1], None, b"x")])

        assert 0.5 <= await waiting < 0.5 + WAKE_SECONDS_MAX

    async def test_a_waiting_reader_is_woken_by_another_process(self, open_log: OpenLog) -> None:
        async with open_log() as reader, open_log() as writer:
            end = (await reader.end_offsets(HEARTBEATS))[3]
            # The first wait may have to connect; the second is there already when the record comes.
            for _ in range(2):
                waiting = asyncio.create_task(seconds_of(reader.wait({(HEARTBEATS, 3): end}, FOREVER)))
                await reader.wait({(HEARTBEATS, 3): end}, 0.3)
                assert not waiting.done()
                appended_at = time.monotonic()
                await writer.append([Append(HEARTBEATS, 3, None, b"x")])
                await waiting

                assert time.monotonic() - appended_at < WAKE_SECONDS_MAX
                end += 1
                assert (await reader.end_offsets(HEARTBEATS))[3] == end

    async def test_all_partitions_can_be_waited_for_at_once(self, open_log: OpenLog) -> None:
        async with open_log() as reader, open_log() as writer:
            end = await ends(reader, LIFECYCLE)
            waiting = {place: asyncio.create_task(reader.wait({place: end[place]}, FOREVER)) for place in end}
            await reader.wait({(LIFECYCLE, 0): FAR}, 0.2)
            assert not any(task.done() for task in waiting.values())

            for place in reversed(end):
                await writer.append([Append(*place, None, b"x")])
                await asyncio.wait_for(waiting.pop(place), WAKE_SECONDS_MAX)
                assert not any(task.done() for task in waiting.values())

    async def test_no_wake_up_is_lost_between_reading_and_waiting(self, open_log: OpenLog) -> None:
        async with open_log() as reader, open_log() as writer:
            place, rounds = (LIFECYCLE, 6), 150
            start = (await ends(reader, LIFECYCLE))[place]
            taken = asyncio.Semaphore(1)
            longest = 0.0

            async def write() -> None:
                for number in range(rounds):
                    await taken.acquire()
                    await writer.append([Append(*place, None, b"%d" % number)])

            writing = asyncio.create_task(write())
            offset = start
            while offset < start + rounds:
                batch = await reader.read(*place, offset)
                if batch.records:
                    offset = batch.next_offset
                    taken.release()
                else:
                    longest = max(longest, await seconds_of(reader.wait({place: offset}, FOREVER)))
            await writing

            assert longest < WAKE_SECONDS_MAX

    async def test_concurrent_readers_each_see_everything_in_order(self, open_log: OpenLog) -> None:
        async with open_log() as reader, open_log() as writer:
            start = await ends(reader, LIFECYCLE)
            expected = [b"%d" % number for number in range(200)]

            async def follow(place: Place) -> list[bytes]:
                found: list[bytes] = []
                while len(found) < len(expected):
                    batch = await reader.read(*place, start[place] + len(found), records_max=17)
                    found += values(batch.records)
                    if not batch.records:
                        await reader.wait({place: batch.next_offset}, FOREVER)
                return found

            following = [asyncio.create_task(follow(place)) for place in start for _ in range(2)]
            for some in range(0, len(expected), 10):
                await writer.append(
                    [Append(*place, None, value) for value in expected[some : some + 10] for place in start]
                )

            for found in await asyncio.gather(*following):
                assert found == expected
