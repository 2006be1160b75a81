"""A stock xrdp server on loopback for tests, with made-up users and real clients; nothing of the system is changed."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.command import free_port

PACKAGES: Final = "xrdp xorgxrdp tigervnc-standalone-server freerdp2-x11 xvfb libpam-wrapper libnss-wrapper openssl"
PROGRAMS: Final = ("xrdp", "xrdp-sesman", "Xorg", "Xvnc", "xfreerdp", "Xvfb", "openssl")
LIBRARIES: Final = (
    "libpam_wrapper.so",
    "libnss_wrapper.so",
    "pam_wrapper/pam_matrix.so",
    "xorg/modules/drivers/xrdpdev_drv.so",
)
SESMAN_PORT: Final = 3350  # xrdp asks the system's sesman.ini for any other
LOCK: Final = Path("/tmp/sojourn-test-xrdp.lock")  # noqa: S108 - one xrdp at a time has that port, whoever tests
RUN: Final = Path("/run/xrdp")  # xrdp makes it for its sockets, wherever its configuration lies
SECONDS_MAX: Final = 60  # everything waited for here takes less than five seconds on an idle machine
DISPLAY_MIN: Final = 70  # of desktops; others' start at 10
USER_NUMBER: Final = 61001  # no account of the system has it: only the wrapper knows it

_USERS: Final = ("alice", "eve")
# Without -noreset the end of the last client may take the next one's connection with it.
_SCREEN: Final = ("-screen", "0", "800x600x24", "-nolisten", "tcp", "-noreset")
_POLL_SECONDS: Final = 0.05


def _library(name: str) -> Path | None:
    return next(iter(sorted([*Path("/usr/lib").glob(name), *Path("/usr/lib").glob(f"*/{name}")])), None)


def demand_xrdp() -> None:
    """Skip where no xrdp can be run, saying what to install; it is no part of what CI brings."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    missing += [name for name in LIBRARIES if _library(name) is None]
    if missing:
        pytest.skip(f"a real xrdp needs packages (apt-get install --no-install-recommends {PACKAGES}): {missing}")
    if os.geteuid() != 0:
        pytest.skip("sesman signs users in, which needs root")


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Wait until no other test on this machine runs an xrdp; skip where the machine has one of its own."""
    with LOCK.open("w") as lock:
        wait_until(lambda: _locks(lock.fileno()), "no other test runs xrdp")
        if _listens(SESMAN_PORT):
            pytest.skip(f"an xrdp runs here already: port {SESMAN_PORT} is taken")
        was_there = RUN.exists()
        try:
            yield
        finally:
            if not was_there:
                shutil.rmtree(RUN, ignore_errors=True)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll, since other people's programs do not tell."""
    until = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < until, f"waited in vain until {what}"
        time.sleep(_POLL_SECONDS)


