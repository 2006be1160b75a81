"""The web server of the gateway, and how all servers for other machines judge and stop."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import uvicorn
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from sojourn.console.health import CLOSE_SECONDS_MAX, Server
from sojourn.console.http.commands import command_handlers
from sojourn.console.http.events import event_handler
from sojourn.console.http.gateway import Gateway
from sojourn.console.http.problems import HANDLERS

HEAD_BYTES_MAX: Final = 16 << 10  # headers of a request; a dozen short ones are usual

Close = Callable[[], Awaitable[None]]


class StoppingServer(Server):
    """Ends polls and streams before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None], close: Sequence[Close]) -> None:
        super().__init__(config)
        self._stop, self._close = stop, close

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, and finish those that are under way."""
        self._stop()
        await super().shutdown(sockets)
        for close in self._close:
            await close()


def gateway_server(gateway: Gateway, others: Sequence[HTTPRouteHandler]) -> StoppingServer:
    """Return a server of the gateway's handlers, with others beside them."""
    app = Litestar(
        [event_handler(gateway), *command_handlers(gateway), *others],
        openapi_config=None,
        logging_config=None,
        exception_handlers=HANDLERS,
    )
    return stopping_server(app, gateway.stop, [gateway.close])


def stopping_server(app: Litestar, stop: Callable[[], None], close: Sequence[Close]) -> StoppingServer:
    """Return a server of an application; `stop` ends its polls and streams, `close` what it holds."""
    config = uvicorn.Config(
        app,
        http="h11",  # judges framing strictly
        ws="none",
        log_config=None,
        log_level="error",  # what clients send wrong is told to them
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_graceful_shutdown=CLOSE_SECONDS_MAX,
    )
    return StoppingServer(config, stop, close)
