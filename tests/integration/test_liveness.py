"""A list one can believe, through a running `sojourn up`: lost, recovered, taken to have ended, corrected; silence."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from sojourn.events.embedded.database import Database, open_database
from sojourn.events.embedded.log import EmbeddedLog
from sojourn.events.publisher import Publisher
from sojourn.events.settings import Settings
from tests.conftest import open_folder
from tests.integration.command import WAIT_SECONDS_MAX, Command

LOST_AFTER: Final = 5  # the shortest time-out there is
ENDED_AFTER: Final = 6
ALIVE_SECONDS: Final = 2

_numbers = itertools.count()


@pytest.fixture(scope="module")
def sojourn() -> Iterator[Command]:
    with open_folder() as folder:
        command = Command(folder / "data")
        with command.up(judging=True):
            yield command


class Brokers:
    """Publishes to the embedded log of a running `sojourn up` for one tenant."""

    def __init__(self, database: Database, publisher: Publisher, tenant: str, source: str) -> None:
        self._database, self._publisher, self.tenant, self.source = database, publisher, tenant, source

    async def tell(self, kind: str, data: dict[str, Any] | None = None, **fields: Any) -> None:
        head = {"specversion": "1.0", "id": f"{kind}-{next(_numbers)}", "source": self.source, "type": kind}
        event = head | {"time": datetime.now(UTC), "data": data} | fields
        await self._publisher.publish([msgspec.json.encode(event)])

    async def establish(self, *sessions: str) -> None:
        data = {
            "user": {"id": "u-1", "name": "Ada"},
            "desktop": {"id": "d-1", "name": "CAD", "pool": "cad"},
            "terminal": {"type": "browser", "os": "Linux", "version": "1", "name": "t"},
            "client_ip": "10.0.0.1",
            "protocol": "rdp",
        }
        for session in sessions:
            await self.tell("sojourn.session.established.v1", data, tenant=self.tenant, subject=session)

    async def beat(self, *sessions: str, skew: timedelta = timedelta()) -> None:
        at = datetime.now(UTC) + skew
        await self.tell("sojourn.session.heartbeats.v1", {"sessions": sessions}, tenant=self.tenant, time=at)

    async def alive(self) -> None:
        await self.tell("sojourn.broker.alive.v1", {"interval_seconds": ALIVE_SECONDS})

    async def shown(self, **expected: str) -> dict[str, tuple[datetime | None, datetime | None]]:
        """Wait until the list shows these sessions in these states; return between when each ended, if it did."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        query = "SELECT session_id, state, ended_after, ended_before FROM sojourn.current_session WHERE tenant = %s"
        async with await self._database.connect(autocommit=True) as connection:
            await connection.execute("SELECT set_config('sojourn.tenant', %s, false)", (self.tenant,))
            while True:
                rows = await (await connection.execute(query, (self.tenant,))).fetchall()
                found = {session: state for session, state, *_ in rows}
                if found == {name.replace("_", "-"): state for name, state in expected.items()}:
                    return {session: (after, before) for session, _, after, before in rows}
                assert time.monotonic() < deadline, (found, expected)
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def again(self, work: Callable[[], Any]) -> AsyncIterator[None]:
        """Do it each second while the block runs."""

        async def go_on() -> None:
            while True:
                await work()
                await asyncio.sleep(1)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def brokers(command: Command, tenant: str, source: str) -> AsyncIterator[Brokers]:
    words = ("--lost-after", str(LOST_AFTER), "--ended-after", str(ENDED_AFTER))
    await asyncio.to_thread(command.ok, "tenants", "set", tenant, *words)
    database = await open_database(Settings(Path(command.environ["SOJOURN_DATA_DIR"])))
    log = EmbeddedLog(database)
    yield Brokers(database, Publisher(log), tenant, source)
    await log.close()
    await database.close()


