"""Faust's transport in batches: one message for what a fetch brought of one partition.

Stock Faust makes an object of every record, commits offsets to Kafka and goes on from there. Here the positions are
PostgreSQL's: each partition is parked when it is assigned, until its keeper seeks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

import aiokafka
import structlog
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from sojourn.consumers.kafka.feed import Feed, Fetched, Place
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.log import Record
from sojourn.events.topics import HEARTBEATS, LIFECYCLE

GROUP: Final = "sojourn"
SESSION_SECONDS: Final = 15.0  # a worker restarts in five; one that is killed is replaced after this
HEARTBEAT_SECONDS: Final = 3.0  # a fifth of it, so that a lost one or two do not matter
METADATA_SECONDS_MAX: Final = 20.0  # partitions that were added are noticed within this
FETCH_WAIT_MS: Final = 100  # a partition that has just been sought waits for the fetch under way
FETCH_RECORDS_MAX: Final = 2000  # of a partition in one step of the loop: a batch
PARTITION_FETCH_BYTES: Final = 2 << 20  # a larger record still comes, alone
POLL_SECONDS: Final = 0.05  # a partition that becomes hungry is not in the fetch under way

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger("sojourn.kafka")


class Group(NamedTuple):
    """How many partitions the members share, and whom to tell, in the consumer's thread, when there are others."""

    partitions: int
    changed: Callable[[int], object]


class _Counted:
    """What an assignor asks of a cluster's metadata, by a number that never changes."""

    def __init__(self, count: int) -> None:
        self._partitions = set(range(count))

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return self._partitions


def assignor(count: int, changed: Callable[[int], object]) -> type[RangePartitionAssignor]:
    """Return the range assignor for topics of `count` partitions; `changed` is told of another number.

    aiokafka's own asks its metadata, in which topics are missing for moments after a broker's start, and then gives
    nobody anything until the metadata is looked at again.
    """

    class Assignor(RangePartitionAssignor):  # type: ignore[misc] # aiokafka has no types
        """Gives both topics' partition p to one worker."""

        @classmethod
        def assign(cls, cluster: Any, members: Any) -> Any:
            for topic in (LIFECYCLE, HEARTBEATS):
                found = cluster.partitions_for_topic(topic)
                if found and len(found) != count:
                    changed(len(found))
            return super().assign(_Counted(count), members)

    return Assignor


class Listener(driver.ConsumerRebalanceListener):
    """Parks what is assigned before anything of it can be fetched."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Give every partition a position: aiokafka would look for one in Kafka, and its keeper knows the right one."""
        cast("BatchThread", self._thread).park(assigned)
        await super().on_partitions_assigned(assigned)


class BatchThread(driver.AIOKafkaConsumerThread):
    """The thread with the consumer; its event loop keeps the membership alive while Python is busy elsewhere."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun: dict[Place, int] = {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        return aiokafka.AIOKafkaConsumer(
            **transport.kafka.client_options(),
            client_id=GROUP,
            group_id=GROUP,
            group_instance_id=transport.worker_name,
            partition_assignment_strategy=[assignor(transport.count, transport.changed)],
            metadata_max_age_ms=int(METADATA_SECONDS_MAX * 1000),
            enable_auto_commit=False,
            auto_offset_reset="none",  # anything else would jump over lost data in silence
            isolation_level="read_committed",
            session_timeout_ms=int(SESSION_SECONDS * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_SECONDS * 1000),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            max_poll_records=FETCH_RECORDS_MAX,
        )

    def park(self, places: Iterable[Any]) -> None:
        """Hold partitions at some position, paused."""
        consumer = self._ensure_consumer()
        self._begun = {}
        for place in places:
            consumer.seek(place, 0)
            consumer.pause(place)

    async def begin(self, place: Place, offset: int) -> None:
        """Fetch a partition from `offset` on; runs in the thread's loop."""
        consumer = self._ensure_consumer()
        partition = TopicPartition(*place)
        if partition in consumer.assignment():
            self._begun[place] = offset
            consumer.seek(partition, offset)
            consumer.resume(partition)

    async def tell(self, offsets: Mapping[Place, int]) -> None:
        """Tell Kafka how far we are, for those who watch lag there; runs in the thread's loop."""
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        known = {TopicPartition(*place): offset for place, offset in offsets.items() if place in assigned}
        if known:
            await consumer.commit(known)

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,  # noqa: ARG002 - as above; the limit is of each partition
    ) -> Any:
        """Fetch, and note for each partition where the fetch began and ended: transactions leave holes."""
        try:
            consumer._coordinator.check_errors()  # noqa: SLF001 - Faust never asks, and would wait for ever
            found = await self._drain(consumer, active_partitions)
            if not found and timeout:
                waiter = consumer._fetcher._create_fetch_waiter()  # noqa: SLF001 - as its `fetched_records`
                done, _ = await asyncio.wait([waiter], timeout=timeout)
                if not done:
                    waiter.cancel()
                elif not waiter.cancelled():
                    waiter.result()  # it may be that reading is not allowed
                found = await self._drain(consumer, active_partitions)
        except KafkaError as error:
            if not error.retriable:
                raise
            _log.warning("kafka.retry", error=str(error))
            return {}
        return found

    async def _drain(self, consumer: aiokafka.AIOKafkaConsumer, active: Iterable[Place]) -> dict[TP, Fetched]:
        """Take what is there, partition by partition: an error of one must not drop what was taken of another."""
        drained: dict[TP, Fetched] = {}
        for place in active:
            begun, partition = self._begun.get(place), TopicPartition(*place)
            if begun is None:
                continue
            _make_ours(consumer, partition)
            try:
                found = await super()._fetch_records(consumer, {partition}, 0, FETCH_RECORDS_MAX)
            except NoOffsetForPartitionError:  # looked for before the listener could park it
                continue
            except OffsetOutOfRangeError:
                consumer.pause(partition)  # or it would ask for the same offset again and again
                drained[TP(*place)] = Fetched(*place, begun, [], begun, begun, "missing")
                continue
            except (UnicodeDecodeError, CorruptRecordException):  # a header's name may be any bytes
                consumer.pause(partition)
                drained[TP(*place)] = Fetched(*place, begun, [], begun, begun, "unreadable")
                continue
            fetched = self._fetched(consumer, place, begun, found.get(partition, ()))
            if fetched is not None:
                drained[TP(*place)] = fetched
        return drained

    def _fetched(
        self, consumer: aiokafka.AIOKafkaConsumer, place: Place, begun: int, found: Sequence[Any]
    ) -> Fetched | None:
        """Return what came since the last fetch: records, or transactions that left none."""
        subscription = consumer._subscription.subscription  # noqa: SLF001 - `position()` waits, and may answer later
        assignment = None if subscription is None else subscription.assignment
        partition = TopicPartition(*place)
        if assignment is None or not assignment.active or partition not in assignment.tps:
            return None
        state = assignment.state_value(partition)
        if not state.has_valid_position or state.paused or (state.position == begun and not found):
            return None
        self._begun[place] = state.position
        records = list(_records(place, found))
        return Fetched(*place, begun, records, state.position, max(state.lso or 0, state.position))


