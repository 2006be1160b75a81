"""A broker that does with its commands what a test says: over the log, in a thread, beside the command line."""

import asyncio
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sojourn.events.codec import decode
from sojourn.events.embedded.database import open_database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.log import Append
from sojourn.events.publisher import Publisher
from sojourn.events.settings import Settings
from sojourn.events.topics import COMMANDS, PARTITIONS_DEFAULT
from sojourn.events.types import DisconnectRequested
from tests.unit.events import alive, destroyed, established, to_bytes

SECONDS_MAX: Final = 60  # everything waited for here takes a second or two on an idle machine
BROKER: Final = "/brokers/scripted"
CONFIRM_SECONDS: Final = 1  # of the thirty after which a command that nothing confirmed is called that

FLUSH_SECONDS: Final = 0.2  # of the five after which heartbeats, and what brokers declare, are written

# `sojourn up`, with less patience.
IMPATIENT: Final = (
    "import sys; from sojourn.console import cli; from sojourn.consumers import commands, partition;"
    f" commands.CONFIRM_SECONDS = {CONFIRM_SECONDS}; partition.FLUSH_SECONDS = {FLUSH_SECONDS}; sys.exit(cli.main())"
)
IMPATIENT_UP: Final = [sys.executable, "-c", IMPATIENT]

Step = Callable[[DisconnectRequested], dict[str, Any]]


def _answer(what: str, command: DisconnectRequested, **data: Any) -> dict[str, Any]:
    return {
        **established(id=str(uuid.uuid4()), source=command.data.broker, tenant=command.tenant, subject=command.subject),
        "type": f"sojourn.session.disconnect_{what}.v1",
        "time": datetime.now(UTC).isoformat(),
        "data": {"command": command.data.command, **data},
    }


def deliver(command: DisconnectRequested) -> dict[str, Any]:
    return _answer("delivered", command)


def acknowledge(command: DisconnectRequested) -> dict[str, Any]:
    return _answer("acknowledged", command)


def refuse(command: DisconnectRequested) -> dict[str, Any]:
    return _answer("failed", command, outcome="refused", detail="in maintenance")


def fail(command: DisconnectRequested) -> dict[str, Any]:
    return _answer("failed", command, outcome="failed", detail="the agent is gone")


def end(command: DisconnectRequested) -> dict[str, Any]:
    return destroyed(
        id=str(uuid.uuid4()),
        source=command.data.broker,
        tenant=command.tenant,
        subject=command.subject,
        time=datetime.now(UTC).isoformat(),
        data={"reason": "admin_disconnect", "command": command.data.command},
    )


class ScriptedBroker:
    """Reads the commands to it; what a session's script says happens as soon as its first command comes."""

    def __init__(self, data_dir: Path) -> None:
        self.received: list[DisconnectRequested] = []
        self._scripts: dict[str, tuple[Step, ...]] = {}
        self.data_dir = data_dir
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextmanager
    def running(self) -> Iterator["ScriptedBroker"]:
        self._thread.start()
        self._run(self._open())
        reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            yield self
        finally:
            failure = reading.exception(0) if reading.done() else None
            reading.cancel()
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            assert failure is None, failure

    def begin(self, session_id: str, *script: Step, tenant: str = "acme", source: str = BROKER) -> str:
        """Open a session, wait until it is in the list, and say what happens when a command about it comes."""
        self._scripts[session_id] = script
        now = datetime.now(UTC).isoformat()
        self.publish(established(id=session_id, source=source, tenant=tenant, subject=session_id, time=now))
        query = "SELECT FROM sojourn_v1.live_session WHERE tenant = %s AND session_id = %s"
        wait_until(lambda: self.query(query, tenant, session_id) != [], f"{session_id} is open")
        return session_id

    def declare(self, source: str, *commands: str) -> None:
        """Say which commands a broker takes, and wait until that is known."""
        self.publish(alive(id=str(uuid.uuid4()), source=source, data={"commands": list(commands)}))
        query = "SELECT FROM sojourn_v1.broker WHERE source = %s AND commands IS NOT NULL"
        wait_until(lambda: len(self.query(query, source)) == PARTITIONS_DEFAULT, f"{source} declares")

    def publish(self, *events: dict[str, Any]) -> None:
        self._run(self._publisher.publish([to_bytes(event) for event in events]))

    def append(self, append: Append) -> None:
        """Append past the publisher."""
        self._run(self._log.append([append]))

    def commands(self, session_id: str) -> list[DisconnectRequested]:
        """Return what came about a session so far."""
        return [command for command in self.received if command.subject == session_id]

    def wait_command(self, session_id: str) -> DisconnectRequested:
        wait_until(lambda: self.commands(session_id), f"a command about {session_id} comes")
        return self.commands(session_id)[0]

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database as who owns it."""
        rows: list[tuple[Any, ...]] = self._run(self._query(query, values))
        return rows

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS_MAX)

    async def _open(self) -> None:
        self._database = await open_database(Settings(self.data_dir))
        self._connection = await self._database.connect(autocommit=True)
        self._log = EmbeddedLog(self._database)
        self._publisher = Publisher(self._log)

    async def _close(self) -> None:
        await self._log.close()
        await self._connection.close()
        await self._database.close()

    async def _query(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(query.encode(), values)
        return [] if cursor.description is None else await cursor.fetchall()

    async def _read(self) -> None:
        positions = {(COMMANDS, partition): 0 for partition in range(await self._log.partitions(COMMANDS))}
        while True:
            await self._log.wait(positions, SECONDS_MAX)
            for (topic, partition), offset in list(positions.items()):
                batch = await self._log.read(topic, partition, offset)
                positions[topic, partition] = batch.next_offset
                for record in batch.records:
                    await self._take(decode(record.value))

    async def _take(self, command: Any) -> None:
        assert isinstance(command, DisconnectRequested)
        self.received.append(command)
        steps = self._scripts.get(command.subject, ()) if len(self.commands(command.subject)) == 1 else ()
        for step in steps:
            await self._publisher.publish([to_bytes(step(command))])


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Poll for what does not tell when it happens."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)
