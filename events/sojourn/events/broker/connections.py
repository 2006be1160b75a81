"""HTTP/1.1 by the standard library: connections that are used again, in threads of their own."""

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sojourn.events.errors import Unreachable, UsageError

CONNECT_SECONDS_MAX: Final = 10.0  # a server that is there answers within one
ANSWER_SECONDS_MAX: Final = 40.0  # longer than a server waits for its log before it says that it cannot
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024  # a result for each of the events of one body, many times over
THREADS_MAX: Final = 4  # one for events, one for commands, and two for heartbeats, which may overlap

_WORD: Final = re.compile("[!-~]+")  # what a header can hold as one word


class Answer(NamedTuple):
    """What the server said."""

    status: int
    retry_after: str | None
    body: bytes


class Connections:
    """Speaks to one server with one token."""

    def __init__(self, url: str, token: str) -> None:
        try:
            address = urlsplit(url)
            host, self._port = address.hostname, address.port
        except ValueError:
            host, self._port = None, None
            address = urlsplit("")
        if address.scheme not in ("http", "https") or not host or address.query or address.fragment or address.username:
            raise UsageError(f"the server's address is like https://sojourn.example, not: {url!r}")
        if not _WORD.fullmatch(token):
            raise UsageError("a broker's token is like sjb_…_…, in one word")
        self._host, self._path, self.url = host, address.path.rstrip("/"), url
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "sojourn-broker", "Accept": "*/*"}
        self._threads = ThreadPoolExecutor(THREADS_MAX, "sojourn-http")
        self._lists = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._is_closed = False

    async def ask(
        self, method: str, path: str, body: bytes = b"", content_type: str = "", *, wait_seconds: float = 0
    ) -> Answer:
        """Return the server's answer; raises `Unreachable` where there is none."""
        headers = {**self._headers, "Content-Type": content_type} if content_type else self._headers
        if self._is_closed:
            raise Unreachable(f"the connection is closed: {self.url}")
        loop = asyncio.get_running_loop()
        seconds = ANSWER_SECONDS_MAX + wait_seconds
        return await loop.run_in_executor(self._threads, self._ask, method, path, body or None, headers, seconds)

    def close(self) -> None:
        """Cut all connections: who waits for an answer hears of it at once."""
        with self._lists:
            self._is_closed = True
            for connection in self._busy:
                if connection.sock is not None:
                    with contextlib.suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)
            for connection in self._idle:
                connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Answer:
        connection, is_new = self._take()
        try:
            try:
                answer = self._exchange(connection, method, path, body, headers, seconds)
            except (ConnectionError, http.client.BadStatusLine):
                if is_new or self._is_closed:
                    raise
                connection.close()  # the server closed it while it was idle: once more, anew
                answer = self._exchange(connection, method, path, body, headers, seconds)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unreachable(f"Sojourn does not answer ({reason}): {self.url}") from error
        finally:
            with self._lists:
                self._busy.discard(connection)
                if self._is_closed:
                    connection.close()
                elif connection.sock is not None:
                    self._idle.append(connection)
        return answer

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        seconds: float,
    ) -> Answer:
        if connection.sock is None:
            connection.connect()
        assert connection.sock is not None
        connection.sock.settimeout(seconds)
        connection.request(method, self._path + path, body, headers)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX + 1)
        if len(content) > ANSWER_BYTES_MAX:
            raise http.client.HTTPException(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        return Answer(response.status, response.getheader("Retry-After"), content)

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lists:
            is_new = not self._idle
            connection = self._new() if is_new else self._idle.pop()
            self._busy.add(connection)
        return connection, is_new

    def _new(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS_MAX)
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS_MAX, context=self._tls)
