"""`sojourn worker` as a process, and what it works on: Kafka, a PostgreSQL that can be taken away."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo

from sojourn.events.embedded.postgres import Patience, PostgresServer
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.publisher import Publisher
from tests.integration.command import free_port
from tests.integration.server_processes import server_processes
from tests.kafka_server import KafkaServer

WAIT_SECONDS_MAX: Final = 60  # a start takes three; the machine may be busy
LEAVE_SECONDS_MAX: Final = 10  # in which a worker ends that is told to stop
PATIENCE_SECONDS: Final = 60.0
PASSWORD: Final = "never-shown-1"  # noqa: S105 - made up for these tests

RUN: Final = (  # loses nobody: the events of these tests have no heartbeats
    "import sys; from sojourn.consumers import sweep; sweep.TIMEOUT_SECONDS = 7 * 86400;"
    " sweep.SILENT_BEATS = 100_000;"
    " from sojourn.console.cli import main; sys.exit(main())"
)
IMPATIENT: Final = f"from sojourn.events.kafka import brokers; brokers.AWAY_SECONDS_MAX = 1; {RUN}"
STUCK: Final = f"""
import asyncio
from sojourn.consumers.kafka import worker

async def fail(self):
    self._fail(worker.Stuck("nothing moves"))

async def hang(self):
    await asyncio.sleep(3600)

worker.Worker._tell, worker.Worker._close = fail, hang
{RUN}
"""


def wait_until(condition: Callable[[], object], what: str, tell: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}: {tell()}"
        time.sleep(0.05)


class Worker:
    """A `sojourn worker` as a process of its own."""

    def __init__(self, folder: Path, environ: dict[str, str], code: str = RUN) -> None:
        self.port = free_port()
        self._output = folder / f"worker-{self.port}.log"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, "worker"],
                env={**os.environ, "SOJOURN_METRICS_PORT": str(self.port), **environ},
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it logged; every line is an object."""
        return [json.loads(line) for line in self.output.splitlines()]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            assert self._process.poll() is None, self.output
            return 0, "{}"

    def health(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/health/ready")
        return status, json.loads(body)

    def is_ready(self) -> bool:
        return self.get("/health/ready")[0] == 200

    def wait_ready(self) -> None:
        wait_until(self.is_ready, "the worker is ready", lambda: (self.health(), self.output))

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a metric by the values of their labels, in the order of the labels' names."""
        status, text = self.get("/metrics")
        families = text_string_to_metric_families(text) if status == 200 else ()
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name
        }

    def stop(self) -> tuple[int, float]:
        """End it by SIGTERM and return its exit code and how many seconds it took."""
        begun = time.monotonic()
        self._process.terminate()
        return self.wait(), time.monotonic() - begun

    def wait(self) -> int:
        return self._process.wait(WAIT_SECONDS_MAX)

    def end(self) -> None:
        """End it, and let it leave the group: Kafka waits fifteen seconds for one that is gone without a word."""
        self._process.terminate()
        try:
            self._process.wait(LEAVE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Machine:
    """Kafka with the topics, a database, and the workers that a test starts; they end with it."""

    def __init__(self, folder: Path, kafka: KafkaServer, dsn: str) -> None:
        self._folder, self.kafka, self.dsn = folder, kafka, dsn
        self._workers: list[Worker] = []

    def worker(self, code: str = RUN, **environ: str) -> Worker:
        known = {
            "SOJOURN_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "SOJOURN_DATABASE_DSN": make_conninfo(self.dsn, password=PASSWORD),
            "SOJOURN_DATA_DIR": str(self._folder),
        }
        worker = Worker(self._folder, known | environ, code)
        self._workers.append(worker)
        return worker

    def ready_worker(self) -> Worker:
        worker = self.worker()
        worker.wait_ready()
        return worker

    def publish(self, *events: dict[str, Any] | bytes) -> None:
        values = [event if isinstance(event, bytes) else msgspec.json.encode(event) for event in events]

        async def publish() -> None:
            log = KafkaLog(KafkaSettings(self.kafka.bootstrap_servers))
            try:
                await Publisher(log).publish(values)
            finally:
                await log.close()

        asyncio.run(publish())

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def command(self, query: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(query.encode())

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


class Server:
    """A PostgreSQL of one test, which workers cannot start again."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.start()

    def start(self) -> None:
        self._server = PostgresServer(self._data_dir)
        self._server.open(Patience(PATIENCE_SECONDS, PATIENCE_SECONDS))
        self.dsn = self._server.dsn

    def stop(self) -> None:
        self._server.leave(Patience(PATIENCE_SECONDS, PATIENCE_SECONDS))

    def signal(self, number: int) -> None:
        for process in server_processes(self._data_dir):
            with contextlib.suppress(ProcessLookupError):  # a connection's process ends with it
                os.kill(process, number)
