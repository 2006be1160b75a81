"""The processes and sockets of an xrdp server as the kernel shows them: what the logs claim is judged by them."""

import contextlib
import os
import pwd
import signal
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from msgspec import Struct

from sojourn.events.xrdp.lines import Connected, canonical_address

PROC: Final = Path("/proc")
VNC_PORT_MIN: Final = 5900  # display :N of Xvnc listens on this port + N

_ESTABLISHED: Final = "01"
_STATE, _PARENT, _STARTED = 0, 1, 19  # of /proc/PID/stat behind the name: proc(5)
# A child that is about to become something else is still called like its parent.
_NO_WINDOW_MANAGERS: Final = ("xrdp-chansrv", "xrdp-sesman", "")
_DEAD: Final = ("Z", "X")
_LOOPBACK: Final = ("127.0.0.1", "::1")
_NETLINK_SOCK_DIAG: Final = 4
_DUMP_UNIX_SOCKETS: Final = struct.pack("=IHHII", 40, 20, 0x301, 1, 0) + struct.pack(
    "=BBHIIIII", socket.AF_UNIX, 0, 0, 1 << 1, 0, 0x1 | 0x4, 0, 0
)  # all established ones, with name and peer: sock_diag(7)
_DONE: Final = 3
_ANSWER_BYTES_MAX: Final = 1 << 16  # the kernel fills no more into one


class Process(Struct, frozen=True):
    """A process for ever: its id is used again, together with the time that it started at it is not."""

    pid: int
    started: int


class Desktop(Struct, frozen=True):
    """An X session of a user; connections to it come and go."""

    display: int
    user: str
    full_name: str
    session: Process
    x_server: Process
    is_shared: bool


class Carrier(Struct, frozen=True):
    """The process that carries one client's connection, and the daemon that it was forked from."""

    process: Process
    daemon: Process | None


def boot_id() -> str:
    """Return what distinguishes this start of the machine: process ids mean nothing in another."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def process(pid: int) -> Process | None:
    """Return a living process; a zombie is none."""
    fields = _stat(pid)
    return None if fields is None or fields[_STATE] in _DEAD else Process(pid, int(fields[_STARTED]))


def is_alive(known: Process) -> bool:
    """Tell whether it still runs."""
    return process(known.pid) == known


def end(known: Process, number: signal.Signals) -> None:
    """Send a signal to this very process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(known.pid)
        try:
            if is_alive(known):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def find_carrier(client_ip: str, client_port: int) -> Carrier | None:
    """Return the xrdp process at this end of a client's connection."""
    inodes = {inode for peer, inode in _tcp() if peer == (client_ip, client_port)}
    if not inodes:
        return None
    for pid in _pids():
        if _program(pid) == "xrdp" and not inodes.isdisjoint(_sockets(pid)):
            found, fields = process(pid), _stat(pid)
            if found and fields:
                parent = int(fields[_PARENT])
                return Carrier(found, process(parent) if _program(parent) == "xrdp" else None)
    return None


def find_desktop(claim: Connected) -> Desktop | None:
    """Return the desktop that a line names, if its session process, X server and user are what the line says."""
    session = process(claim.session_pid)
    if session is None or _program(session.pid) != "xrdp-sesman":
        return None
    children = {pid: _arguments(pid) for pid in _children(session.pid)}
    x_server = next((pid for pid, words in children.items() if words[1:2] == [f":{claim.display}"]), None)
    if x_server is None or (running := process(x_server)) is None:
        return None
    account = _account(claim.user, x_server)
    if account is None:
        return None
    return Desktop(
        claim.display,
        claim.user,
        account.pw_gecos.partition(",")[0] or claim.user,
        session,
        running,
        "vnc" in _program(x_server).lower(),
    )


def window_manager(desktop: Desktop) -> Process | None:
    """Return what a user ends to log off; none where the session process was killed and so has no children."""
    for pid in _children(desktop.session.pid) if is_alive(desktop.session) else ():
        if pid != desktop.x_server.pid and _program(pid) not in _NO_WINDOW_MANAGERS:
            return process(pid)
    return None


def shows(carrier: Process, display: int) -> bool:
    """Tell whether a connection's process has a connection of its own to the X server of a display."""
    held = _sockets(carrier.pid)
    if any(inode in held and ip in _LOOPBACK and port == VNC_PORT_MIN + display for (ip, port), inode in _tcp()):
        return True
    names, peers = _unix()
    return any(names.get(peers.get(inode, 0), "").endswith(f"/xrdp_display_{display}") for inode in held)


def _account(user: str, pid: int) -> pwd.struct_passwd | None:
    try:
        account = pwd.getpwnam(user)
        return account if (PROC / str(pid)).stat().st_uid == account.pw_uid else None
    except (KeyError, ValueError, OSError):  # ValueError: a name that no account can have
        return None


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name in brackets may hold anything


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())


def _children(pid: int) -> list[int]:
    found = ((other, _stat(other)) for other in _pids())
    return sorted(other for other, fields in found if fields and int(fields[_PARENT]) == pid)


def _program(pid: int) -> str:
    try:
        return (PROC / str(pid) / "exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return ""


def _arguments(pid: int) -> list[str]:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words]


def _sockets(pid: int) -> set[int]:
    """Return the inodes of the sockets that a process holds."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found


def _tcp() -> Iterator[tuple[tuple[str, int], int]]:
    """Yield the peer and the inode of each established TCP connection."""
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for row in (PROC / table).read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == _ESTABLISHED:
                    address, _, port = fields[2].partition(":")
                    yield (_address(address), int(port, 16)), int(fields[9])


def _address(text: str) -> str:
    """Return the address that the kernel shows as words in the machine's byte order."""
    raw = b"".join(struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8))
    address = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)  # noqa: PLR2004 - bytes of an IPv4 address
    return canonical_address(str(address)) or ""


def _unix() -> tuple[dict[int, str], dict[int, int]]:
    """Return the names and the peers of connected Unix sockets, by inode, which only the kernel's diagnosis tells."""
    names: dict[int, str] = {}
    peers: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_DUMP_UNIX_SOCKETS)
        while True:
            answer = kernel.recv(_ANSWER_BYTES_MAX)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind <= _DONE:
                    return names, peers
                (inode,) = struct.unpack_from("=I", answer, 20)
                for attribute, value in _attributes(answer[32:length]):
                    if attribute == 0:
                        names[inode] = os.fsdecode(value).rstrip("\0")
                    elif attribute == 2:  # noqa: PLR2004 - UNIX_DIAG_PEER
                        (peers[inode],) = struct.unpack("=I", value)
                answer = answer[_aligned(length) :]


def _attributes(block: bytes) -> Iterator[tuple[int, bytes]]:
    while block:
        length, kind = struct.unpack_from("=HH", block)
        yield kind, block[4:length]
        block = block[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