class XrdpServer:
    """xrdp and sesman with all their files in a folder, and the clients that connect to them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.sesman_log, self.xrdp_log = folder / "sesman.log", folder / "xrdp.log"
        self.users = {
            "LD_PRELOAD": str(_library("libnss_wrapper.so")),
            "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(folder / "group"),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._write_files()
        self.display = self._start_screen()
        self.sesman = self.start_sesman()
        self.xrdp = self.start_xrdp()

    def start_sesman(self) -> int:
        """Run the session manager, and return its process id."""
        preload = f"{_library('libpam_wrapper.so')} {self.users['LD_PRELOAD']}"
        wrappers = {"PAM_WRAPPER": "1", "PAM_WRAPPER_SERVICE_DIR": str(self.folder / "pam.d"), "LD_PRELOAD": preload}
        process = self._run("/usr/sbin/xrdp-sesman", "-n", "-c", self.folder / "sesman.ini", **self.users | wrappers)
        wait_until(lambda: _listens(SESMAN_PORT), "sesman listens")
        return process.pid

    def start_xrdp(self, x_server: str = "Xvnc") -> int:
        """Run the daemon that clients connect to, and return its process id."""
        (self.folder / "xrdp.ini").write_text(_XRDP.format(folder=self.folder, port=self.port, x_server=x_server))
        before = self._times_listening()
        process = self._run("/usr/sbin/xrdp", "-n", "-c", self.folder / "xrdp.ini")
        wait_until(lambda: self._times_listening() > before, "xrdp listens")
        return process.pid

    def connect(self, user: str = "alice", password: str = "secret") -> int:  # noqa: S107 - of no account anywhere
        """Start a client, and return its process id; it is not connected yet."""
        return self._run(
            "xfreerdp",
            f"/v:127.0.0.1:{self.port}",
            f"/u:{user}",
            f"/p:{password}",
            "/cert:ignore",
            "/size:640x480",
            "/bpp:16",
            DISPLAY=self.display,
            HOME=str(self.folder),
        ).pid

    def end(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait until the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        wait_until(lambda: self.is_gone(pid), f"process {pid} is gone")

    def is_gone(self, pid: int) -> bool:
        """Tell whether a process has ended."""
        for process in self._processes:
            process.poll()
        try:
            return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def close(self) -> None:
        """End all, also what was orphaned: every process below this folder or of a made-up user."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._ours():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number is signal.SIGTERM:
                time.sleep(_POLL_SECONDS)
        for process in self._processes:
            process.wait(SECONDS_MAX)
        wait_until(lambda: not self._ours(), "all processes are gone")
        for display in range(DISPLAY_MIN, DISPLAY_MIN + 30):
            for path in (f"/tmp/.X{display}-lock", f"/tmp/.X11-unix/X{display}"):  # noqa: S108 - X servers write there
                Path(path).unlink(missing_ok=True)

    def _times_listening(self) -> int:
        """Return how often xrdp said so: to knock would make it say that a client had gone."""
        return self.xrdp_log.read_text().count("listening to port") if self.xrdp_log.exists() else 0

    def _ours(self) -> list[int]:
        """Return the living processes that were started with this folder in their words or environment."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                if str(self.folder).encode() in text and not self.is_gone(int(entry.name)):
                    found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def _run(self, *words: str | Path, **environ: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(
                [str(word) for word in words],
                env={**os.environ, "SOJOURN_TEST_XRDP": str(self.folder), **environ},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _start_screen(self) -> str:
        """Run a screen for the clients, on a display that the X server chooses."""
        read, write = os.pipe()
        with (self.folder / "output.log").open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    ["Xvfb", "-displayfd", str(write), *_SCREEN],
                    env={**os.environ, "SOJOURN_TEST_XRDP": str(self.folder)},
                    stdout=output,
                    stderr=output,
                    pass_fds=[write],
                    start_new_session=True,
                )
            )
        os.close(write)
        with os.fdopen(read) as number:
            return f":{number.readline().strip()}"

    def _write_files(self) -> None:
        folder = self.folder
        accounts = [line for line in Path("/etc/passwd").read_text().splitlines() if line]
        for number, user in enumerate(_USERS, USER_NUMBER):
            home = folder / "home" / user
            home.mkdir(parents=True)
            os.chown(home, number, number)
            accounts.append(f"{user}:x:{number}:{number}:{user.title()} Example:{home}:/bin/sh")
        (folder / "passwd").write_text("".join(f"{line}\n" for line in accounts))
        (folder / "group").write_text(
            Path("/etc/group").read_text() + "".join(f"{user}:x:{n}:\n" for n, user in enumerate(_USERS, USER_NUMBER))
        )
        (folder / "secrets").write_text("".join(f"{user}:secret:xrdp-sesman\n" for user in _USERS))
        module = f"required {_library('pam_wrapper/pam_matrix.so')} passdb={folder / 'secrets'}"
        (folder / "pam.d").mkdir()
        (folder / "pam.d" / "xrdp-sesman").write_text(
            "".join(f"{kind} {module}\n" for kind in ("auth", "account", "session", "password"))
        )
        (folder / "startwm.sh").write_text("#!/bin/sh\nexec sleep 100000\n")
        (folder / "startwm.sh").chmod(0o755)
        certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        subprocess.run(
            ["openssl", "req", *certificate, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True,
            capture_output=True,
        )
        (folder / "sesman.ini").write_text(_SESMAN.format(folder=folder, display=DISPLAY_MIN, **self.users))


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listens(port: int) -> bool:
    """Tell whether somebody does on loopback: sesman prefers IPv6 there, whatever its file says."""
    for address in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError):
            socket.create_connection((address, port)).close()
            return True
    return False


_SESMAN: Final = """\
[Globals]
ListenAddress=127.0.0.1
ListenPort=3350
EnableUserWindowManager=false
DefaultWindowManager={folder}/startwm.sh
ReconnectScript=/bin/true
[Security]
AlwaysGroupCheck=false
[Sessions]
X11DisplayOffset={display}
MaxSessions=50
Policy=Default
[Logging]
LogFile={folder}/sesman.log
LogLevel=INFO
EnableSyslog=false
[Xvnc]
param=Xvnc
param=-bs
param=-nolisten
param=tcp
param=-localhost
[Xorg]
param=/usr/lib/xorg/Xorg
param=-config
param=xrdp/xorg.conf
param=-noreset
param=-nolisten
param=tcp
param=-logfile
param=.xorgxrdp.%s.log
[ChansrvLogging]
EnableSyslog=false
[SessionVariables]
LD_PRELOAD={LD_PRELOAD}
NSS_WRAPPER_PASSWD={NSS_WRAPPER_PASSWD}
NSS_WRAPPER_GROUP={NSS_WRAPPER_GROUP}
"""

_XRDP: Final = """\
[Globals]
ini_version=1
fork=true
port=tcp://127.0.0.1:{port}
security_layer=tls
certificate={folder}/cert.pem
key_file={folder}/key.pem
ssl_protocols=TLSv1.2, TLSv1.3
autorun={x_server}
allow_channels=true
max_bpp=32
[Logging]
LogFile={folder}/xrdp.log
LogLevel=INFO
EnableSyslog=false
[Channels]
rdpdr=false
rdpsnd=false
drdynvc=false
cliprdr=false
rail=false
[Xvnc]
name=Xvnc
lib=libvnc.so
username=ask
password=ask
ip=127.0.0.1
port=-1
[Xorg]
name=Xorg
lib=libxup.so
username=ask
password=ask
ip=127.0.0.1
port=-1
code=20
"""
