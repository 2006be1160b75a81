"""A cluster under test: real Kafka, workers as processes, one database, and all that was sent and acknowledged."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import psycopg
from aiokafka.admin import AIOKafkaAdminClient

from sojourn.events.embedded.database import Database
from sojourn.events.errors import Unreachable
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS, KafkaSettings
from sojourn.events.kafka.topics import TOPICS, create_topics
from sojourn.events.settings import WORKER_NAME
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.fault.harness import Machine, Process, until
from tests.fault.workload import Workload
from tests.forks import SESSION_SECONDS, Forks, Start
from tests.kafka_server import KafkaServer

CATCH_UP_SECONDS_MAX: Final = 180  # a worker that has to do everything again applies thousands in a second
OUT_SECONDS: Final = SESSION_SECONDS * 1.5  # a process that is silent for this long has lost its partitions
CHUNK_VALUES: Final = 250  # of one append of the load


async def fresh_topics(kafka: KafkaServer) -> None:
    """Delete the topics of the test before, and make them anew."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        existing = set(await admin.list_topics()) & set(TOPICS)
        if existing:
            await admin.delete_topics(sorted(existing))

        async def are_gone() -> bool:
            return not set(await admin.list_topics()) & set(TOPICS)

        await until(are_gone, "Kafka has deleted the topics")
    finally:
        await admin.close()
    for state in await create_topics(KafkaSettings(kafka.bootstrap_servers)):
        assert not state.wrong, state.wrong


class Cluster(Machine):
    """Workers of one group on one database."""

    def __init__(self, forks: Forks, data_dir: Path, database: Database, kafka: KafkaServer) -> None:
        self.kafka, self.kafka_log = kafka, KafkaLog(KafkaSettings(kafka.bootstrap_servers))
        super().__init__(forks, data_dir, database, self.kafka_log)

    def worker(
        self,
        name: str | None = None,
        point: str | None = None,
        nth: int = 1,
        signal_number: int = signal.SIGKILL,
        environ: dict[str, str] | None = None,
        *,
        session_seconds: float = SESSION_SECONDS,
    ) -> Process:
        """Start a worker, which signals itself at the n-th time that it reaches a point."""
        variables = {BOOTSTRAP_SERVERS: self.kafka.bootstrap_servers, **(environ or {})}
        if name is not None:
            variables[WORKER_NAME] = name
        order = Start("sojourn", ["worker"], variables, point=point, nth=nth, signal=signal_number)
        order.session_seconds = session_seconds
        return self._start(order)

    def sojourn_on_kafka(self, *arguments: str) -> Process:
        """Start any `sojourn` command that uses the log."""
        return self._start(Start("sojourn", list(arguments), {BOOTSTRAP_SERVERS: self.kafka.bootstrap_servers}))

    async def ends(self) -> dict[tuple[str, int], int]:
        """Return where the log ends now."""
        return {
            (topic, partition): end
            for topic in (LIFECYCLE, HEARTBEATS)
            for partition, end in (await self.log.end_offsets(topic)).items()
        }

    async def caught_up(self, *workers: Process) -> None:
        """Wait until the positions stand where the log ends now, or later; the workers must live meanwhile."""
        ends = await self.ends()

        async def is_so() -> bool:
            for worker in workers:
                assert not worker.has_ended, worker.output
            with contextlib.suppress(psycopg.OperationalError):  # it may be the database that has just been ended
                found = await self.positions()
                return all(found.get(place, -1) >= end for place, end in ends.items())
            return False

        await until(is_so, f"the positions reach {ends}", workers[0], CATCH_UP_SECONDS_MAX)

    async def conclude(self) -> None:
        """Let one sound worker catch up and stop; then everything must be exact (I1 to I5)."""
        worker = self.worker()
        await self.caught_up(worker)
        assert await worker.stops() == 0, worker.output
        await self.check()

    @contextlib.asynccontextmanager
    async def stream(self, workload: Workload, values: int, seconds: float) -> AsyncIterator[asyncio.Task[None]]:
        """Publish so many values in about so many seconds, whatever happens; more if the block takes longer."""
        pause = seconds * CHUNK_VALUES / values

        async def go_on() -> None:
            for _ in range(values // CHUNK_VALUES):
                with contextlib.suppress(Unreachable):
                    await self.publish(workload.chunk(CHUNK_VALUES))
                await asyncio.sleep(pause)

        publishing = asyncio.create_task(go_on())
        yield publishing
        await publishing

    async def owners(self) -> Counter[str]:
        """Return how many partitions each worker owns, by its latest word."""
        async with await self.database.connect() as connection:
            rows = await connection.execute("SELECT owner, count(*) FROM sojourn.partition_owner GROUP BY owner")
            return Counter({owner: count async for owner, count in rows})

    async def all_work(self, *workers: Process) -> None:
        """Wait until the workers share the partitions evenly."""
        expected = 12 // len(workers)

        async def is_so() -> bool:
            for worker in workers:
                assert not worker.has_ended, worker.output
            owners = await self.owners()
            return len(owners) == len(workers) and min(owners.values()) >= expected

        await until(is_so, "every worker has its share", workers[0])


def fenced(worker: Process) -> int:
    """Return how often a worker found that another had taken a partition."""
    return worker.output.count("partition.fenced")
