"""What lines of sesman's and xrdp's logs claim: a login name may hold a line break, and so forge one."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Final

from msgspec import Struct

LINE_CHARACTERS_MAX: Final = 8000  # sesman's own lines end at 1 KiB; an X server's command line may be longer


class Connected(Struct, frozen=True):
    """A client is said to have been given a desktop: a new one, or one that was there."""

    at: datetime
    user: str
    display: int
    session_pid: int
    client_ip: str
    client_port: int
    is_new: bool


class LoggedOff(Struct, frozen=True):
    """A session process is said to close its PAM session: it does so when the window manager has ended."""

    at: datetime
    session_pid: int


class XServerEnded(Struct, frozen=True):
    """A desktop's X server is said to have ended; `signal` is 0 where it did so by itself."""

    at: datetime
    display: int
    pid: int
    signal: int


class ShutDown(Struct, frozen=True):
    """A daemon says that it was asked to end."""

    at: datetime
    program: str


class Received(Struct, frozen=True):
    """xrdp took a connection of a client that has not signed in yet."""

    at: datetime
    client_ip: str
    client_port: int


class ClientNamed(Struct, frozen=True):
    """Some client told the name of its computer; the line does not say which."""

    at: datetime
    name: str


class Goodbye(Struct, frozen=True):
    """Some connection found its client gone; the line does not say which."""

    at: datetime


Note = LoggedOff | XServerEnded | ShutDown
Claim = Connected | Received | ClientNamed | Goodbye | Note

_LINE: Final = re.compile(r"\[(?P<stamp>\d{8}-\d{2}:\d{2}:\d{2})\] \[(?P<level>[A-Z]+) *\] (?P<text>.*)", re.DOTALL)
# The client is written at the end of a line, so whatever stands in the user's name comes before it.
_CLIENT: Final = r"(?P<ip>[0-9A-Fa-f.:]+):(?P<port>\d{1,5}) - socket: \d{1,9}"
_STARTED: Final = re.compile(
    rf"Starting session: session_pid (?P<pid>\d{{1,9}}), display :(?P<display>\d{{1,5}})\.0, width \d+, height \d+, "
    rf"bpp \d+, client ip {_CLIENT}, user name (?P<user>.+)",
    re.DOTALL,
)
_RECONNECTED: Final = re.compile(
    r"\+\+ reconnected session: username (?P<user>.+), display :(?P<display>\d{1,5})\.0, "
    rf"session_pid (?P<pid>\d{{1,9}}), ip {_CLIENT}",
    re.DOTALL,
)
_LOGGED_OFF: Final = re.compile(r"Calling auth_stop_session and auth_end from pid (?P<pid>\d{1,9})")
_X_SERVER: Final = re.compile(
    r"X server on display (?P<display>\d{1,5}) \(pid (?P<pid>\d{1,9})\) returned exit code \d+ "
    r"and signal number (?P<signal>\d{1,3})"
)
_RECEIVED: Final = re.compile(
    r"Socket \d+: AF_INET6? connection received from (?P<ip>[0-9A-Fa-f.:]+) port (?P<port>\d{1,5})"
)
_NAMED: Final = re.compile(r"Connected client computer name: (?P<name>.+)", re.DOTALL)


def parse_sesman(line: str) -> Claim | None:
    """Return what a line of xrdp-sesman.log says, None where it is nothing that matters here."""
    return _parse(line, _sesman)


def parse_xrdp(line: str) -> Claim | None:
    """Return what a line of xrdp.log says, None where it is nothing that matters here."""
    return _parse(line, _xrdp)


def canonical_address(text: str) -> str | None:
    """Return an IP address as it is usually written, also where xrdp listens on IPv6 for IPv4; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _parse(line: str, meaning: Callable[[datetime, str], Claim | None]) -> Claim | None:
    found = _LINE.fullmatch(line) if len(line) <= LINE_CHARACTERS_MAX else None
    at = _instant(found["stamp"]) if found else None
    return meaning(at, found["text"]) if found and at else None


def _sesman(at: datetime, text: str) -> Claim | None:
    if found := _STARTED.fullmatch(text):
        return _connected(at, found, is_new=True)
    if found := _RECONNECTED.fullmatch(text):
        return _connected(at, found, is_new=False)
    if found := _LOGGED_OFF.fullmatch(text):
        return LoggedOff(at, int(found["pid"]))
    if found := _X_SERVER.fullmatch(text):
        return XServerEnded(at, int(found["display"]), int(found["pid"]), int(found["signal"]))
    return ShutDown(at, "sesman") if text == "sesman_main_loop: sesman asked to terminate" else None


def _xrdp(at: datetime, text: str) -> Claim | None:
    if (found := _RECEIVED.fullmatch(text)) and (ip := canonical_address(found["ip"])):
        return Received(at, ip, int(found["port"]))
    if found := _NAMED.fullmatch(text):
        return ClientNamed(at, found["name"])
    if text == "Sending [ITU T.125] DisconnectProviderUltimatum failed":
        return Goodbye(at)
    return ShutDown(at, "xrdp") if text.startswith("Received termination signal,") else None


def _connected(at: datetime, found: re.Match[str], *, is_new: bool) -> Connected | None:
    ip = canonical_address(found["ip"])
    if ip is None:
        return None
    return Connected(at, found["user"], int(found["display"]), int(found["pid"]), ip, int(found["port"]), is_new)


def _instant(stamp: str) -> datetime | None:
    """Return the instant of a stamp, which is in this machine's time zone and cut to the second."""
    try:
        seconds = time.mktime(time.strptime(stamp, "%Y%m%d-%H:%M:%S"))
    except (ValueError, OverflowError):
        return None
    return datetime.fromtimestamp(seconds, UTC)
