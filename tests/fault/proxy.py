"""A Unix socket in front of PostgreSQL that makes COMMIT, or the answer to it, go missing."""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

SECONDS_MAX: Final = 30  # everything waited for here happens within one on an idle machine

_PORT: Final = 5432
_LOST: Final = (asyncio.IncompleteReadError, ConnectionError)


class Fault(Enum):
    """What happens to a COMMIT."""

    CUT_BEFORE = auto()  # it does not reach the server, and both sides are cut
    CUT_AFTER = auto()  # the server commits; its answer is dropped, and both sides are cut
    HELD = auto()  # it waits for `release`; nobody is cut
    PARTED = auto()  # the client is cut at once; the server gets the COMMIT at `release`


class CommitProxy:
    """Whoever connects to `dsn` meets the fault that `fault_at` asks for.

    It lives in a thread, so that tests may block and may run clients in other processes.
    """

    def __init__(self, dsn: str, folder: Path) -> None:
        self.commits = 0
        self.path = folder / f".s.PGSQL.{_PORT}"
        self.server = conninfo_to_dict(dsn)
        # The peer is this process now, whichever account the server runs under.
        kept = {name: value for name, value in self.server.items() if name not in {"requirepeer", "hostaddr"}}
        self.dsn = make_conninfo("", **{**kept, "host": str(folder), "port": _PORT})
        self.released = asyncio.Event()
        self.cut = asyncio.Event()
        self._fault: Fault | None = None
        self._fault_at = 0
        self._hit = threading.Event()
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def fault_at(self, commit: int, fault: Fault) -> None:
        """Treat the `commit`-th COMMIT from now on so; 1 is the next."""
        self._hit.clear()
        self._call(self.released.clear)
        self._fault_at, self._fault = self.commits + commit, fault

    async def hit(self) -> None:
        """Return when the fault has happened."""
        assert await asyncio.to_thread(self._hit.wait, SECONDS_MAX), f"no such COMMIT came by: {self._fault_at}"

    def release(self) -> None:
        """Let the COMMIT go on that waits."""
        self._call(self.released.set)

    def cut_all(self) -> None:
        """Cut every connection that there is now."""

        def cut() -> None:
            self.cut.set()
            self.cut = asyncio.Event()

        self._call(cut)

    def take_fault(self) -> Fault | None:
        """Count a COMMIT, and return what is to happen to it."""
        self.commits += 1
        if self.commits != self._fault_at:
            return None
        self._hit.set()
        return self._fault

    def stop(self) -> None:
        """Take no more connections, and cut those that there are."""
        self._call(self._stopped.set)

    async def serve(self, ready: threading.Event) -> None:
        """Take connections until `stop`, and cut them then."""
        self._loop = asyncio.get_running_loop()
        links = set()

        async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            links.add(task)
            await _Link(self, reader, writer).run()
            links.discard(task)

        server = await asyncio.start_unix_server(link, self.path)
        ready.set()
        await self._stopped.wait()
        server.close()
        self.cut.set()
        self.released.set()
        if links:
            await asyncio.wait(links)

    def _call(self, step: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(step)


class _Link:
    """One client's connection and the server's behind it."""

    def __init__(self, proxy: CommitProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = reader, writer
        self._commit_names: set[bytes] = set()  # of prepared statements
        self._answer_is_lost = False

    async def run(self) -> None:
        host, port = str(self._proxy.server["host"]), int(self._proxy.server.get("port") or _PORT)
        if host.startswith("/"):
            opening = asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            opening = asyncio.open_connection(host, port)
        try:
            self._from_server, self._to_server = await opening
        except OSError:
            self._to_client.close()
            return
        steps = (self._pass_to_server(), self._pass_to_client(), self._proxy.cut.wait())
        tasks = [asyncio.ensure_future(step) for step in steps]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in (self._to_client, self._to_server):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _pass_to_server(self) -> None:
        """Pass messages on; the first has no type (libpq asks for no encryption on a Unix socket)."""
        with contextlib.suppress(*_LOST):
            size = await self._from_client.readexactly(4)
            self._to_server.write(size + await self._from_client.readexactly(int.from_bytes(size) - 4))
            while True:
                message = await _message(self._from_client)
                if self._is_commit(message):
                    if message[:1] == b"B":
                        message += await self._rest_of_execution()
                    await self._pass_commit(message)
                else:
                    self._to_server.write(message)
                await self._to_server.drain()

    def _is_commit(self, message: bytes) -> bool:
        """Recognise COMMIT as a simple query and as the execution of a prepared statement."""
        kind, body = message[:1], message[5:]
        match kind:
            case b"Q":
                return body.upper().startswith(b"COMMIT")
            case b"P":
                name, text = body.split(b"\0", 2)[:2]
                (self._commit_names.add if text.upper().startswith(b"COMMIT") else self._commit_names.discard)(name)
                return False
            case b"B":
                return body.split(b"\0", 2)[1] in self._commit_names
            case _:
                return False

    async def _rest_of_execution(self) -> bytes:
        rest = b""
        while (message := await _message(self._from_client))[:1] != b"S":
            rest += message
        return rest + message

    async def _pass_commit(self, commit: bytes) -> None:
        fault = self._proxy.take_fault()
        if fault is Fault.CUT_BEFORE:
            raise ConnectionError
        if fault is Fault.PARTED:
            self._to_client.close()
        if fault in (Fault.HELD, Fault.PARTED):
            await self._proxy.released.wait()
        self._answer_is_lost = fault in (Fault.CUT_AFTER, Fault.PARTED)
        self._to_server.write(commit)
        if self._answer_is_lost:
            await self._proxy.cut.wait()  # the other direction ends first

    async def _pass_to_client(self) -> None:
        with contextlib.suppress(*_LOST):
            while True:
                message = await _message(self._from_server)
                if not self._answer_is_lost:
                    self._to_client.write(message)
                    await self._to_client.drain()
                elif message[:1] == b"Z":  # ready for the next query, so the transaction has ended
                    return


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


@contextlib.contextmanager
def commit_proxy(dsn: str) -> Iterator[CommitProxy]:
    """Put a proxy in front of the server that `dsn` names, for the time of the block."""
    ready = threading.Event()
    with tempfile.TemporaryDirectory(prefix="proxy") as folder:  # short: a socket's path has at most 107 bytes
        proxy = CommitProxy(dsn, Path(folder))
        thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(ready)), name="proxy")
        thread.start()
        try:
            assert ready.wait(SECONDS_MAX)
            yield proxy
        finally:
            proxy.stop()
            thread.join()
