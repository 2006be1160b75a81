"""`sojourn console`: the pages and the API beside workers, as `sojourn up` has them by itself."""

import os
import socket
from importlib.metadata import version
from typing import Annotated

import structlog
from cyclopts import Parameter
from cyclopts.validators import Number

from sojourn.console.gateway import health_handler, serve_until_stopped
from sojourn.console.health import listen
from sojourn.console.jobs.beside import beside
from sojourn.console.jobs.runner import Exports
from sojourn.console.jobs.statistics import StatisticsBlocks
from sojourn.console.logs import log_lines
from sojourn.console.opening import DataDir, opened
from sojourn.console.served import served
from sojourn.console.site.settings import SiteSettings
from sojourn.console.site.site import Site

_log = structlog.get_logger("sojourn.console")


async def console(
    *,
    port: Annotated[int, Parameter(help="The port on loopback.", validator=Number(gte=1, lte=65535))] = 8787,
    data_dir: DataDir = None,
) -> None:
    """Serve the pages and the API until Ctrl-C or SIGTERM.

    For beside workers, as many as you like; `sojourn up` does the same on its own port. Logs are JSON lines on standard
    error.
    """
    settings = SiteSettings.from_environment(os.environ)
    log_lines(f"{socket.gethostname()}/{os.getpid()}")
    with listen(port) as listener:
        async with opened(data_dir) as parts:
            data_dir, destinations = parts.settings.data_dir, parts.settings.export_destinations
            exports = Exports(Site(parts.database, parts.log, data_dir, destinations))
            blocks = StatisticsBlocks(Site(parts.database, parts.log, data_dir))
            server = served(parts.database, parts.log, data_dir, None, [health_handler(parts)], destinations, settings)
            _log.info("console.started", version=version("sojourn"), port=port)
            async with beside(exports.run), beside(blocks.run):
                await serve_until_stopped(server, listener)
    _log.info("console.stopped")
