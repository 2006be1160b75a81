"""What a keeper reads of what a consumer group fetched: in order, once, and from where it asked."""

import asyncio
from datetime import UTC, datetime
from typing import Final, cast

import pytest

from sojourn.consumers.kafka import feed as feed_module
from sojourn.consumers.kafka.feed import Feed, Fetched, Place
from sojourn.events.log import Log, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

PLACE: Final = (LIFECYCLE, 3)
AT: Final = datetime(2026, 11, 24, 8, tzinfo=UTC)
NEVER_ASKED: Final = cast("Log", None)  # what is fetched tells the ends


class Sought:
    """A feed of one partition, and the offsets that its consumer was told to go to."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.feed = Feed(NEVER_ASKED, self._seek)
        self.feed.assign([PLACE])

    async def _seek(self, place: Place, offset: int) -> None:
        assert place == PLACE
        self.offsets.append(offset)

    async def begin(self, offset: int) -> None:
        assert (await self.feed.read(*PLACE, offset)).records == ()

    async def read(self, offset: int, records_max: int = 100) -> tuple[list[int], int]:
        batch = await self.feed.read(*PLACE, offset, records_max=records_max)
        return [record.offset for record in batch.records], batch.next_offset


@pytest.fixture
def sought(monkeypatch: pytest.MonkeyPatch) -> Sought:
    monkeypatch.setattr(feed_module, "READ_SECONDS_MAX", 0.01)
    return Sought()


def fetched(start: int, offsets: list[int], next_offset: int) -> Fetched:
    records = [Record(*PLACE, offset, AT, None, b"v", ()) for offset in offsets]
    return Fetched(*PLACE, start, records, next_offset, next_offset)


async def test_a_reader_seeks_once_and_gets_what_was_fetched_from_there_in_its_own_sizes(sought: Sought) -> None:
    await sought.begin(10)
    sought.feed.put(fetched(10, [10, 11, 14], 15))
    sought.feed.put(fetched(15, [15], 16))

    assert await sought.read(10, 2) == ([10, 11], 14)
    assert await sought.read(14) == ([14], 15)
    assert await sought.read(15) == ([15], 16)
    assert sought.offsets == [10]
    assert await sought.feed.end_offsets(LIFECYCLE) == {3: 16}


async def test_transactions_that_left_no_record_move_the_reader_on(sought: Sought) -> None:
    await sought.begin(10)
    sought.feed.put(fetched(10, [], 17))

    assert await sought.read(10) == ([], 17)


async def test_what_was_fetched_before_a_seek_is_not_handed_out(sought: Sought) -> None:
    await sought.begin(10)
    sought.feed.put(fetched(10, [10, 11], 12))

    assert await sought.read(5) == ([], 5)
    sought.feed.put(fetched(12, [12], 13))
    assert await sought.read(5) == ([], 5)
    sought.feed.put(fetched(5, [5], 6))

    assert await sought.read(5) == ([5], 6)
    assert sought.offsets == [10, 5, 5]


async def test_a_hole_between_two_fetches_makes_the_reader_seek_again(sought: Sought) -> None:
    await sought.begin(10)
    sought.feed.put(fetched(11, [11], 12))

    assert await sought.read(10) == ([], 10)
    assert sought.offsets == [10, 10]


async def test_a_new_assignment_forgets_what_was_fetched_under_the_one_before(sought: Sought) -> None:
    await sought.begin(10)
    sought.feed.put(fetched(10, [10], 11))

    sought.feed.assign([PLACE, (HEARTBEATS, 3)])

    assert sought.feed.wanted() == set()
    assert await sought.read(10) == ([], 10)
    assert sought.offsets == [10, 10]
    assert sought.feed.wanted() == {PLACE}


async def test_a_partition_that_was_taken_away_gives_nothing(sought: Sought) -> None:
    await sought.begin(10)

    sought.feed.assign([])

    assert await sought.read(10) == ([], 10)
    assert await sought.feed.end_offsets(LIFECYCLE) == {}


async def test_only_what_has_room_is_fetched_for(sought: Sought, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "BUFFERED_RECORDS_MAX", 3)
    await sought.begin(10)
    assert sought.feed.wanted() == {PLACE}

    sought.feed.put(fetched(10, [10, 11, 12], 13))

    assert sought.feed.wanted() == set()
    await sought.read(10, 1)
    assert sought.feed.wanted() == {PLACE}


class Ends:
    """What a log answers when it is asked for its ends, and how often it was."""

    def __init__(self) -> None:
        self.asked = 0
        self.end = 0

    async def end_offsets(self, topic: str) -> dict[int, int]:
        assert topic == LIFECYCLE
        self.asked += 1
        await asyncio.sleep(0)
        return {3: self.end}


async def test_while_heartbeats_wait_the_end_of_lifecycle_is_asked_for_once_for_all() -> None:
    ends = Ends()

    async def seek(_place: Place, _offset: int) -> None:
        return

    feed = Feed(cast("Log", ends), seek)
    feed.assign([PLACE, (HEARTBEATS, 3)])
    for place in (PLACE, (HEARTBEATS, 3)):
        await feed.wait({place: 0}, 0)
    feed.put(Fetched(*PLACE, 0, [], 5, 5))
    assert (await feed.end_offsets(LIFECYCLE), ends.asked) == ({3: 5}, 0)

    feed.put(Fetched(HEARTBEATS, 3, 0, [], 1, 1))
    ends.end = 9
    found = await asyncio.gather(*(feed.end_offsets(LIFECYCLE) for _ in range(5)))

    assert found == [{3: 9}] * 5
    assert ends.asked == 1
