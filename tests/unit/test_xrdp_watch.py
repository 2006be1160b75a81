"""Which connection a line of xrdp's log is counted for that names none."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sojourn.events.xrdp import processes
from sojourn.events.xrdp.ends import Ending
from sojourn.events.xrdp.processes import Carrier, Desktop, Process
from sojourn.events.xrdp.state import Session, State
from sojourn.events.xrdp.watch import Watch

Start = Callable[[], Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that stand for those of xrdp."""
    children: list[subprocess.Popen[bytes]] = []

    def start() -> Process:
        children.append(subprocess.Popen(["sleep", "100"]))
        found = processes.process(children[-1].pid)
        assert found
        return found

    yield start
    for child in children:
        child.kill()
        child.wait()


class Scene:
    """A watch over two connections to desktops of their own, and what happens to them between its looks."""

    def __init__(self, folder: Path, start: Start) -> None:
        self._log, self._now = folder / "xrdp.log", datetime.now(UTC)
        self._log.touch()
        self.first, self.second = (self._session(f"s-{display}", display, start) for display in (70, 71))
        state = State(processes.boot_id(), [self.first, self.second])
        self._watch = Watch(state, "vm", folder / "sesman.log", self._log, None)

    def _session(self, session_id: str, display: int, start: Start) -> Session:
        desktop = Desktop(display, "alice", "Alice Example", start(), start(), is_shared=True)
        carrier = Carrier(start(), None)
        return Session(session_id, "alice", "10.0.0.1", 59592, "vm", self._now, desktop, carrier, is_told=True)

    def close(self) -> None:
        self._watch.close()

    def say_goodbye(self) -> None:
        with self._log.open("a") as log:
            stamp = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H:%M:%S")
            log.write(f"[{stamp}] [ERROR] Sending [ITU T.125] DisconnectProviderUltimatum failed\n")

    def look(self) -> None:
        self._now += timedelta(milliseconds=250)
        self._watch.look(self._now)

    def end(self, session: Session) -> Ending:
        """Look until the end of a session is judged; it is two looks."""
        for _ in range(2):
            self.look()
        assert session.ending is not None
        return session.ending


def kill(process: Process) -> None:
    processes.end(process, signal.SIGKILL)
    while processes.is_alive(process):
        pass


@pytest.fixture
def scene(tmp_path: Path, start: Start) -> Iterator[Scene]:
    scene = Scene(tmp_path, start)
    yield scene
    scene.close()


def test_a_goodbye_is_of_the_connection_that_ended(scene: Scene) -> None:
    scene.say_goodbye()
    kill(scene.first.carrier.process)

    assert scene.end(scene.first).reason == "network"


def test_a_connection_that_ends_without_a_word_is_an_error(scene: Scene) -> None:
    kill(scene.first.carrier.process)

    assert scene.end(scene.first).reason == "error"


def test_what_a_connection_says_long_after_its_desktop_ended_is_not_taken_for_anothers(scene: Scene) -> None:
    kill(scene.first.desktop.x_server)
    assert scene.end(scene.first).reason == "error"

    scene.say_goodbye()  # xrdp had waited for a channel server that was gone, and only now sees that its client is, too
    kill(scene.first.carrier.process)
    scene.look()
    kill(scene.second.carrier.process)

    assert scene.end(scene.second).reason == "error"


def test_of_two_that_end_at_once_it_is_unknown_whose_goodbye_it_was(scene: Scene) -> None:
    kill(scene.first.desktop.x_server)
    scene.end(scene.first)

    scene.say_goodbye()
    kill(scene.first.carrier.process)
    kill(scene.second.carrier.process)

    assert scene.end(scene.second).reason == "unknown"
