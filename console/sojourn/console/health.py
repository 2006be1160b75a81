"""The health endpoint of `sojourn up`."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from litestar import Litestar, Response, get

from sojourn.events.errors import SojournError


class PortInUse(SojournError):
    """another program listens on this port"""


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback, or raise `PortInUse`."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise PortInUse(f"cannot listen on 127.0.0.1 ({error.strerror}); choose another --port: {port}") from error
    listener.listen()
    return listener


class Server(uvicorn.Server):
    """A web server beside other work, which leaves signals to the command that runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def health_server(report: Callable[[], tuple[bool, dict[str, Any]]]) -> Server:
    """Return a server for `GET /health`: 200 while `report` says that all is well, otherwise 503, with its details."""

    @get("/health")
    async def health() -> Response[dict[str, Any]]:
        well, details = report()
        return Response(details, status_code=200 if well else 503)

    config = uvicorn.Config(
        Litestar([health], openapi_config=None, logging_config=None),
        log_config=None,
        log_level="warning",
        lifespan="off",
    )
    return Server(config)
