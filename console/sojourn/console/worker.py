"""`sojourn worker`: one of any number of processes that project a Kafka log."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeVar

import structlog

from sojourn.console.health import listen
from sojourn.console.logs import log_lines, mute_libraries
from sojourn.console.metrics import metrics_server
from sojourn.console.opening import DataDir, opened
from sojourn.consumers.kafka.transport import GROUP
from sojourn.consumers.kafka.worker import Worker
from sojourn.consumers.measures import Measures
from sojourn.consumers.progress import Progress
from sojourn.events.errors import UsageError
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS, KafkaSettings
from sojourn.events.settings import METRICS_PORT, Settings, hide_password

STOP_SECONDS_MAX: Final = 6.0  # a batch, a flush and leaving the group take less than one; what is away is not awaited
EXIT_SECONDS_MAX: Final = 8.0  # some calls to a server that hangs cannot be given up; all that counts is committed

Result = TypeVar("Result")

_log = structlog.get_logger("sojourn.worker")


async def worker(*, data_dir: DataDir = None) -> None:
    """Project the log on Kafka until Ctrl-C or SIGTERM, together with all other workers of the same database.

    Start as many as there are partitions, on any machines; Kafka shares the partitions among them. Logs are JSON lines
    on standard error.
    """
    settings = Settings.from_environment(os.environ, data_dir)
    if settings.kafka is None:
        raise UsageError(f"a worker needs Kafka; set {BOOTSTRAP_SERVERS}, or run `sojourn up` without Kafka")
    stopping, stopped = asyncio.Event(), threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, _stop, stopping, stopped)
    owner = settings.worker_name or f"{socket.gethostname()}/{os.getpid()}"
    log_lines(owner)
    measures = Measures()
    async with _watched(settings, measures, stopped):
        _log.info(
            "worker.starting",
            version=version("sojourn"),
            group=GROUP,
            kafka=settings.kafka.bootstrap_servers,
            database=hide_password(settings.database_dsn) if settings.database_dsn else "embedded",
        )
        await _work(data_dir, settings.kafka, settings.worker_name, owner, measures, stopping)
    _log.info("worker.stopped")
    stopped.set()


def _stop(stopping: asyncio.Event, stopped: threading.Event) -> None:
    """Begin to stop; the process ends in time whatever hangs, which is what libraries would tell of."""
    if not stopping.is_set():
        stopping.set()
        mute_libraries()
        _end_in_time(0, "a server that does not answer was not waited for", stopped)


async def _end_when_failing(progress: Progress, stopped: threading.Event) -> None:
    """End in time after a failure, too: what makes a worker stuck may also keep it from stopping."""
    await progress.failing.wait()
    _end_in_time(1, progress.failure or "", stopped)


def _end_in_time(exit_code: int, reason: str, stopped: threading.Event) -> None:
    """End the process after a while, if something that cannot be given up keeps it from ending by itself."""

    def end() -> None:
        if not stopped.is_set():
            _log.warning("worker.stopped", reason=reason)
        os._exit(exit_code)

    last = threading.Timer(EXIT_SECONDS_MAX, end)
    last.daemon = True
    last.start()


@contextlib.asynccontextmanager
async def _watched(settings: Settings, measures: Measures, stopped: threading.Event) -> AsyncIterator[None]:
    """Measure the event loop, and answer on the port of metrics if there is one, as long as the block runs."""
    async with contextlib.AsyncExitStack() as stack:
        for watching in (measures.watch(), _end_when_failing(measures.progress, stopped)):
            stack.callback(asyncio.create_task(watching).cancel)
        if settings.metrics_port is not None:
            listener = stack.enter_context(listen(settings.metrics_port, METRICS_PORT))
            server = metrics_server(measures, version("sojourn"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            stack.push_async_callback(asyncio.wait, [serving])
            stack.callback(setattr, server, "should_exit", True)  # noqa: FBT003 - uvicorn's way to be told
        yield


async def _work(
    data_dir: Path | None,
    kafka: KafkaSettings,
    name: str | None,
    owner: str,
    measures: Measures,
    stopping: asyncio.Event,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        parts = await _unless(stopping, stack.enter_async_context(opened(data_dir)))
        if parts is not None:
            assert isinstance(parts.log, KafkaLog)
            worker = Worker(parts.database, parts.log, kafka, name, owner, measures)
            await _unless(stopping, worker.run(stopping), STOP_SECONDS_MAX)


async def _unless(stopping: asyncio.Event, work: Awaitable[Result], patience_seconds: float = 0.0) -> Result | None:
    """Wait for work; when it is time to stop first, give it some time to end, then cancel it and return None."""
    working, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not working.done():
        await asyncio.wait([working], timeout=patience_seconds)
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return None
    return working.result()
