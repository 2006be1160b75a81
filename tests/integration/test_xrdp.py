"""A stock xrdp server as a broker: what real clients do becomes rows, with the end that was theirs."""

import asyncio
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.rows import dict_row

from sojourn.events.embedded.database import open_database
from sojourn.events.settings import Settings
from sojourn.events.xrdp import processes
from sojourn.events.xrdp.lines import Connected, Received, parse_xrdp
from sojourn.events.xrdp.state import Session, State, StateFile
from tests.conftest import open_folder
from tests.integration.command import SOJOURN, WAIT_SECONDS_MAX, Command, free_port
from tests.integration.xrdp_server import XrdpServer, demand_xrdp, only_one, wait_until

SOURCE: Final = "/brokers/xrdp-1"
ADAPTER: Final = Path(__file__).with_name("xrdp_adapter.py")
HOST: Final = socket.gethostname()

pytestmark = pytest.mark.xdist_group("xrdp")  # one server for all of them

_NEWEST: Final = """
    SELECT DISTINCT ON (session_id) * FROM sojourn_v1.session_history
    WHERE tenant = 'acme' AND revision IS NOT NULL ORDER BY session_id, revision DESC
"""
_BEATS: Final = "SELECT count(*) AS beats FROM sojourn.current_session WHERE session_id = %s AND last_seen_at > %s"


class Rig:
    """xrdp, its adapter and a running Sojourn, and what can be seen of them from outside."""

    def __init__(
        self, server: XrdpServer, command: Command, url: str, connection: psycopg.Connection[dict[str, Any]]
    ) -> None:
        self.server, self.command, self._url, self._connection = server, command, url, connection
        made = json.loads(command.ok("brokers", "add", "xrdp", "--source", SOURCE, "--tenant", "acme", "--json"))
        (server.folder / "token").write_text(made["token"])
        self.adapter = self.start_adapter()

    def start_adapter(self) -> "subprocess.Popen[bytes]":
        """Run the adapter, which knows the made-up users as xrdp does."""
        folder = self.server.folder
        words: list[str | Path] = ["--source", SOURCE, "--tenant", "acme", "--spool", folder / "adapter"]
        words += ["--url", self._url, "--token-file", folder / "token"]
        words += ["--sesman-log", self.server.sesman_log, "--xrdp-log", self.server.xrdp_log]
        with (folder / "adapter.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(ADAPTER), *map(str, words)],
                env={**os.environ, **self.server.users, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=output,
                stderr=output,
            )

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the newest revision of every session, by id."""
        return {row["session_id"]: row for row in self._connection.execute(_NEWEST).fetchall()}

    @contextmanager
    def connected(self, user: str = "alice") -> Iterator["Connection"]:
        """Connect a client, wait until its session is in the list, and end client and desktop afterwards."""
        before = set(self.rows())
        client = self.server.connect(user)
        wait_until(lambda: any(row["user_id"] == user for row in self._new(before)), "the session is in the list")
        (row,) = self._new(before)
        connection = Connection(self, client, row["session_id"])
        yield connection
        self.server.end(client)
        connection.log_off()
        connection.end()
        self.server.end(connection.at.carrier.process.pid)  # it may wait for a channel server, and say goodbye later

    def _new(self, before: set[str]) -> list[dict[str, Any]]:
        return [row for session_id, row in self.rows().items() if session_id not in before]

    def state(self) -> State:
        """Return what the adapter has saved."""
        saved = StateFile(self.server.folder / "adapter" / "xrdp.json").load()
        assert saved
        return saved

    def is_beating(self, session_id: str, since: datetime) -> bool:
        """Tell whether a heartbeat came after an instant, as the list shows it."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL ROLE sojourn_reader")
            self._connection.execute("SELECT set_config('sojourn.tenant', 'acme', true)")
            row = self._connection.execute(_BEATS, [session_id, since]).fetchone()
        return bool(row and row["beats"])

    def beats_on(self, session_id: str) -> None:
        """Wait for a heartbeat that comes from now on."""
        now = datetime.now(UTC)
        wait_until(lambda: self.is_beating(session_id, now), f"{session_id} beats")

    def ask(self, verb: str, session_id: str) -> dict[str, Any]:
        """Run `sojourn disconnect` or one like it to its conclusion."""
        done = self.command(verb, session_id, "--tenant", "acme", "--reason", "a test", "--wait", "60", "--json")
        return dict(json.loads(done.stdout.splitlines()[-1]))


