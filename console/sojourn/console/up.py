"""`sojourn up`: everything on this machine until it is told to stop."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from sojourn.console.health import listen, reporting
from sojourn.console.http.gateway import Gateway
from sojourn.console.jobs.runner import Exports
from sojourn.console.jobs.statistics import StatisticsBlocks
from sojourn.console.opening import SWITCH, DataDir, Opened, opened
from sojourn.console.output import write_line
from sojourn.console.served import served
from sojourn.console.site.settings import SiteSettings
from sojourn.console.site.site import Site
from sojourn.console.users import FIRST, first_administrator
from sojourn.consumers.host import Host
from sojourn.events.embedded.data_directory import explained
from sojourn.events.embedded.log import HEARTBEATS_KEPT, EmbeddedLog
from sojourn.events.errors import SojournError, Unreachable, UsageError
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS
from sojourn.events.settings import Settings
from sojourn.events.simulator.demo import run_demo
from sojourn.events.topics import LIFECYCLE

DROP_EVERY_SECONDS: Final = 600  # segments are hours
STOP_SECONDS_MAX: Final = 4.0  # a batch and a flush take less than one; a database that is away is not waited for


class AlreadyUp(SojournError):
    """a `sojourn up` runs on this data directory"""


async def up(
    *,
    port: Annotated[
        int, Parameter(help="The port of /health and of HTTP in, on loopback.", validator=Number(gte=1, lte=65535))
    ] = 8787,
    demo: Annotated[bool, SWITCH, Parameter(help="Let demo brokers publish believable sessions.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Run everything on this machine until Ctrl-C or SIGTERM: database, log, projector and HTTP."""
    settings = Settings.from_environment(os.environ, data_dir)
    if settings.kafka is not None:
        raise UsageError(
            "`sojourn up` is for one machine with its own log; start `sojourn worker`, since Kafka is named in "
            f"{BOOTSTRAP_SERVERS}: {settings.kafka.bootstrap_servers}"
        )
    stopping = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):  # before the lock: who can see that this runs may stop it
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    with only_one(settings.data_dir, port), listen(port) as listener:
        async with contextlib.AsyncExitStack() as stack:
            parts = await _open(stack, data_dir, stopping)
            if parts is not None:
                log = EmbeddedLog(parts.database)
                stack.push_async_callback(log.close)
                host = Host(parts.database, log, f"{socket.gethostname()}/{os.getpid()}")
                _announce(settings, port, await first_administrator(parts), demo=demo)
                await _run(parts, host, log, listener, settings.data_dir if demo else None, stopping)
    write_line("stopped; everything acknowledged is kept")


async def _open(stack: contextlib.AsyncExitStack, data_dir: Path | None, stopping: asyncio.Event) -> Opened | None:
    """Open everything, unless it is time to stop before that is done; a crash recovery may take minutes."""
    opening = asyncio.ensure_future(stack.enter_async_context(opened(data_dir)))
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([opening, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not opening.done():
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return None
    return opening.result()


async def _run(
    parts: Opened,
    host: Host,
    log: EmbeddedLog,
    listener: socket.socket,
    demo_dir: Path | None,
    stopping: asyncio.Event,
) -> None:
    """Run the projector, all that is served over HTTP, and perhaps the demo; the first that fails ends all."""
    partitions = await log.partitions(LIFECYCLE)

    def report() -> tuple[bool, dict[str, Any]]:
        owned = len(host.partitions)
        well = owned == partitions
        return well, {"status": "ok" if well else "starting", "partitions": partitions, "owned": owned}

    gateway, site_settings = Gateway(parts.database, log), SiteSettings.from_environment(os.environ)
    data_dir, destinations = parts.settings.data_dir, parts.settings.export_destinations
    server = served(parts.database, log, data_dir, gateway, [reporting("/health", report)], destinations, site_settings)
    exports = Exports(Site(parts.database, log, data_dir, destinations))
    blocks = StatisticsBlocks(Site(parts.database, log, data_dir))

    async def serve() -> None:
        await server.serve(sockets=[listener])

    async def stop(works: Iterable[asyncio.Task[None]]) -> None:
        await stopping.wait()
        server.should_exit = True
        _, late = await asyncio.wait(works, timeout=STOP_SECONDS_MAX)
        for work in late:
            work.cancel()

    works = [
        host.run(stopping),
        serve(),
        exports.run(stopping),
        blocks.run(stopping),
        _drop_old_heartbeats(log, stopping),
    ]
    if demo_dir is not None:
        works.append(_demo(log, demo_dir, stopping))
    try:
        async with asyncio.TaskGroup() as tasks:
            await stop([tasks.create_task(work) for work in works])
    except BaseExceptionGroup as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def _drop_old_heartbeats(log: EmbeddedLog, stopping: asyncio.Event) -> None:
    """Keep the heartbeat log to its hours."""
    while not stopping.is_set():
        with contextlib.suppress(Unreachable):  # the next round does it
            await log.drop_heartbeats_before(_now() - HEARTBEATS_KEPT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), DROP_EVERY_SECONDS)


async def _demo(log: EmbeddedLog, directory: Path, stopping: asyncio.Event) -> None:
    """Let the demo go on whatever happens to the database."""
    while not stopping.is_set():
        with contextlib.suppress(Unreachable):  # it goes on where it saved its progress
            await run_demo(log, directory, _now, asyncio.sleep, stopping)


def _now() -> datetime:
    return datetime.now(UTC)


@contextlib.contextmanager
def only_one(directory: Path, port: int) -> Iterator[None]:
    """Hold the data directory's `up.lock`, or raise `AlreadyUp` naming the process that does."""
    with explained(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (directory / "up.lock").open("a+")
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyUp(f"{lock.read().strip()}; stop it, or name another --data-dir: {directory}") from None
        lock.truncate(0)
        lock.write(f"sojourn up runs here already, as process {os.getpid()} with port {port}")
        lock.flush()
        yield


def _announce(settings: Settings, port: int, password: str | None, *, demo: bool) -> None:
    database = "PostgreSQL named by SOJOURN_DATABASE_DSN" if settings.database_dsn else "embedded PostgreSQL 18"
    on_path = shutil.which("sojourn")
    sojourn = "sojourn" if on_path and Path(on_path).resolve() == Path(sys.argv[0]).resolve() else sys.argv[0]
    location = "" if settings.data_dir_source == "default" else f" --data-dir {settings.data_dir}"
    for line in (
        "Sojourn is running; Ctrl-C stops it and loses nothing.",
        "",
        f"  console   http://127.0.0.1:{port}/",
        *([] if password is None else [f"  sign in   as {FIRST} with the password {password}"]),
        *([] if password is None else ["            (shown this once; there you choose your own)"]),
        f"  data      {settings.data_dir}",
        f"  database  {database}",
        f"  health    http://127.0.0.1:{port}/health",
        "",
        "In another terminal:",
        f"  {sojourn} status{location}",
        *([f"  {sojourn} sessions --tenant acme{location}"] if demo else [f"  {sojourn} publish FILE{location}"]),
        *([f"  {sojourn} history --tenant acme{location}"] if demo else []),
    ):
        write_line(line)
    sys.stdout.flush()
