"""Health and other answers of a service over HTTP, on loopback."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler

from sojourn.events.errors import SojournError

CLOSE_SECONDS_MAX: Final = 1  # an answer takes milliseconds; a client that does not read it is not waited for

Report = Callable[[], tuple[bool, dict[str, Any]]]


class PortInUse(SojournError):
    """another program listens on this port"""


def listen(port: int, setting: str = "--port") -> socket.socket:
    """Return a socket that listens on loopback, or raise `PortInUse`, naming the setting that gave the port."""
    # With its protocol named, asyncio sends at once: otherwise the body waits 40 ms for the client to confirm the head.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise PortInUse(f"cannot listen on 127.0.0.1 ({error.strerror}); choose another {setting}: {port}") from error
    listener.listen()
    return listener


class Server(uvicorn.Server):
    """A web server beside other work, which leaves signals to the command that runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def reporting(path: str, report: Report) -> HTTPRouteHandler:
    """Return a handler that answers with the details of a report: 200 if it says that all is well, otherwise 503."""

    @get(path)
    async def answer() -> Response[dict[str, Any]]:
        well, details = report()
        return Response(details, status_code=200 if well else 503)

    return answer


def server(handlers: Sequence[HTTPRouteHandler]) -> Server:
    """Return a server with these handlers."""
    config = uvicorn.Config(
        Litestar(handlers, openapi_config=None, logging_config=None),
        log_config=None,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=CLOSE_SECONDS_MAX,
    )
    return Server(config)
