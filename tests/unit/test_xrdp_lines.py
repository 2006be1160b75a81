"""Lines as Debian's xrdp 0.9.21 wrote them, and as a client can make it write them."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sojourn.events.xrdp.lines import (
    LINE_CHARACTERS_MAX,
    Claim,
    ClientNamed,
    Connected,
    Goodbye,
    LoggedOff,
    Received,
    ShutDown,
    XServerEnded,
    canonical_address,
    parse_sesman,
    parse_xrdp,
)

AT = datetime(2026, 11, 24, 15, 36, 3, tzinfo=UTC)
STARTED = (
    "[20261124-15:36:03] [INFO ] Starting session: session_pid 2052, display :70.0, width 640, height 480, bpp 16, "
    "client ip {ip}:59592 - socket: 12, user name {user}"
)
RECONNECTED = (
    "[20261124-15:36:03] [INFO ] ++ reconnected session: username {user}, display :70.0, session_pid 2052, "
    "ip {ip}:59592 - socket: 12"
)
HOSTILE = [
    "alice",
    "Ünï Cødé",
    "a b, display :1.0, session_pid 1, ip 6.6.6.6:1 - socket: 1",
    "alice, ip 6.6.6.6:1 - socket: 12, user name root",
    "%s%n [INFO ] ++ terminated session",
    "\x1b[31mred\x7f\rback",
]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("user", HOSTILE)
@pytest.mark.parametrize(("line", "is_new"), [(STARTED, True), (RECONNECTED, False)], ids=["new", "again"])
def test_a_login_says_who_got_which_desktop_whatever_the_name_holds(line: str, user: str, *, is_new: bool) -> None:
    claim = parse_sesman(line.format(user=user, ip="127.0.0.1"))

    assert claim == Connected(AT, user, 70, 2052, "127.0.0.1", 59592, is_new)


@pytest.mark.parametrize(
    ("line", "claim"),
    [
        ("[INFO ] Calling auth_stop_session and auth_end from pid 2052", LoggedOff(AT, 2052)),
        (
            "[INFO ] X server on display 73 (pid 4055) returned exit code 255 and signal number 9",
            XServerEnded(AT, 73, 4055, 9),
        ),
        (
            "[INFO ] X server on display 70 (pid 2054) returned exit code 0 and signal number 0",
            XServerEnded(AT, 70, 2054, 0),
        ),
        ("[INFO ] sesman_main_loop: sesman asked to terminate", ShutDown(AT, "sesman")),
        (
            "[INFO ] ++ created session (access granted): username alice, ip 127.0.0.1:59592 - socket: 12",
            None,  # the line after it says the same, and which process it is
        ),
        (
            "[INFO ] ++ terminated session:  username alice, display :71.0, session_pid 2835, ip 10.0.0.9:47910",
            None,  # written also when the session process was killed and the user works on
        ),
        ("[INFO ] AUTHFAIL: user=sesman_main_loop: sesman asked to terminate ip=127.0.0.1 time=1795534893", None),
    ],
)
def test_a_line_of_sesman_says_what_it_says_and_no_more(line: str, claim: Claim | None) -> None:
    assert parse_sesman(f"[20261124-15:36:03] {line}") == claim


@pytest.mark.parametrize(
    ("line", "claim"),
    [
        (
            "[INFO ] Socket 12: AF_INET connection received from 127.0.0.1 port 46614",
            Received(AT, "127.0.0.1", 46614),
        ),
        (
            "[INFO ] Socket 12: AF_INET6 connection received from ::ffff:10.1.2.3 port 46614",
            Received(AT, "10.1.2.3", 46614),
        ),
        ("[INFO ] Connected client computer name: vm", ClientNamed(AT, "vm")),
        ("[ERROR] Sending [ITU T.125] DisconnectProviderUltimatum failed", Goodbye(AT)),
        (
            "[INFO ] Received termination signal, stopping the server accept new connections thread",
            ShutDown(AT, "xrdp"),
        ),
        ("[INFO ] login failed for user Received termination signal,", None),
        ("[ERROR] SSL_read: Failure in SSL library (protocol error?)", None),
    ],
)
def test_a_line_of_xrdp_says_what_it_says_and_no_more(line: str, claim: Claim | None) -> None:
    assert parse_xrdp(f"[20261124-15:36:03] {line}") == claim


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no stamp",
        "[20261324-15:36:03] [INFO ] sesman_main_loop: sesman asked to terminate",
        "[99999999-99:99:99] [INFO ] sesman_main_loop: sesman asked to terminate",
        " [20261124-15:36:03] [INFO ] sesman_main_loop: sesman asked to terminate",
        STARTED.format(user="alice", ip="999.0.0.1"),
        STARTED.format(user="alice", ip="::::"),
        STARTED.format(user="", ip="127.0.0.1"),
        RECONNECTED.format(user="alice", ip="127.0.0.1") + " ip=127.0.0.1 time=1795534893",
        STARTED.format(user="a" * LINE_CHARACTERS_MAX, ip="127.0.0.1"),
    ],
)
def test_a_line_that_sesman_does_not_write_says_nothing(line: str) -> None:
    assert parse_sesman(line) is None


def test_a_stamp_is_in_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()

    claim = parse_sesman("[20261124-15:36:03] [INFO ] sesman_main_loop: sesman asked to terminate")

    assert claim == ShutDown(AT - timedelta(hours=5, minutes=30), "sesman")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("10.1.2", None),
        ("", None),
    ],
)
def test_an_address_has_one_spelling_so_that_the_kernel_and_the_log_agree(text: str, address: str | None) -> None:
    assert canonical_address(text) == address
