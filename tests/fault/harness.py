"""One machine under test: `sojourn up` and publishers as processes, and what was sent and acknowledged."""

import asyncio
import contextlib
import os
import select
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from sojourn.events.embedded.database import Database
from sojourn.events.log import Append, Log, Record
from sojourn.events.publisher import Publisher, route
from sojourn.events.topics import HEARTBEATS, LIFECYCLE
from tests.fault.checker import check, read_all
from tests.fault.workload import Workload
from tests.forks import FLUSH_SECONDS, Forks, Reap, Start
from tests.integration.command import free_port

SECONDS_MAX = 60  # everything waited for here takes a second on an idle machine
GRACE_SECONDS_MAX: Final = 10  # in which a service that is told to stop must have ended
CHUNK_VALUES: Final = 12  # of one append of the load
PAUSE_SECONDS: Final = 0.04  # between appends of the load: enough to keep all partitions busy, little to check
POLL_SECONDS: Final = 0.02  # processes and tables do not tell when they change

_FULL = os.environ.get("SOJOURN_TEST_PROFILE") == "full"

# The counts that every record adds to, and the newest row of history, against the position (I3).
_APART = """
SELECT p.partition, p.next_offset, counted.records, newest."offset"
FROM sojourn_v1.position AS p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(records), 0) AS records FROM sojourn_v1.disposition AS d
    WHERE d.topic = p.topic AND d.partition = p.partition) AS counted
CROSS JOIN LATERAL (
    SELECT coalesce(max("offset"), -1) AS "offset" FROM sojourn_v1.session_history AS h
    WHERE h.partition = p.partition) AS newest
WHERE p.topic = 'sojourn.lifecycle' AND (counted.records <> p.next_offset OR newest."offset" >= p.next_offset)
"""

# A slot without a session that holds a time: the next session to get it would seem to have been seen then.
_STALE = """
SELECT partition, page * 256 + word AS slot, seconds
FROM sojourn_v1.liveness_page, generate_series(0, 255) AS word,
    LATERAL (SELECT ('x' || encode(substr(seen, word * 4 + 1, 4), 'hex'))::bit(32)::bigint AS seconds)
WHERE seconds <> 0 AND (partition, page * 256 + word) NOT IN (SELECT partition, slot FROM sojourn_v1.live_session)
"""


def rounds(default: int, full: int | None = None) -> int:
    """Return how often to do it: in `make test-full` ten times as often, or as often as `full` says."""
    return (full or default * 10) if _FULL else default


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    process: "Process | None" = None,
    seconds: float = SECONDS_MAX,
) -> None:
    """Poll for what does not tell when it happens; `process` is whose output tells why it did not."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - see above
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        wrote = "" if process is None else f"; the process wrote: {process.output}"
        raise AssertionError(f"waited in vain until {what}{wrote}") from None


class Process:
    """A process under test. Its descriptor, unlike its number, never comes to name a stranger."""

    def __init__(self, forks: Forks, order: Start) -> None:
        self.number = forks.answer(order)
        self._descriptor = os.pidfd_open(self.number)
        self._forks, self._order = forks, order
        self._exit_code: int | None = None

    @property
    def output(self) -> str:
        """What it has written so far."""
        path = Path(self._order.output)
        return path.read_text() if path.exists() else ""

    @property
    def hits(self) -> list[str]:
        """The kill points that it reached, in order."""
        path = Path(self._order.hits)
        return path.read_text().splitlines() if path.exists() else []

    @property
    def has_ended(self) -> bool:
        return self._exit_code is not None or bool(select.select([self._descriptor], [], [], 0)[0])

    @property
    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.number}/stat").read_text().rpartition(") ")[2][0] == "T"

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._descriptor, number)

    async def ended(self, seconds: float = SECONDS_MAX) -> int:
        """Wait for its end and return its exit code, or minus the signal that ended it."""
        await until(self._look, f"process {self.number} ends", self, seconds)
        return self._reap()

    async def _look(self) -> bool:
        return self.has_ended

    async def stops(self) -> int:
        """Tell it to stop as an operator does, and return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(GRACE_SECONDS_MAX)

    async def says(self, text: str) -> None:
        """Wait until it has written `text`."""

        async def said() -> bool:
            assert not self.has_ended or text in self.output, self.output
            return text in self.output

        await until(said, f"process {self.number} says {text!r}", self)

    def close(self) -> None:
        """End it, if it has not ended, and let go of it."""
        if self._exit_code is None:
            self.signal(signal.SIGKILL)
            select.select([self._descriptor], [], [])
            self._reap()
        os.close(self._descriptor)

    def _reap(self) -> int:
        if self._exit_code is None:
            self._exit_code = self._forks.answer(Reap(self.number))
        return self._exit_code


