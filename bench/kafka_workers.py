"""Workers as processes, from their being given partitions to the positions in PostgreSQL standing at the log's end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from bench.measure import Meter, Reading, Row
from sojourn.events.embedded.database import Database
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS
from sojourn.events.settings import DATA_DIR, METRICS_PORT, WORKER_NAME
from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from tests.kafka_server import free_ports

WORKER: Final = ("-c", "from sojourn.console.cli import main; main()", "worker")
STOCK_FAUST: Final = ("-m", "bench.stock_faust")
POLL_SECONDS: Final = 0.02  # of what tells in a file or a table
LAG_SECONDS: Final = 0.25  # between two looks at a worker's metrics, which cost it 5 ms
WAIT_SECONDS_MAX: Final = 300  # the longest row takes half a minute on a quiet machine
STOP_SECONDS_MAX: Final = 20  # a worker gives itself eight
_LAG: Final = re.compile(rf'sojourn_lag_records{{partition="\d+",topic="{re.escape(HEARTBEATS)}"}} ([0-9.e+]+)')


class Worker:
    """One process that joins the group, and what it has said."""

    def __init__(
        self, bootstrap_servers: str, data_dir: Path, name: str | None = None, command: Sequence[str] = WORKER
    ) -> None:
        self.port = free_ports()
        self.started_at = time.time()
        self._lines = data_dir.with_name(f"{data_dir.name}-{self.port}.log")
        environ = {
            BOOTSTRAP_SERVERS: bootstrap_servers,
            DATA_DIR: str(data_dir),
            METRICS_PORT: str(self.port),
            WORKER_NAME: name or "",
        }
        with self._lines.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command], env={**os.environ, **environ}, stdout=output, stderr=output
            )
        self.number = self._process.pid

    @property
    def assigned(self) -> list[tuple[float, list[int]]]:
        """When it was given partitions, as seconds since 1970, and which; each time anew."""
        lines = [json.loads(line) for line in self._lines.read_text().splitlines() if line.startswith("{")]
        return [
            (datetime.fromisoformat(line["timestamp"]).timestamp(), line["partitions"])
            for line in lines
            if line["event"] == "worker.assigned" and line["partitions"]
        ]

    @property
    def output(self) -> str:
        """What it wrote."""
        return self._lines.read_text()

    @property
    def has_failed(self) -> bool:
        """Tell whether it has ended, but not well."""
        ended = os.waitid(os.P_PID, self.number, os.WEXITED | os.WNOHANG | os.WNOWAIT) if self._runs else None
        return ended is not None and ended.si_status != 0

    @property
    def _runs(self) -> bool:
        """Tell whether nobody has waited for its end; until then its processor time can be read."""
        return self._process.returncode is None

    def heartbeat_lags(self) -> list[int]:
        """Return how many heartbeats of each of its partitions are not in its memory yet."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as page:
            return [int(float(lag)) for lag in _LAG.findall(page.read().decode())]
        return []

    def tell_to_stop(self) -> None:
        """Tell it as an operator does."""
        self._process.send_signal(signal.SIGTERM)

    async def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        self.tell_to_stop()
        await self.ended()

    async def ended(self) -> None:
        """Wait for its end; one that does not come is made."""
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Scene:
    """One database, Kafka, and the workers of a measurement."""

    def __init__(self, bootstrap_servers: str, log: KafkaLog, database: Database, data_dir: Path, meter: Meter) -> None:
        self.bootstrap_servers, self.data_dir = bootstrap_servers, data_dir
        self.log, self.database, self.meter = log, database, meter
        self.workers: list[Worker] = []

    def start(self, count: int, command: Sequence[str] = WORKER) -> None:
        """Start so many workers at once; Kafka waits for all before it shares the partitions."""
        self.workers = [Worker(self.bootstrap_servers, self.data_dir, command=command) for _ in range(count)]

    def kill(self) -> None:
        """End whatever still runs."""
        for worker in self.workers:
            worker.kill()

    def read(self) -> Reading:
        """Read the processor time of all."""
        return self.meter.read({f"worker {number}": worker.number for number, worker in enumerate(self.workers, 1)})

    async def given(self) -> Reading:
        """Wait until every worker has its share of the partitions, and read the clocks: the measurement begins."""
        await until(self._are_given, "the workers are given partitions", self.workers)
        return self.read()

    async def _are_given(self) -> bool:
        given = [worker.assigned for worker in self.workers]
        if not all(given):
            return False
        shares = [len(assigned[0][1]) for assigned in given]
        assert sum(shares) == PARTITIONS_DEFAULT, f"the workers did not join at once: {shares}"
        return True

    async def positions(self, topic: str) -> dict[int, int]:
        """Return the next offsets by PostgreSQL."""
        return await numbers(
            self.database, "SELECT partition, next_offset FROM sojourn_v1.position WHERE topic = %s", topic
        )

    async def reach_end(self, topic: str) -> None:
        """Wait until the positions stand at the log's end."""
        ends = await self.log.end_offsets(topic)

        async def is_so() -> bool:
            return await self.positions(topic) == ends

        await until(is_so, f"the positions reach {ends}", self.workers)

    async def lifecycle(self, name: str, count: int, pieces: int) -> Row:
        """Let so many workers apply the lifecycle that stands in the log."""
        self.start(count)
        try:
            before = await self.given()
            await self.reach_end(LIFECYCLE)
            row = Row.between(name, pieces, before, self.read())
            for worker in self.workers:
                await worker.stop()
        finally:
            self.kill()
        return row

    async def heartbeats(self, name: str, count: int, pieces: int) -> Row:
        """Let so many workers take all heartbeats; then they are told to stop, and the time ends with their pages.

        Pages are written every five seconds otherwise, and this much the end would be late.
        """
        self.start(count)

        async def are_taken() -> bool:
            lags = [lag for worker in self.workers for lag in await asyncio.to_thread(worker.heartbeat_lags)]
            return len(lags) == PARTITIONS_DEFAULT and not any(lags)

        try:
            before = await self.given()
            await until(are_taken, "all heartbeats are taken", self.workers, LAG_SECONDS)
            for worker in self.workers:
                worker.tell_to_stop()
            await self.reach_end(HEARTBEATS)
            row = Row.between(name, pieces, before, self.read())
            for worker in self.workers:
                await worker.ended()
        finally:
            self.kill()
        return row

    async def stock(self, name: str, pieces: int) -> Row:
        """Let the stock agent write the same tables."""
        self.start(1, STOCK_FAUST)
        query = "SELECT 0, coalesce(sum(records), 0)::bigint FROM sojourn_v1.disposition WHERE topic = %s"

        async def is_done() -> bool:
            return (await numbers(self.database, query, LIFECYCLE))[0] == pieces

        try:
            before = await self.given()
            await until(is_done, "the stock agent has written everything", self.workers)
            row = Row.between(name, pieces, before, self.read())
            await self.workers[0].stop()
        finally:
            self.kill()
        return row


async def numbers(database: Database, query: str, topic: str) -> dict[int, int]:
    """Return what a query with two columns finds for a topic."""
    async with await database.connect(autocommit=True) as connection:
        cursor = await connection.execute(query.encode(), [topic])
        return {row[0]: row[1] async for row in cursor}


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    workers: Sequence[Worker],
    every_seconds: float = POLL_SECONDS,
) -> None:
    """Poll for what does not tell when it happens; the workers' words tell why it did not."""
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not await condition():
                assert not any(worker.has_failed for worker in workers), "a worker has failed"
                await asyncio.sleep(every_seconds)
    except (TimeoutError, AssertionError) as error:
        said = "\n".join(worker.output for worker in workers)
        raise AssertionError(f"in vain until {what}: {error}\n{said}") from error
