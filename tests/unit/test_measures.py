"""What a worker counts and logs, without a worker."""

import asyncio
import contextlib
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from prometheus_client import generate_latest
from structlog.testing import capture_logs

from sojourn.consumers.commands import Deadlines
from sojourn.consumers.liveness import Liveness
from sojourn.consumers.measures import DEAD_LINES_MAX, Measures
from sojourn.consumers.partition import Partition
from sojourn.consumers.signs import Signs
from sojourn.consumers.sweep import Sweep
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import ExternalDatabase
from sojourn.events.log import Batch, Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.decided import NOTHING_DECIDED
from sojourn.projections.facts import DeadLetter
from sojourn.projections.fold import Changes
from sojourn.projections.store import Owned, Position

PAYLOAD: Final = b"private words"
BLOCKED_SECONDS: Final = 0.5


def dead_letter(offset: int, tenant: str | None = None) -> DeadLetter:
    record = Record(LIFECYCLE, 3, offset, datetime(2026, 11, 24, tzinfo=UTC), PAYLOAD, PAYLOAD, ())
    return DeadLetter(record, "not_json", PAYLOAD.decode(), tenant, None)


def apply(measures: Measures, *letters: DeadLetter) -> None:
    """Tell of a batch that holds nothing but dead letters."""
    changes = Changes([], list(letters), [], {}, Counter(dead_letter=len(letters)), {})
    batch = Batch(LIFECYCLE, 3, [letter.record for letter in letters], len(letters))
    measures.applied(batch, changes, measures.begin(batch))


def test_a_dead_letter_is_logged_by_its_place_and_never_by_what_it_says() -> None:
    measures = Measures()
    measures.assigned([3])

    with capture_logs() as lines:
        apply(measures, dead_letter(7), dead_letter(8, "acme"))

    place = {"event": "record.dead_letter", "log_level": "warning", "topic": LIFECYCLE, "partition": 3}
    assert lines == [
        {**place, "offset": 7, "reason": "not_json"},
        {**place, "offset": 8, "reason": "not_json", "tenant": "acme"},
    ]


def test_a_batch_full_of_dead_letters_is_logged_in_few_lines() -> None:
    measures = Measures()
    measures.assigned([3])

    with capture_logs() as lines:
        apply(measures, *map(dead_letter, range(2000)))

    assert len(lines) == DEAD_LINES_MAX + 1
    assert (lines[-1]["offset"], lines[-1]["count"]) == (DEAD_LINES_MAX, 2000 - DEAD_LINES_MAX)


def test_the_delay_of_the_event_loop_is_measured_when_something_blocks_it() -> None:
    measures = Measures()

    async def block() -> None:
        watching = asyncio.create_task(measures.watch())
        await asyncio.sleep(0)
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - this is the fault
        for _ in range(3):  # its timer is due
            await asyncio.sleep(0)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    asyncio.run(block())

    delay = measures.registry.get_sample_value("sojourn_loop_delay_seconds_sum")
    assert delay is not None
    assert delay > BLOCKED_SECONDS / 2


def test_a_jump_over_lost_heartbeats_is_counted_and_is_no_lag() -> None:
    measures = Measures()
    measures.assigned([3])
    owned = Owned(3, 1, {topic: Position(10, None, None, None) for topic in (LIFECYCLE, HEARTBEATS)})
    liveness, signs, now = Liveness({}, {}), Signs(()), datetime(2026, 11, 24, tzinfo=UTC)
    sweep = Sweep(3, liveness, signs, now, NOTHING_DECIDED)
    writer = Writer(ExternalDatabase(""))
    partition = Partition(writer, owned, liveness, signs, sweep, Deadlines(()), NOTHING_DECIDED, 12)
    partition.measures = measures
    measures.owned(3, partition.next_offsets)
    measures.progress.end({HEARTBEATS: {3: 25}})

    partition.skip_heartbeats(25, now)

    assert measures.registry.get_sample_value("sojourn_heartbeat_gaps_total") == 1
    assert measures.progress.lags()[HEARTBEATS, 3].records == 0


def test_series_of_a_partition_that_went_away_vanish() -> None:
    measures = Measures()
    measures.assigned([0, 1])
    measures.owned(0, {LIFECYCLE: 1, HEARTBEATS: 1})
    measures.owned(1, {LIFECYCLE: 1, HEARTBEATS: 1})
    measures.progress.end({topic: {0: 3, 1: 3} for topic in (LIFECYCLE, HEARTBEATS)})

    both = generate_latest(measures.registry).decode()
    measures.assigned([1])

    one = generate_latest(measures.registry).decode()
    assert 'partition="0"' in both
    assert 'partition="0"' not in one
    assert f'sojourn_lag_records{{partition="1",topic="{LIFECYCLE}"}} 2.0' in one