class Machine:
    """A data directory, its processes, and all that publishers sent to it and were told."""

    def __init__(self, forks: Forks, data_dir: Path, database: Database, log: Log) -> None:
        self.data_dir, self.database, self.log = data_dir, database, log
        self.started_at = datetime.now(UTC)
        self.sent: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self._forks = forks
        self._publisher = Publisher(log)
        self._appended: list[Append] = []
        self._processes: list[Process] = []

    def up(
        self,
        point: str | None = None,
        nth: int = 1,
        signal_number: int = signal.SIGKILL,
        *,
        port: int | None = None,
        flush_seconds: float = FLUSH_SECONDS,
        environ: dict[str, str] | None = None,
    ) -> Process:
        """Start `sojourn up`, which signals itself at the n-th time that it reaches a point."""
        return self._start(
            Start(
                "sojourn",
                ["up", "--port", str(port or free_port())],
                environ or {},
                point=point,
                nth=nth,
                signal=signal_number,
                flush_seconds=flush_seconds,
            )
        )

    async def running_up(self, environ: dict[str, str] | None = None) -> Process:
        """Start `sojourn up` and wait until it says that it runs."""
        process = self.up(environ=environ)
        await process.says("Sojourn is running")
        return process

    def publisher(self, source: Path, acknowledged: Path) -> Process:
        """Start a publisher that sends the lines of a file and notes those that were acknowledged in another."""
        return self._start(Start("publisher", [str(self.data_dir), str(source), str(acknowledged)]))

    def sojourn(self, *arguments: str) -> Process:
        """Start any `sojourn` command."""
        return self._start(Start("sojourn", list(arguments)))

    def _start(self, order: Start) -> Process:
        name = self.data_dir.with_name(f"process-{len(self._processes)}")
        order.output, order.hits = f"{name}.out", f"{name}.hits"
        order.environ = {"SOJOURN_DATA_DIR": str(self.data_dir), **order.environ}
        process = Process(self._forks, order)
        self._processes.append(process)
        return process

    async def publish(self, values: list[bytes]) -> None:
        self.sent += values
        await self._publisher.publish(values)
        self.acknowledged += values

    async def append(self, appends: list[Append]) -> None:
        """Put records into the log past the publisher."""
        self._appended += appends
        await self.log.append(appends)
        self.acknowledged += [append.value for append in appends]

    @contextlib.asynccontextmanager
    async def load(self, workload: Workload, pause_seconds: float = PAUSE_SECONDS) -> AsyncIterator[None]:
        """Publish all the time while the block runs; the last append is seen out."""
        ending = asyncio.Event()

        async def go_on() -> None:
            while not ending.is_set():
                await self.publish(workload.chunk(CHUNK_VALUES))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ending.wait(), pause_seconds)

        publishing = asyncio.create_task(go_on())
        try:
            yield
        finally:
            ending.set()
            await publishing

    async def applied(self, process: Process, topics: tuple[str, ...] = (LIFECYCLE, HEARTBEATS)) -> None:
        """Wait until the positions stand where the log ends now, or later; the process must live meanwhile."""
        ends = {
            (topic, partition): end
            for topic in topics
            for partition, end in (await self.log.end_offsets(topic)).items()
        }

        async def is_applied() -> bool:
            assert not process.has_ended, process.output
            with contextlib.suppress(psycopg.OperationalError):  # it may be the database that has just been ended
                found = await self.positions()
                return all(found.get(place, -1) >= end for place, end in ends.items())
            return False

        await until(is_applied, f"the positions reach {ends}", process)

    async def positions(self) -> dict[tuple[str, int], int]:
        async with await self.database.connect() as connection:
            rows = await connection.execute("SELECT topic, partition, next_offset FROM sojourn_v1.position")
            return {(topic, partition): offset async for topic, partition, offset in rows}

    async def conclude(self) -> None:
        """Let a sound `up` catch up and stop; then everything must be exact (I1 to I5)."""
        process = await self.running_up()
        await self.applied(process)
        assert await process.stops() == 0, process.output
        await self.check()

    async def check(self) -> None:
        """Check the tables; and only publishers have filled the log."""
        await self.check_tables()
        held = Counter([record.value async for record in self.records(LIFECYCLE)])
        partitions = await self.log.partitions(LIFECYCLE)
        sent = [*self._appended, *(append for value in self.sent for append in route(value, partitions))]
        invented = held - Counter([append.value for append in sent if append.topic == LIFECYCLE])
        assert not invented, f"in the log more often than sent: {invented}"

    async def check_tables(self) -> None:
        """Ask the checker; after a stop no slot that is free holds a time."""
        await check(self.database, self.log, self.acknowledged)
        async with await self.database.connect() as connection:
            stale = await (await connection.execute(_STALE)).fetchall()
        assert not stale, f"free slots that hold a time (partition, slot, seconds): {stale}"

    async def records(self, topic: str) -> AsyncIterator[Record]:
        """Return all records of a topic."""
        starts, ends = await self.log.start_offsets(topic), await self.log.end_offsets(topic)
        for partition, end in ends.items():
            async for record in read_all(self.log, topic, partition, starts[partition], end):
                yield record

    async def moved_together(self) -> None:
        """Compare position and data as they stand now, whatever is still to be applied (I3)."""
        async with await self.database.connect() as connection:
            apart = await (await connection.execute(_APART)).fetchall()
        assert not apart, f"partition, position, records counted, newest in history: {apart}"

    def close(self) -> None:
        for process in self._processes:
            process.close()


def note(values: Iterable[bytes], path: Path) -> Path:
    """Write values as lines."""
    path.write_bytes(b"".join(value + b"\n" for value in values))
    return path