async def told(command: Command, what: str) -> str:
    """Wait until the last line of `sojourn status` says `what`, and return it."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while what not in (said := (await asyncio.to_thread(command.ok, "status")).splitlines()[-1]):
        assert time.monotonic() < deadline, said
    return said


def _is_deadline(silence: timedelta) -> bool:
    """Tell whether a judgement came after the time-out; a tracker that is behind for some seconds holds it back."""
    return LOST_AFTER <= silence.total_seconds() <= LOST_AFTER + 30


async def test_a_session_is_lost_recovers_is_taken_to_have_ended_and_is_corrected_by_what_comes_later(
    sojourn: Command,
) -> None:
    async with brokers(sojourn, "acme", "/brokers/plain") as broker:
        await broker.establish("s-beaten", "s-silent")
        async with broker.again(lambda: broker.beat("s-beaten", skew=timedelta(hours=1))):
            lost = await broker.shown(s_beaten="active", s_silent="lost")
            await broker.beat("s-silent")
            await broker.shown(s_beaten="active", s_silent="active")
            await broker.shown(s_beaten="active")
            (ended,) = await asyncio.to_thread(sojourn.rows, "history", "--tenant", "acme")
            shown = await asyncio.to_thread(sojourn.ok, "history", "--tenant", "acme")
            status = await asyncio.to_thread(sojourn.ok, "status")

            async with broker.again(lambda: broker.beat("s-silent")):  # a busy machine may take long to list
                await broker.shown(s_beaten="active", s_silent="active")
                reopened = await asyncio.to_thread(sojourn.rows, "history", "--tenant", "acme")
            data = {"reason": "logoff"}
            await broker.tell("sojourn.session.destroyed.v1", data, tenant="acme", subject="s-silent")
            await broker.shown(s_beaten="active")
        (corrected,) = sojourn.rows("history", "--tenant", "acme")

    after, before = lost["s-silent"]
    assert after is not None
    assert before is not None
    assert _is_deadline(before - after)
    assert (ended["outcome"], ended["reason"], ended["logout_at"]) == ("abnormal", "lost", ended["ended_after"])
    assert _is_deadline(instant(ended["ended_before"]) - instant(ended["ended_after"]))
    assert "abnormal  lost " in shown
    assert reopened == []
    assert (corrected["outcome"], corrected["reason"], corrected["ended_after"]) == ("normal", "logoff", None)
    assert corrected["revision"] == 7  # established, lost, recovered, lost, lost_ended, recovered, destroyed
    assert "clock of broker plain 59 m ahead" in status.splitlines()[-1] or "1 h ahead" in status.splitlines()[-1]


async def test_sessions_of_a_silent_broker_are_unconfirmed_and_not_lost_until_it_returned(sojourn: Command) -> None:
    async with brokers(sojourn, "globex", "/brokers/eu-2") as broker:
        await broker.alive()
        await broker.establish("s-1", "s-2")
        await broker.shown(s_1="unconfirmed", s_2="unconfirmed")
        said = await told(sojourn, "broker eu-2 silent for ")  # each partition notices by itself, and all must have
        await asyncio.sleep(LOST_AFTER)  # nothing tells that something will not happen
        await broker.shown(s_1="unconfirmed", s_2="unconfirmed")

        async with broker.again(broker.alive), broker.again(lambda: broker.beat("s-1")):
            await broker.shown(s_1="active", s_2="lost")
            kinds = await returned_everywhere(sojourn, broker)
            status = await asyncio.to_thread(sojourn.rows, "status")
            (signs,) = [row for row in status if row.get("broker") == broker.source]

    assert "broker eu-2 silent for " in said
    assert (signs["state"], signs["silent_since"]) == ("reporting", None)
    assert kinds.count("sojourn.broker.silent.v1") == kinds.count("sojourn.broker.returned.v1") == 12


async def returned_everywhere(command: Command, broker: Brokers) -> list[str]:
    """Wait until each partition has noticed by itself that a broker is back, and return what the log says of it."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        log = await asyncio.to_thread(command.ok, "log", "read")
        kinds = [line.split()[2] for line in log.splitlines() if broker.source in line]
        if kinds.count("sojourn.broker.returned.v1") >= kinds.count("sojourn.broker.silent.v1"):
            return kinds
        assert time.monotonic() < deadline, kinds


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
