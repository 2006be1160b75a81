"""What operators see of a worker: metrics, and a line in the log for each record that could not be applied."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sojourn.consumers.progress import Progress
from sojourn.events.log import Batch
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from sojourn.projections.facts import DeadLetter
from sojourn.projections.fold import Changes

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RECORDS: Final = (1, 10, 50, 100, 250, 500, 1000, 2000)  # the last is the most that a batch holds
DEAD_LINES_MAX: Final = 20  # of one batch: a producer that writes nonsense must not fill the log's disk
TICK_SECONDS: Final = 0.1  # how often the event loop is looked at
LOOK_TICKS: Final = 10  # between two looks at the partitions

_log = structlog.get_logger("sojourn.worker")


class Measures:
    """The measures of one worker; each costs a moment for a batch, and none anything for a record."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.registry = registry = CollectorRegistry()
        self._dispositions = Counter(
            "sojourn_dispositions", "What became of events.", ("topic", "disposition"), registry=registry
        )
        self._batch_seconds = Histogram(
            "sojourn_batch_seconds", "Time to apply a batch.", ("topic",), buckets=SECONDS, registry=registry
        )
        self._batch_records = Histogram(
            "sojourn_batch_records", "Records in a batch.", ("topic",), buckets=RECORDS, registry=registry
        )
        self._flush_seconds = Histogram(
            "sojourn_flush_seconds", "Time to write what heartbeats changed.", buckets=SECONDS, registry=registry
        )
        self._commits = Counter("sojourn_commits", "Transactions that moved a position.", ("topic",), registry=registry)
        self._fence_losses = Counter(
            "sojourn_fence_losses", "Partitions found to be owned by another worker.", registry=registry
        )
        self._rebalances = Counter("sojourn_rebalances", "Assignments received from the group.", registry=registry)
        self._retries = Counter(
            "sojourn_retries", "Partitions owned anew after an error.", ("reason",), registry=registry
        )
        self._heartbeat_gaps = Counter(
            "sojourn_heartbeat_gaps", "Jumps over heartbeats that the log had dropped.", registry=registry
        )
        self._loop_delay = Histogram(
            "sojourn_loop_delay_seconds", "How late the event loop runs.", buckets=SECONDS, registry=registry
        )
        registry.register(_Standings(self.progress))
        ProcessCollector(registry=registry)

    def assigned(self, numbers: Iterable[int]) -> None:
        """Note that the group gave these partitions, and no others."""
        self._rebalances.inc()
        self.progress.assign(numbers)

    def owned(self, number: int, positions: Mapping[str, int]) -> None:
        """Note that a partition is owned and goes on from these positions."""
        self.progress.own(number, positions)
        if self.progress.joined:
            _log.info("partition.owned", partition=number, positions=dict(positions))

    def let_go(self, number: int) -> None:
        """Note that a partition is not owned any more, or not yet again."""
        self.progress.let_go(number)

    def retried(self, number: int, reason: str, error: str) -> None:
        """Count that a partition has to be owned anew; `reason` is one of a few words."""
        self._retries.labels(reason).inc()
        self.progress.hinder(number, error)

    def fenced(self, number: int, error: str) -> None:
        """Count that another worker took a partition that we wanted to write."""
        self._fence_losses.inc()
        self.progress.hinder(number, error)

    def stopped(self, number: int, error: str) -> None:
        """Note that a partition stands at a gap in the log."""
        self.progress.hinder(number, error, stopped=True)

    def begin(self, batch: Batch) -> float:
        """Return when a batch begins to be applied."""
        self.progress.begin(batch)
        return time.monotonic()

    def applied(self, batch: Batch, changes: Changes, begun: float) -> None:
        """Count a batch of lifecycle that is committed."""
        self._batch(batch, begun)
        self._committed(LIFECYCLE, batch.partition, changes.dispositions, changes.dead_letters)

    def taken(self, batch: Batch, begun: float) -> None:
        """Count a batch of heartbeats that is in memory."""
        self._batch(batch, begun)

    def flushed(
        self, number: int, dispositions: Mapping[str, int], dead_letters: Sequence[DeadLetter], begun: float
    ) -> None:
        """Count what heartbeats changed, which is committed."""
        self._flush_seconds.observe(time.monotonic() - begun)
        self._committed(HEARTBEATS, number, dispositions, dead_letters)

    def skipped(self, number: int, offset: int) -> None:
        """Count a jump to `offset` over heartbeats that are lost."""
        self._heartbeat_gaps.inc()
        self.progress.skip((HEARTBEATS, number), offset)

    async def watch(self) -> None:
        """Measure how late the event loop is, and tell in the log who caught up or fell behind, until cancelled."""
        while True:
            for _ in range(LOOK_TICKS):
                due = time.monotonic() + TICK_SECONDS
                await asyncio.sleep(TICK_SECONDS)
                delay = max(0.0, time.monotonic() - due)
                self._loop_delay.observe(delay)
                self.progress.loop_delay_seconds = delay
            self.progress.look()

    def _batch(self, batch: Batch, begun: float) -> None:
        self._batch_seconds.labels(batch.topic).observe(time.monotonic() - begun)
        self._batch_records.labels(batch.topic).observe(len(batch.records))
        self.progress.reach(batch)

    def _committed(
        self, topic: str, number: int, dispositions: Mapping[str, int], dead_letters: Sequence[DeadLetter]
    ) -> None:
        self._commits.labels(topic).inc()
        for disposition, count in dispositions.items():
            self._dispositions.labels(topic, disposition).inc(count)
        self.progress.commit(number)
        if self.progress.joined:
            _tell_dead_letters(dead_letters)


class _Standings(Collector):
    """The gauges, looked up when somebody asks: of a partition that went away nothing is left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        progress = self._progress
        for name, documentation, numbers in (
            ("sojourn_partitions_assigned", "Partitions that the group gave to this worker.", progress.assigned),
            ("sojourn_partitions_owned", "Partitions that this worker owns.", progress.owned),
            ("sojourn_partitions_stopped", "Partitions that stand at a gap in the log.", progress.stopped),
        ):
            yield GaugeMetricFamily(name, documentation, value=len(numbers))
        labels = ("topic", "partition")
        records = GaugeMetricFamily("sojourn_lag_records", "Records in the log that are not applied.", labels=labels)
        seconds = GaugeMetricFamily("sojourn_lag_seconds", "Age of the oldest record not applied.", labels=labels)
        for (topic, number), lag in progress.lags().items():
            records.add_metric((topic, str(number)), lag.records)
            if lag.seconds is not None:
                seconds.add_metric((topic, str(number)), lag.seconds)
        yield from (records, seconds)


def _tell_dead_letters(letters: Sequence[DeadLetter]) -> None:
    """Log where dead letters are, and never what they say."""
    for letter in letters[:DEAD_LINES_MAX]:
        record = letter.record
        tenant = {} if letter.tenant is None else {"tenant": letter.tenant}
        _log.warning(
            "record.dead_letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=letter.reason,
            **tenant,
        )
    if len(letters) > DEAD_LINES_MAX:
        first = letters[DEAD_LINES_MAX].record
        _log.warning(
            "record.more_dead_letters",
            topic=first.topic,
            partition=first.partition,
            offset=first.offset,
            count=len(letters) - DEAD_LINES_MAX,
        )


UNOBSERVED: Final = Measures()  # of partitions that nobody watches: `sojourn up` tells what the tables say