class Connection:
    """A client's connection: the processes that carry it, and what became of its session."""

    def __init__(self, rig: Rig, client: int, session_id: str) -> None:
        self.rig, self.client, self.session_id = rig, client, session_id
        self.at: Session = next(session for session in rig.state().sessions if session.id == session_id)

    def row(self) -> dict[str, Any]:
        return self.rig.rows()[self.session_id]

    def sesman_lines(self) -> str:
        """Return what sesman has logged since it made the newest desktop."""
        return self.rig.server.sesman_log.read_text().rpartition("Starting session: ")[2]

    def log_off(self) -> None:
        """End the window manager, as the user would; sesman starts it a little after the X server."""
        session, desktop = self.at.desktop.session, self.at.desktop
        wait_until(
            lambda: processes.window_manager(desktop) or not processes.is_alive(session), "the window manager runs"
        )
        window_manager = processes.window_manager(desktop)
        if window_manager is not None:
            self.rig.server.end(window_manager.pid, signal.SIGTERM)

    def end(self) -> tuple[str, str, str]:
        """Wait for the end, and return outcome, reason and detail."""
        wait_until(lambda: self.row()["state"] == "ended", f"{self.session_id} has ended")
        row = self.row()
        return row["outcome"], row["reason"], row["reason_detail"]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Run all of it once."""
    demand_xrdp()
    with ExitStack() as stack:
        stack.enter_context(only_one())
        folder = stack.enter_context(open_folder())
        command, port = Command(folder / "data"), free_port()
        stack.enter_context(_up(command, port))
        (folder / "xrdp").mkdir()
        server = XrdpServer(folder / "xrdp")
        stack.callback(server.close)
        dsn = asyncio.run(_dsn(command.data_dir))
        connection = stack.enter_context(psycopg.connect(dsn, autocommit=True, row_factory=dict_row))
        rig = Rig(server, command, f"http://127.0.0.1:{port}", connection)
        yield rig
        rig.adapter.terminate()
        assert rig.adapter.wait(WAIT_SECONDS_MAX) == 0, (server.folder / "adapter.log").read_text()


@contextmanager
def _up(command: Command, port: int) -> Iterator[None]:
    """Run `sojourn up` where brokers can find it."""
    with subprocess.Popen(
        [SOJOURN, "up", "--port", str(port)], env=command.environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "Sojourn is running" in process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS_MAX)


async def _dsn(data_dir: Path) -> str:
    database = await open_database(Settings(data_dir))
    await (await database.connect()).close()
    await database.close()
    return database.dsn


def test_a_client_that_connects_is_a_session_of_its_user_and_beats(rig: Rig) -> None:
    with rig.connected() as alice:
        row = alice.row()
        place = f"{HOST}:{alice.at.desktop.display}"

        assert (row["state"], row["user_id"], row["user_name"]) == ("active", "alice", "Alice Example")
        assert (row["desktop_id"], row["client_ip"], row["protocol"]) == (place, "127.0.0.1", "rdp")
        assert row["terminal_name"] == HOST, "the client runs on the same machine"
        rig.beats_on(alice.session_id)


def test_a_killed_client_ends_the_session_and_a_reconnect_continues_it(rig: Rig) -> None:
    with rig.connected() as first:
        rig.server.end(first.client)
        end = first.end()
        with rig.connected() as second:
            again = second.row()

    assert end == ("abnormal", "network", "the client's connection ended; the desktop stays")
    assert (again["predecessor"], again["desktop_id"]) == (first.session_id, first.row()["desktop_id"])
    assert again["session_id"] != first.session_id


def test_the_end_of_the_window_manager_is_a_log_off(rig: Rig) -> None:
    with rig.connected() as alice:
        alice.log_off()

        assert alice.end()[:2] == ("normal", "logoff")


def test_a_killed_x_server_is_an_error_although_sesman_logs_nothing(rig: Rig) -> None:
    with rig.connected() as alice:
        os.kill(alice.at.carrier.process.pid, signal.SIGSTOP)  # it would end by itself, were it not stuck
        rig.server.end(alice.at.desktop.x_server.pid)

        assert alice.end()[:2] == ("abnormal", "error")
        assert "++ terminated" not in alice.sesman_lines()
        rig.server.end(alice.at.carrier.process.pid)


def test_a_killed_connection_process_is_an_error_since_xrdp_says_nothing_of_the_client(rig: Rig) -> None:
    with rig.connected() as alice:
        rig.server.end(alice.at.carrier.process.pid)

        assert alice.end()[:2] == ("abnormal", "error")


def test_a_session_goes_on_although_sesman_calls_it_terminated_and_both_servers_are_killed(rig: Rig) -> None:
    with rig.connected() as alice:
        rig.server.end(alice.at.desktop.session.pid)
        wait_until(lambda: "++ terminated" in alice.sesman_lines(), "sesman says so")
        rig.server.end(rig.server.sesman)
        rig.server.end(rig.server.xrdp)

        rig.beats_on(alice.session_id)
        assert alice.row()["state"] == "active"
        rig.server.end(alice.client)
        assert alice.end()[:2] == ("abnormal", "network")

    rig.server.sesman, rig.server.xrdp = rig.server.start_sesman(), rig.server.start_xrdp()


def test_a_server_that_is_stopped_whole_ends_its_sessions_as_it_does(rig: Rig) -> None:
    with rig.connected() as alice:
        os.kill(alice.at.carrier.process.pid, signal.SIGTERM)  # as systemd does it: to all at once
        rig.server.end(rig.server.xrdp, signal.SIGTERM)

        assert alice.end()[:2] == ("abnormal", "broker_shutdown")

    rig.server.xrdp = rig.server.start_xrdp()


def test_on_xorg_a_second_client_takes_the_desktop_over_from_the_first(rig: Rig) -> None:
    rig.server.end(rig.server.xrdp)
    rig.server.xrdp = rig.server.start_xrdp("Xorg")

    with rig.connected() as first, rig.connected() as second:
        assert first.end() == ("abnormal", "network", f"taken over by {second.session_id}; the desktop stays")
        assert (second.row()["state"], second.row()["predecessor"]) == ("active", first.session_id)

    rig.server.end(rig.server.xrdp)
    rig.server.xrdp = rig.server.start_xrdp()


def test_a_disconnect_really_ends_the_connection_and_the_end_names_it(rig: Rig) -> None:
    with rig.connected() as alice, rig.connected("eve") as eve:
        asked = rig.ask("disconnect", alice.session_id)
        outcome = alice.end()[:2]

        assert asked["state"] == "confirmed", asked
        assert (*outcome, alice.row()["command"]) == ("normal", "admin_disconnect", asked["command_id"])
        wait_until(lambda: rig.server.is_gone(alice.client), "the client has noticed")
        assert eve.row()["state"] == "active", "only the processes of that session are touched"
        assert processes.is_alive(alice.at.desktop.x_server), "a disconnect leaves the desktop"


def test_a_log_off_by_command_ends_the_desktop_for_all_who_share_it(rig: Rig) -> None:
    with rig.connected() as first, rig.connected() as second:
        shared = first.at.desktop == second.at.desktop
        both = [first.row()["state"], second.row()["state"]]
        asked = rig.ask("log-off", first.session_id)

        assert (shared, both) == (True, ["active", "active"])
        assert asked["state"] == "confirmed", asked
        assert first.end()[:2] == second.end()[:2] == ("normal", "admin_disconnect")
        assert (first.row()["command"], second.row()["command"]) == (asked["command_id"], None)
        assert rig.server.is_gone(first.at.desktop.x_server.pid)


def test_after_a_crash_of_the_adapter_the_living_go_on_and_the_others_ended_unseen(rig: Rig) -> None:
    with rig.connected() as alice, rig.connected("eve") as eve:
        rig.adapter.kill()
        rig.adapter.wait()
        rig.server.end(eve.client)
        wait_until(lambda: rig.server.is_gone(eve.at.carrier.process.pid), "the connection is over")
        rig.adapter = rig.start_adapter()

        outcome, reason, detail = eve.end()
        assert (outcome, reason) == ("abnormal", "unknown")
        assert detail.startswith("it ended while nobody watched, after 20")
        rig.beats_on(alice.session_id)
        assert (alice.row()["state"], alice.row()["revision"]) == ("active", 1)


def test_a_login_name_that_forges_lines_makes_no_session(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with rig.connected() as alice:
        waiting = rig.server.connect("eve", "wrong")
        wait_until(lambda: _newest_port(rig) != alice.at.client_port, "a client waits at the login screen")
        at, desktop = f"[{datetime.now(UTC):%Y%m%d-%H:%M:%S}] [INFO ]", alice.at.desktop
        claim = f"display :{desktop.display}.0, session_pid {desktop.session.pid}, ip 127.0.0.1:{_newest_port(rig)}"
        before = rig.rows().keys()
        forger = rig.server.connect(f"x\n{at} ++ reconnected session: username alice, {claim} - socket: 12\nx", "no")
        wait_until(lambda: rig.state().pending or rig.rows().keys() - before, "the adapter has read the line")
        with rig.connected("eve") as eve:
            told = rig.rows().keys() - before
            _bears_out_eve_and_nobody_else(rig, eve, monkeypatch)

        assert told == {eve.session_id}
        for client in (waiting, forger):
            rig.server.end(client)


def _newest_port(rig: Rig) -> int:
    received = [parse_xrdp(line) for line in rig.server.xrdp_log.read_text().splitlines()]
    return [one.client_port for one in received if isinstance(one, Received)][-1]


def _bears_out_eve_and_nobody_else(rig: Rig, eve: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [line.split(":") for line in (rig.server.folder / "passwd").read_text().splitlines()]
    numbers = {name: int(number) for name, _, number, *_ in accounts}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=numbers[name], pw_gecos=""))
    display, session = eve.at.desktop.display, eve.at.desktop.session
    line = Connected(datetime.now(UTC), "eve", display, session.pid, "127.0.0.1", 1, is_new=True)

    found = processes.find_desktop(line)
    others = [
        processes.find_desktop(replace(line, user="alice")),
        processes.find_desktop(replace(line, display=display + 1)),
        processes.find_desktop(replace(line, session_pid=rig.server.sesman)),
        processes.find_desktop(replace(line, session_pid=eve.client)),
    ]
    shown = [processes.shows(eve.at.carrier.process, number) for number in (display, display + 1)]

    assert found is not None
    assert (found.session, found.x_server) == (session, eve.at.desktop.x_server)
    assert (others, shown) == ([None] * 4, [True, False])