class BatchConsumer(driver.Consumer):
    """Yields one message for what a fetch brought of one partition; its value is `Fetched`."""

    RebalanceListener = Listener
    _thread: BatchThread

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    async def begin(self, place: Place, offset: int) -> None:
        """Fetch a partition from `offset` on."""
        await self._in_thread(self._thread.begin(place, offset))

    async def tell(self, offsets: Mapping[Place, int]) -> None:
        """Tell Kafka the offsets, best effort: they are never read back."""
        try:
            await self._in_thread(self._thread.tell(offsets))
        except KafkaError as error:
            _log.info("kafka.not_told", error=type(error).__name__)  # its text is a page

    async def _in_thread(self, work: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._thread.thread_loop))

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek nowhere: each partition's keeper does."""
        return {}

    async def commit(self, *_: Any, **__: Any) -> bool:
        """Commit nothing: positions are PostgreSQL's."""
        return False

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave this to the watchdog of the worker."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch for the partitions that have room."""
        feed = cast("BatchTransport", self.transport).feed
        if not self.flow_active:
            await self.wait(cast("Any", self.can_resume_flow))
        wanted = feed.wanted()
        if not wanted:
            await feed.wait_until_wanted(POLL_SECONDS)
            return
        active = {TP(*place) for place in wanted}
        fetched = await self._thread.getmany(active, timeout if feed.is_all_wanted else POLL_SECONDS)
        if self.should_stop or not self.flow_active:
            return
        for place, batch in fetched.items():
            self._read_offset[place] = None  # Faust would drop what comes again after a seek
            yield place, _message(place, batch, self.app.consumer_generation_id)


class BatchTransport(driver.Transport):
    """Connects Faust to the cluster that the settings name, as a member of the group of all workers."""

    Consumer = BatchConsumer

    def __init__(self, app: Any, kafka: KafkaSettings, worker_name: str | None, feed: Feed, group: Group) -> None:
        super().__init__([], app)
        self.kafka, self.worker_name, self.feed = kafka, worker_name, feed
        self.count, self.changed = group


class _Making:
    """Makes a record as the port gives it; neighbours were appended in the same millisecond, and share its time."""

    def __init__(self) -> None:
        self._milliseconds, self._appended_at = 0, _EPOCH

    def __call__(self, place: Place, found: Any) -> Record:
        if found.timestamp != self._milliseconds:
            self._milliseconds = found.timestamp
            self._appended_at = datetime.fromtimestamp(found.timestamp / 1000, UTC)
        headers = tuple((name, value or b"") for name, value in found.headers) if found.headers else ()
        return Record(*place, found.offset, self._appended_at, found.key, found.value or b"", headers)


def _make_ours(consumer: aiokafka.AIOKafkaConsumer, partition: TopicPartition) -> None:
    """Let aiokafka make our records of what it has fetched: its own objects, a sixth of the work, would be dropped."""
    fetched = consumer._fetcher._records.get(partition)  # noqa: SLF001 - it offers no place for this
    unpacking = getattr(fetched, "_partition_records", None)
    if unpacking is not None:
        unpacking._consumer_record = _Making()  # noqa: SLF001 - as above


def _records(place: Place, found: Sequence[Any]) -> Sequence[Record]:
    """Return what was found as our records: those of a fetch that ended while we waited are aiokafka's."""
    if not found or isinstance(found[0], Record):
        return found
    make = _Making()
    return [make(place, one) for one in found]


def _message(place: TP, batch: Any, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        place.topic, place.partition, batch.start, 0.0, 0, [], None, batch, None, tp=place, generation_id=generation
    )
