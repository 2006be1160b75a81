"""The worker: a member of the consumer group, with a keeper for each partition that the group gives it."""

import asyncio
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import structlog
from aiokafka.errors import KafkaConnectionError, KafkaError

from sojourn.consumers.gaps import PartitionsChanged, check_partitions
from sojourn.consumers.kafka.application import application
from sojourn.consumers.kafka.feed import Feed, Place
from sojourn.consumers.kafka.transport import BatchConsumer, Group
from sojourn.consumers.keeper import Keeper, first
from sojourn.consumers.measures import Measures
from sojourn.consumers.owning import LogChanged
from sojourn.consumers.partition import Partition
from sojourn.consumers.sight import Sight
from sojourn.consumers.writers import Writer
from sojourn.events.embedded.database import Database
from sojourn.events.errors import SojournError, Unreachable
from sojourn.events.kafka.brokers import Refused
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import check_topics
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE
from sojourn.projections.owners import hold_name, release, try_hold
from sojourn.projections.store import Fenced

WRITERS: Final = 3  # two cores: one folds while PostgreSQL works for the others
TELL_SECONDS: Final = 5.0  # between two offsets told to Kafka: lag tools look every half minute
FENCED_SECONDS: Final = 1.0  # until a partition that another worker took is tried again, if the group still gives it
GAP_SECONDS: Final = 5.0  # between two looks whether a gap in the log has been accepted
STUCK_SECONDS: Final = 60.0  # without a commit while the log is ahead and both servers answer
ANSWER_SECONDS_MAX: Final = 15.0  # since PostgreSQL answered: three times it was asked
CLOSE_SECONDS_MAX: Final = 4.0  # a batch and a flush take less than one; a database that is away is not waited for

_log = structlog.get_logger("sojourn.worker")


class Stuck(SojournError):
    """the log is ahead and nothing is applied; start the worker again, and tell its last lines if it happens twice"""


class TopicUnfit(SojournError):
    """a topic has settings under which the tables would not be true"""


class Kept(NamedTuple):
    """A partition that the group gave us, and what keeps it."""

    keeper: Keeper
    stopping: asyncio.Event
    task: asyncio.Task[None]


