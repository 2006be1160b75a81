"""What the adapter does when the spool is full, a command is late or comes twice, or a process will not end."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sojourn.events.broker.broker import Broker, SpoolFull
from sojourn.events.broker.inbox import Answering, Command
from sojourn.events.broker.transports import Rejection
from sojourn.events.codec import decode
from sojourn.events.decision_data import DisconnectRequestedData
from sojourn.events.errors import Unreachable
from sojourn.events.types import SOJOURN, Destroyed, DisconnectRequested, Established
from sojourn.events.xrdp import processes
from sojourn.events.xrdp.adapter import KILL_SECONDS, Options, _Adapter
from sojourn.events.xrdp.ends import Ending
from sojourn.events.xrdp.processes import Carrier, Desktop, Process
from sojourn.events.xrdp.state import Order, Session, State, StateFile
from tests.integration.xrdp_server import wait_until

NOW = datetime.now(UTC)
SOURCE = "/brokers/xrdp-1"
SPOOL_BYTES = 1 << 14  # a few dozen events


class Way:
    """A way to Sojourn that is closed until it is `open`, and keeps what goes through it."""

    marks_delivered = True

    def __init__(self) -> None:
        self.open, self.taken = False, list[bytes]()

    async def publish(self, values: Sequence[bytes]) -> list[Rejection]:
        if not self.open:
            raise Unreachable("closed")
        self.taken += values
        return []

    async def commands(self, source: str) -> AsyncGenerator[DisconnectRequested, None]:
        await asyncio.Event().wait()
        yield command(source, "none")._event

    async def close(self) -> None:
        self.open = False


@contextmanager
def running(*words: str) -> Iterator[Process]:
    """Run a process that says when it is ready."""
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        found = processes.process(child.pid)
        assert found
        yield found
        child.kill()


@pytest.fixture
def sleeper() -> Iterator[Process]:
    with running("sh", "-c", "echo; exec sleep 100") as process:
        yield process


def session(process: Process, session_id: str = "s-1") -> Session:
    desktop = Desktop(70, "alice", "Alice Example", process, process, is_shared=True)
    return Session(session_id, "alice", "10.0.0.1", 59592, "vm", NOW, desktop, Carrier(process, None), is_told=True)


def command(source: str, session_id: str, answers: list[tuple[Answering, str | None]] | None = None) -> Command:
    async def answer(_: DisconnectRequested, answering: Answering, detail: str | None) -> None:
        if answers is None:
            raise SpoolFull
        answers.append((answering, detail))

    asked = DisconnectRequestedData("c-1", "disconnect", source, "a test", "tests", NOW + timedelta(hours=1))
    event = DisconnectRequested(
        specversion="1.0", id="c-1", source=SOJOURN, time=NOW, tenant="acme", subject=session_id, data=asked
    )
    return Command(event, answer)


async def fill(broker: Broker) -> None:
    """Spool events until there is no room."""
    while True:
        await broker.destroyed("acme", "filler", "unknown", detail="x" * 900)


@asynccontextmanager
async def adapting(folder: Path, way: Way, *sessions: Session) -> AsyncGenerator[_Adapter]:
    """Open an adapter that knows the sessions from before; it looks only when it is told to."""
    StateFile(folder / "xrdp.json").save(State(processes.boot_id(), list(sessions)))
    options = Options(SOURCE, "acme", "host-1", folder, folder / "sesman.log", folder / "xrdp.log")
    async with Broker(SOURCE, way, spool=folder / "spool", spool_bytes_max=SPOOL_BYTES) as broker:
        adapter = _Adapter(options, broker)
        yield adapter
        adapter.close()
        way.open = True  # so that leaving need not wait


async def test_what_a_full_spool_does_not_take_is_told_when_there_is_room(tmp_path: Path, sleeper: Process) -> None:
    way, ended = Way(), session(sleeper)
    ended.is_told, ended.missed_at, ended.ending = False, NOW, Ending("logoff", "the window manager ended")
    async with adapting(tmp_path, way, ended) as adapter:
        broker = adapter._broker
        with pytest.raises(SpoolFull):
            await fill(broker)

        told_while_full = await adapter._tell()
        waiting = list(adapter._state.sessions)
        way.open = True
        await broker.drained()
        told = await adapter._tell()
        await broker.drained()

    assert (told_while_full, len(waiting), told, adapter._state.sessions) == (False, 1, True, [])
    last = [decode(value) for value in way.taken[-2:]]
    assert isinstance(last[0], Established)
    assert isinstance(last[1], Destroyed)
    assert (last[0].subject, last[1].subject, last[1].time) == ("s-1", "s-1", NOW)


async def test_a_command_for_an_open_session_is_noted_before_it_is_acknowledged(
    tmp_path: Path, sleeper: Process
) -> None:
    async with adapting(tmp_path, Way(), session(sleeper)) as adapter:
        refusal = await adapter._order(command(SOURCE, "s-1"))

        saved = StateFile(tmp_path / "xrdp.json").load()

    assert refusal is None
    assert saved is not None
    assert saved.sessions[0].order is not None
    assert saved.sessions[0].order.id == "c-1"


async def test_a_command_for_no_open_session_or_for_one_that_is_ending_is_refused(
    tmp_path: Path, sleeper: Process
) -> None:
    ending = session(sleeper)
    ending.order = Order("c-0", "disconnect", NOW, NOW + timedelta(hours=1))
    async with adapting(tmp_path, Way(), ending) as adapter:
        other = await adapter._order(command(SOURCE, "s-2"))
        again = await adapter._order(command(SOURCE, "s-1"))

    assert (other, again) == ("no such connection is open here: s-2", "it is ended already by command c-0")


async def test_an_answer_that_a_full_spool_does_not_take_ends_neither_command_nor_adapter(
    tmp_path: Path, sleeper: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with adapting(tmp_path, Way(), session(sleeper)) as adapter:
        answers: list[tuple[Answering, str | None]] = []

        async def commands() -> AsyncGenerator[Command, None]:
            yield command(SOURCE, "s-1", None)
            yield command(SOURCE, "s-2", answers)

        monkeypatch.setattr(adapter._broker, "commands", commands)
        await adapter.obey()

        assert adapter._state.sessions[0].order is not None
        assert answers == [("refused", "no such connection is open here: s-2")]


async def test_a_command_that_expired_while_the_adapter_was_away_is_dropped(tmp_path: Path, sleeper: Process) -> None:
    late = session(sleeper)
    late.order = Order("c-1", "disconnect", NOW - timedelta(hours=1), NOW - timedelta(minutes=59))
    async with adapting(tmp_path, Way(), late) as adapter:
        changed = adapter._push()

        assert (changed, adapter._state.sessions[0].order) == (True, None)
        assert processes.is_alive(sleeper)


async def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    with running("sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done") as stubborn:
        asked = session(stubborn)
        asked.order = Order("c-1", "disconnect", datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=1))
        async with adapting(tmp_path, Way(), asked) as adapter:
            order = adapter._state.sessions[0].order
            assert order is not None
            first, second = adapter._push(), adapter._push()
            was_alive = processes.is_alive(stubborn)
            order.at -= timedelta(seconds=KILL_SECONDS + 1)
            third = adapter._push()
            wait_until(lambda: not processes.is_alive(stubborn), "it is killed")

    assert (first, second, was_alive, third) == (True, False, True, True)


def test_a_signal_misses_a_process_that_got_the_number_of_another(sleeper: Process) -> None:
    processes.end(Process(sleeper.pid, sleeper.started + 1), signal.SIGKILL)
    processes.end(sleeper, signal.SIGTERM)

    _, status = os.waitpid(sleeper.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
