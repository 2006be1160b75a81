"""The pages of last-seen seconds in memory: slots, flushes, held heartbeats."""

from datetime import UTC, datetime, timedelta

import pytest

from sojourn.consumers import liveness as module
from sojourn.consumers.liveness import HELD_FOR, PAGE_SLOTS, Liveness, Opened
from sojourn.projections.facts import Key
from sojourn.projections.pages import Detail

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
ADA: Key = ("acme", "s-1")
EVE: Key = ("acme", "s-2")


def opened(liveness: Liveness, *keys: Key, at: datetime = NOW) -> dict[Key, int]:
    slots = liveness.reserve(keys)
    liveness.settle({key: Opened(slot, at, 0, 90, None) for key, slot in slots.items()}, [])
    return slots


def last_seen(liveness: Liveness, slot: int) -> int:
    """Read a slot as the table's view does: big-endian seconds."""
    pages = dict(liveness.flush().pages)
    seen = pages[slot // PAGE_SLOTS]
    return int.from_bytes(seen[4 * (slot % PAGE_SLOTS) :][:4], "big")


def test_reserving_takes_no_slot_until_the_batch_is_committed() -> None:
    liveness = Liveness({}, {})

    first = liveness.reserve([ADA])
    again = liveness.reserve([EVE])

    assert list(first.values()) == list(again.values())
    assert liveness.slots == {}


def test_two_open_sessions_never_share_a_slot() -> None:
    liveness = Liveness({}, {})

    for number in range(3 * PAGE_SLOTS):
        opened(liveness, ("acme", f"s-{number}"))

    assert len(set(liveness.slots.values())) == 3 * PAGE_SLOTS


def test_a_session_is_seen_from_its_established_on_and_then_at_its_newest_heartbeat() -> None:
    liveness = Liveness({}, {})
    slot = opened(liveness, ADA)[ADA]

    established = last_seen(liveness, slot)
    liveness.beat(ADA, NOW + timedelta(seconds=30.9), None)
    liveness.beat(ADA, NOW + timedelta(seconds=10), None)

    assert established == int(NOW.timestamp())
    assert last_seen(liveness, slot) == int(NOW.timestamp()) + 30


def test_a_freed_slot_is_used_again_only_after_its_zero_is_committed() -> None:
    liveness = Liveness({}, {})
    slot = opened(liveness, ADA)[ADA]
    liveness.flushed(liveness.flush())

    liveness.settle({}, [ADA])
    before = opened(liveness, EVE)[EVE]
    flush = liveness.flush()
    during = liveness.reserve([("acme", "s-3")])
    liveness.flushed(flush)
    after = liveness.reserve([("acme", "s-4")])

    assert before != slot
    assert slot not in during.values()
    assert list(after.values()) == [slot]


def test_loading_zeroes_slots_that_no_open_session_uses() -> None:
    stale = (12345).to_bytes(4, "big")
    page = stale * PAGE_SLOTS

    liveness = Liveness({ADA: 7}, {0: page})
    flush = liveness.flush()

    assert flush.pages[0][1] == bytes(4 * 7) + stale + bytes(4 * (PAGE_SLOTS - 8))
    assert len(flush.freed) == PAGE_SLOTS - 1


def test_an_open_session_whose_page_was_never_written_keeps_its_slot() -> None:
    liveness = Liveness({ADA: PAGE_SLOTS + 3}, {})

    assert liveness.beat(ADA, NOW, None)
    assert last_seen(liveness, PAGE_SLOTS + 3) == int(NOW.timestamp())


def test_a_flush_that_failed_is_not_taken_for_written() -> None:
    """The owner drops all it knows after an error, so only the slots matter: they stay unused."""
    liveness = Liveness({}, {})
    slot = opened(liveness, ADA)[ADA]
    liveness.settle({}, [ADA])

    liveness.flush()

    assert slot not in liveness.reserve([EVE]).values()


def test_a_heartbeat_that_overtook_its_established_counts_when_that_comes() -> None:
    liveness = Liveness({}, {})
    detail = Detail("203.0.113.9", None, None, NOW)

    held = liveness.beat(ADA, NOW, detail)
    liveness.hold(ADA, NOW, detail)
    liveness.hold(ADA, NOW + timedelta(seconds=5), Detail(None, 3, None, NOW))
    slots = liveness.reserve([ADA])
    released = liveness.settle({ADA: Opened(slots[ADA], NOW + timedelta(seconds=1), 0, 90, None)}, [])

    assert not held
    assert released == 2
    assert liveness.flush().details[ADA] == Detail("203.0.113.9", 3, None, NOW)


def test_what_a_later_heartbeat_leaves_out_stays_as_it_was_within_a_flush() -> None:
    liveness = Liveness({}, {})
    opened(liveness, ADA)

    liveness.beat(ADA, NOW, Detail("203.0.113.9", None, 41, NOW))
    liveness.beat(ADA, NOW, Detail(None, 0, None, NOW + timedelta(seconds=1)))

    assert liveness.flush().details[ADA] == Detail("203.0.113.9", 0, 41, NOW + timedelta(seconds=1))


def test_held_heartbeats_expire_a_minute_after_the_first_of_their_session() -> None:
    liveness = Liveness({}, {})
    liveness.hold(ADA, NOW, None)
    liveness.hold(EVE, NOW + timedelta(seconds=1), None)
    liveness.hold(ADA, NOW + HELD_FOR, None)

    assert liveness.expire(NOW + HELD_FOR - timedelta(seconds=1)) == 0
    assert liveness.expire(NOW + HELD_FOR) == 2
    assert liveness.expire(None) == 1


def test_no_more_heartbeats_are_held_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_MAX", 2)
    liveness = Liveness({}, {})

    dropped = [liveness.hold(("acme", f"s-{number}"), NOW, None) for number in range(4)]

    assert dropped == [0, 0, 1, 1]
