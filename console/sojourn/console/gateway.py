"""`sojourn gateway`: HTTP in beside workers, as `sojourn up` has it by itself."""

import asyncio
import contextlib
import os
import signal
import socket
from importlib.metadata import version
from typing import Annotated, Any, Final

import structlog
from cyclopts import Parameter
from cyclopts.validators import Number
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from sojourn.console.health import Server, listen
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.server import gateway_server
from sojourn.console.logs import log_lines
from sojourn.console.opening import DataDir, Opened, opened
from sojourn.events.topics import LIFECYCLE

HEALTH_SECONDS_MAX: Final = 2.0  # who asks for health waits no longer

_log = structlog.get_logger("sojourn.gateway")


async def gateway(
    *,
    port: Annotated[int, Parameter(help="The port on loopback.", validator=Number(gte=1, lte=65535))] = 8788,
    data_dir: DataDir = None,
) -> None:
    """Take events over HTTP, and give brokers their commands, until Ctrl-C or SIGTERM.

    For beside workers, as many as you like; `sojourn up` does the same on its own port. Logs are JSON lines on standard
    error.
    """
    log_lines(f"{socket.gethostname()}/{os.getpid()}")
    with listen(port) as listener:
        async with opened(data_dir) as parts:
            server = gateway_server(Gateway(parts.database, parts.log), [health_handler(parts)])
            _log.info("gateway.started", version=version("sojourn"), port=port)
            await serve_until_stopped(server, listener)
    _log.info("gateway.stopped")


async def serve_until_stopped(server: Server, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, and finish what is under way."""
    stopping = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([serving, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    server.should_exit = True
    await serving


def health_handler(parts: Opened) -> HTTPRouteHandler:
    """Return the handler of /health: 200 while database and log answer, otherwise 503."""

    @get("/health")
    async def health() -> Response[dict[str, Any]]:
        answers = {"database": False, "log": False}
        with contextlib.suppress(Exception):  # whatever it is, the answer says which of them is away
            async with asyncio.timeout(HEALTH_SECONDS_MAX):
                async with await parts.database.connect() as connection:
                    await connection.execute("SELECT")
                answers["database"] = True
                await parts.log.partitions(LIFECYCLE)
                answers["log"] = True
        well = all(answers.values())
        return Response({"status": "ok" if well else "away", **answers}, status_code=200 if well else 503)

    return health
