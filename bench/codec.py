"""What the contract and the fold cost without any database."""

from datetime import UTC, datetime

from bench.load import heartbeats, lifecycle, sessions
from bench.measure import Stopwatch
from sojourn.events.codec import decode
from sojourn.events.log import Record
from sojourn.events.topics import LIFECYCLE, PARTITIONS_DEFAULT, session_partition
from sojourn.events.types import LifecycleEvent
from sojourn.projections.decided import NOTHING_DECIDED
from sojourn.projections.facts import Key, judge_lifecycle
from sojourn.projections.fold import fold
from sojourn.projections.session import Session

BATCH = 2000
BEATS_A_RECORD = 100


def decode_only(watch: Stopwatch, count: int) -> None:
    """Decode lifecycle events, then heartbeats."""
    values = list(lifecycle(count))
    with watch.measure("lifecycle: decode only", len(values)):
        for value in values:
            decode(value)
    keys = list(sessions(count))
    records = list(heartbeats(keys, datetime.now(UTC), BEATS_A_RECORD))
    with watch.measure("heartbeats: decode only", len(keys)):
        for value in records:
            decode(value)


def fold_only(watch: Stopwatch, count: int) -> None:
    """Judge and fold lifecycle events in memory."""
    now = datetime.now(UTC)
    values = list(lifecycle(count))
    records = []
    for offset, value in enumerate(values):
        event = decode(value)
        assert isinstance(event, LifecycleEvent)
        partition = session_partition(event.tenant, event.subject, PARTITIONS_DEFAULT)
        records.append(Record(LIFECYCLE, partition, offset, now, None, value, ()))
    states: dict[Key, Session] = {}
    with watch.measure("lifecycle: decode and fold, no database", len(records)):
        for start in range(0, len(records), BATCH):
            judged = judge_lifecycle(records[start : start + BATCH], PARTITIONS_DEFAULT, NOTHING_DECIDED)
            states.update(fold(states, judged).sessions)