class Worker:
    """Projects the partitions that the group gives to this member."""

    def __init__(
        self,
        database: Database,
        log: KafkaLog,
        kafka: KafkaSettings,
        worker_name: str | None,
        owner: str,
        measures: Measures,
    ) -> None:
        self._log, self._owner = log, owner
        self._kafka, self._worker_name = kafka, worker_name
        self._feed = Feed(log, self._seek)
        self._writers = [Writer(database) for _ in range(WRITERS)]
        self._holder, self._looker = Writer(database), Writer(database)
        self._sight = Sight(log, self._looker)
        self._kept: dict[int, Kept] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._held: set[int] = set()
        self._count = 0
        self._failed: asyncio.Future[None] | None = None
        self._app: Any = None
        self._progress: dict[int, tuple[tuple[int, ...], float]] = {}
        self._answered_at = 0.0
        self.measures = measures
        self.measures.progress.known_ends = self._feed.known_ends

    @property
    def partitions(self) -> dict[int, Partition]:
        """The partitions that are owned and moving."""
        kept = {number: kept.keeper.partition for number, kept in self._kept.items()}
        return {number: partition for number, partition in kept.items() if partition is not None}

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; then finish the batches in hand, write what is in memory and leave the group.

        Raises what no retry can mend.
        """
        await self._check_topics()
        async with self._holder.use() as connection:
            if self._worker_name is not None:
                await hold_name(connection, self._worker_name)
            self._count = await check_partitions(self._log, connection)
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        with tempfile.TemporaryDirectory(prefix="sojourn-worker-") as folder:
            group = Group(self._count, lambda found: loop.call_soon_threadsafe(self._refuse, found))
            self._app = application(self._kafka, self._worker_name, self._feed, group, Path(folder))
            self._app.on_partitions_assigned.connect(self._on_assigned)
            self._app.timer(TELL_SECONDS)(self._tell)
            self._app.timer(TELL_SECONDS)(self._watch)
            self._app.timer(TELL_SECONDS)(self._ask_database)
            watching = asyncio.create_task(self._sight.watch())
            try:
                await self._begin()
                await self._until(stopping)
            finally:
                watching.cancel()
                await self._close()

    async def _begin(self) -> None:
        """Start Faust; Kafka may have gone since the topics were looked at."""
        try:
            await self._app.start()
        except KafkaError as error:
            raise _explained(error) from error

    async def _check_topics(self) -> None:
        """Refuse topics that would make the tables untrue; access rules may forbid to look."""
        try:
            states = await check_topics(self._kafka)
        except Refused as error:
            _log.warning("topics.unchecked", error=str(error))
            return
        for state in states:
            for warning in state.warnings:
                _log.warning("topic.warning", topic=state.name, warning=warning)
        for problem in [problem for state in states if state.name != COMMANDS for problem in state.wrong]:
            raise TopicUnfit(problem)

    async def _until(self, stopping: asyncio.Event) -> None:
        """Wait for the end: asked for, or because something failed."""
        assert self._failed is not None
        ends = [asyncio.ensure_future(stopping.wait()), self._failed, asyncio.ensure_future(self._app._crashed.wait())]  # noqa: SLF001
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in (ends[0], ends[2]):
            end.cancel()
        if self._failed.done():
            self._failed.result()
        crash = self._app.crash_reason
        if isinstance(crash, KafkaError):
            raise _explained(crash) from crash
        if crash is not None:
            raise crash

    async def _close(self) -> None:
        consumer = self._consumer
        consumer.stop_flow()
        self._release(set(self._kept))
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_SECONDS_MAX)
            for task in late:
                task.cancel()
        await self._app.stop()
        for writer in [*self._writers, self._holder, self._looker]:
            await writer.close()

    @property
    def _consumer(self) -> BatchConsumer:
        consumer: BatchConsumer = self._app.consumer
        return consumer

    async def _seek(self, place: Place, offset: int) -> None:
        await self._consumer.begin(place, offset)

    async def _on_assigned(self, _app: Any, assigned: Iterable[Place], **_: Any) -> None:
        """Start keepers for what is new, stop those of what is gone; the others go on from where they stand."""
        places = {(place[0], place[1]) for place in assigned}
        numbers = {number for topic, number in places if topic == LIFECYCLE}
        self._feed.assign(places)
        self.measures.assigned(numbers)
        gone = set(self._kept) - numbers
        self._release(gone)
        for number in sorted(numbers - set(self._kept)):
            self._start(number)
        _log.info("worker.assigned", partitions=sorted(numbers), gone=sorted(gone))

    def _start(self, number: int) -> None:
        writer = self._writers[number % WRITERS]
        keeper = Keeper(number, self._count, self._owner, self._log, self._feed, writer, self._hold, self._sight)
        keeper.measures = self.measures
        stopping = asyncio.Event()
        task = asyncio.create_task(self._keep(keeper, stopping), name=f"partition-{number}")
        self._kept[number] = Kept(keeper, stopping, task)

    def _release(self, numbers: Iterable[int]) -> None:
        """Tell keepers to finish; they are waited for at the end only, since the epoch keeps them from any harm."""
        for number in numbers:
            kept = self._kept.pop(number)
            kept.stopping.set()
            self._closing.add(kept.task)
            kept.task.add_done_callback(self._closing.discard)

    async def _keep(self, keeper: Keeper, stopping: asyncio.Event) -> None:
        """Keep a partition for as long as the group gives it to us."""
        told = ""
        try:
            while not stopping.is_set():
                try:
                    await keeper.keep(stopping)
                except Fenced as error:
                    self.measures.fenced(keeper.number, str(error))
                    if not stopping.is_set():
                        _log.warning("partition.fenced", partition=keeper.number, error=str(error))
                    await first(stopping, asyncio.sleep(FENCED_SECONDS))
                except LogChanged as error:
                    self.measures.stopped(keeper.number, str(error))
                    if str(error) != told:  # it is looked at again and again, until somebody accepts it
                        told = str(error)
                        _log.error("partition.stopped", partition=keeper.number, error=told)
                    await first(stopping, asyncio.sleep(GAP_SECONDS))
            await self._let_go(keeper.number)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the worker, and not this task alone
            self._fail(error)

    def _refuse(self, found: int) -> None:
        """End: sessions would change their partition."""
        self._fail(PartitionsChanged(f"the topics had {self._count} partitions; see docs/operations.md: {found}"))

    def _fail(self, error: BaseException) -> None:
        assert self._failed is not None
        if not self._failed.done():
            self._failed.set_exception(error)
            self.measures.progress.fail(str(error))

    async def _hold(self, number: int) -> None:
        """Show others that the partition has a living owner. A zombie may still hold it: the epoch is what counts."""
        async with self._holder.use() as connection:
            for wanted in {number, *self._kept}:
                if await try_hold(connection, wanted):
                    self._held.add(wanted)

    async def _let_go(self, number: int) -> None:
        if number in self._held and number not in self._kept:
            with suppress(psycopg.Error, Unreachable):
                async with self._holder.use() as connection:
                    await release(connection, number)
            self._held.discard(number)

    async def _tell(self) -> None:
        """Tell Kafka how far we are; and hold what a zombie held before."""
        partitions = self.partitions
        offsets = {
            (topic, number): offset
            for number, partition in partitions.items()
            for topic, offset in partition.committed.items()
        }
        await self._consumer.tell(offsets)
        missing = set(partitions) - self._held
        if missing:
            with suppress(psycopg.Error, Unreachable):
                await self._hold(min(missing))

    async def _ask_database(self) -> None:
        """See that PostgreSQL answers; a connection that is gone holds nothing any more."""
        try:
            async with self._holder.use() as connection:
                await connection.execute("SELECT 1")
        except (psycopg.Error, Unreachable) as error:
            self._held.clear()
            self.measures.progress.miss("PostgreSQL", str(error))
        else:
            self._answered_at = time.monotonic()
            self.measures.progress.answer("PostgreSQL")

    async def _watch(self) -> None:
        """End the worker when the log is ahead, both servers answer, and nothing moves."""
        try:
            ends = {topic: await self._log.end_offsets(topic) for topic in (LIFECYCLE, HEARTBEATS)}
        except SojournError as error:
            self._progress.clear()
            self.measures.progress.miss("Kafka", str(error))
            return
        self.measures.progress.end(ends)
        now = time.monotonic()
        if now - self._answered_at > ANSWER_SECONDS_MAX:
            self._progress.clear()
            return
        at = {number: tuple(partition.next_offsets.values()) for number, partition in self.partitions.items()}
        self._progress = {
            number: self._progress[number] if self._progress.get(number, (None,))[0] == offsets else (offsets, now)
            for number, offsets in at.items()
            if self._is_behind(number, ends)
        }
        for number, (_, since) in self._progress.items():
            if now - since > STUCK_SECONDS:
                self._fail(Stuck(f"{Stuck.__doc__}: partition {number}, {self.partitions[number].next_offsets}"))

    def _is_behind(self, number: int, ends: dict[str, dict[int, int]]) -> bool:
        offsets = self.partitions[number].next_offsets
        return any(offset < ends[topic].get(number, 0) for topic, offset in offsets.items())


def _explained(error: KafkaError) -> SojournError:
    """Return the one line for an error of the group, which nobody but the operator can mend."""
    text = " ".join(str(error).split())
    if isinstance(error, KafkaConnectionError):
        return Unreachable(f"Kafka cannot be reached: {text}")
    return SojournError(f"Kafka puts this worker out of the group: {text}")
