"""The supervisor of the embedded PostgreSQL: starts it when it is not running, and the last user stops it.

Everything here blocks; `database.py` runs it in threads.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from sojourn.events.embedded.binaries import Account, find_binaries
from sojourn.events.embedded.cluster import create_cluster
from sojourn.events.embedded.configuration import ENVIRONMENT, configure
from sojourn.events.embedded.data_directory import DataDirectory, explained, telling, try_lock
from sojourn.events.errors import Unreachable

RECOVERY_SECONDS_MAX = 3600  # replaying max_wal_size (4 GB) takes minutes; longer than this it is stuck
WAIT_SECONDS_MAX = 60  # for a server that shows no sign of life, and for one that stops
LEAVE_SECONDS_MAX = 2  # for another process that starts or stops the server for longer: it stops it in our place
LOG_BYTES_MAX = 8 << 20  # weeks of messages; one older file of this size is kept

_POLL_SECONDS = 0.02  # a start takes 0.1 s, of which this wastes little
_TELL_SECONDS = 5  # who waits longer wants to know why
_RELAUNCH_SECONDS = 0.5  # each launch writes to the log
_PROBE_SECONDS = 2  # libpq waits no shorter
_CHANGING = "the database system is"  # … starting up, shutting down, in recovery mode
_CROWDED = ("too many clients", "connection slots")

log = structlog.get_logger()


class State(Enum):
    """What a connection attempt tells about the server."""

    READY = auto()
    CHANGING = auto()  # it starts, recovers or stops
    CROWDED = auto()  # others hold all connections
    REFUSED = auto()  # waiting does not mend it
    SILENT = auto()


class Patience:
    """How long to wait: `seconds` without progress, `seconds_max` in all; `stop` ends it from another thread."""

    def __init__(self, seconds: float, seconds_max: float) -> None:
        now = time.monotonic()
        self._seconds = seconds
        self._until = now + seconds
        self._latest = now + seconds_max
        self._tell_at = now + _TELL_SECONDS
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the wait."""
        self._stopped.set()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= min(self._until, self._latest)

    def pause(self, what: str, seconds: float = _POLL_SECONDS, *, progress: bool = False) -> bool:
        """Wait a moment for `what`; return False when the time is over."""
        if self._stopped.wait(seconds):
            raise Unreachable(f"waiting was given up: {what}")
        if time.monotonic() > self._tell_at:
            log.warning("waiting for PostgreSQL", reason=what)
            self._tell_at += _TELL_SECONDS
        if progress:
            self._until = time.monotonic() + self._seconds
        return not self.is_over


class PostgresServer:
    """The server of one data directory, used by this process from `open` to `leave`."""

    def __init__(self, path: Path) -> None:
        self._directory = DataDirectory(path)
        self._users: int | None = None
        self.dsn = ""

    def open(self, patience: Patience) -> None:
        """Count this process as a user of the server and return when that takes connections."""
        with explained(self._directory.path):
            self._directory.open()
            with self._starting(patience):
                self._directory.mark()
                self._users = os.open(
                    self._directory.path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                fcntl.flock(self._users, fcntl.LOCK_SH)
                try:
                    self._bring_up(patience, create=True)
                except BaseException:
                    self._stop_if_unused(Patience(WAIT_SECONDS_MAX, WAIT_SECONDS_MAX))
                    raise

    def restart(self, patience: Patience) -> None:
        """Return when the server takes connections again; never makes an empty cluster in place of a lost one."""
        with explained(self._directory.path), self._starting(patience):
            if self._users is None:  # closed while we waited: nobody would stop what we start
                raise Unreachable(f"the database has been closed: {self._directory.path}")
            self._bring_up(patience, create=False)

    def leave(self, patience: Patience) -> None:
        """Stop the server unless another process uses it."""
        if self._users is None:
            return
        self._forget()  # before waiting: whoever holds the lock now may then stop the server for us
        with explained(self._directory.path), self._starting(Patience(LEAVE_SECONDS_MAX, LEAVE_SECONDS_MAX)):
            self._stop_if_unused(patience)

    def _stop_if_unused(self, patience: Patience) -> None:
        self._forget()
        if not self._directory.has_users():
            self._stop(patience)

    def _forget(self) -> None:
        if self._users is not None:
            os.close(self._users)
        self._users = None

    @contextlib.contextmanager
    def _starting(self, patience: Patience) -> Iterator[None]:
        """Be the only process that starts or stops this server."""
        with self._directory.lock_file("start.lock") as lock:
            while not try_lock(lock):
                reason = f"another process starts or stops PostgreSQL in: {self._directory.path}"
                if not patience.pause(reason, progress=True):
                    raise Unreachable(reason)
            yield

    def _bring_up(self, patience: Patience, *, create: bool) -> None:
        account = self._directory.account()
        launched_at: int | None = None
        while True:
            state, said = self._probe(account)
            if state is State.READY:
                return
            seconds, progress = _POLL_SECONDS, state is State.CHANGING
            with self._directory.life() as life:
                if life is not None and state is State.SILENT:
                    if launched_at is None:
                        progress = True  # making a cluster takes its time
                    else:
                        self._judge_end(launched_at)
                        seconds = _RELAUNCH_SECONDS
                    launched_at = self._launch(account, life, create=create)
                    account = self._directory.account()
            if state is State.SILENT:
                said = "it does not answer, but processes of it still run; end them if it stays so"
            reason = f"PostgreSQL takes no connection ({said}); try again later: {self._directory.path}"
            if state is State.REFUSED or not patience.pause(reason, seconds, progress=progress):
                raise Unreachable(reason)

    def _probe(self, account: Account) -> tuple[State, str]:
        """Try a connection and return how the server took it, with its words."""
        if not self._directory.cluster_link.exists():
            return State.SILENT, ""
        self.dsn = make_conninfo(
            host=str(self._directory.sockets),
            port=5432,
            user="sojourn",
            dbname="sojourn",
            requirepeer=account.name,
            connect_timeout=10,
            options="-c TimeZone=UTC",
            fallback_application_name="sojourn",
        )
        try:
            psycopg.connect(self.dsn, connect_timeout=_PROBE_SECONDS).close()
        except psycopg.OperationalError as error:
            said = " ".join(telling(str(error))[:1])
            if _CHANGING in said:
                return State.CHANGING, said
            if any(words in said for words in _CROWDED):
                return State.CROWDED, said
            return (State.REFUSED if said else State.SILENT), said
        return State.READY, ""

    def _launch(self, account: Account, life: int, *, create: bool) -> int:
        """Start the server detached from us and return where its part of the log begins."""
        directory = self._directory
        binaries = find_binaries(account)
        if not directory.has_cluster(binaries.major):
            if not create:
                raise Unreachable(f"the data directory has gone while it was in use: {directory.path}")
            create_cluster(directory, account, binaries, life)
        directory.make_sockets(account)
        configure(directory.cluster, directory.sockets, account)
        for stale in (directory.cluster / "postmaster.pid", directory.sockets / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)  # no process of ours lives, so the number in it is a stranger's or a zombie's
        self.trim_log()
        output = os.open(directory.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            begin = os.fstat(output).st_size
            # The shell ends at once and leaves the server to init: a child of ours would stay as a zombie.
            subprocess.run(
                ["/bin/sh", "-c", '"$0" -D "$1" &', str(binaries.folder / "postgres"), str(directory.cluster)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=ENVIRONMENT,
                pass_fds=(life,),
                start_new_session=True,  # or Ctrl-C in our terminal would reach it
                check=True,
                **account.identity,
            )
        finally:
            os.close(output)
        return begin

    def _judge_end(self, begin: int) -> None:
        """Raise unless the server that we launched has ended for a reason that may pass."""
        with self._directory.log.open("rb") as file:
            file.seek(begin)
            output = file.read(LOG_BYTES_MAX).decode(errors="replace")
        output = "\n".join(line for line in output.splitlines() if _CHANGING not in line)  # told to our probes
        reasons = telling(output)
        was_killed = not reasons and (not output or "LOG:" in output)
        may_pass = was_killed or (reasons and "still in use" in reasons[-1])  # orphans hold its shared memory
        if not may_pass or self._directory.is_full(output):
            raise self._directory.failure("started", output)

    def _stop(self, patience: Patience) -> None:
        """Ask the server to end its connections and itself, and wait until its last process is gone."""
        account = self._directory.account()
        asked = False
        while True:
            with self._directory.life() as life:
                if life is not None:
                    break
            if not asked and self._probe(account)[0] is not State.SILENT:
                asked = self._interrupt(account)
            if not patience.pause(f"it is stopping: {self._directory.path}"):
                return
        if self._directory.cluster_link.exists():
            self._directory.remove_sockets()

    def _interrupt(self, account: Account) -> bool:
        """Send the fast shutdown; the server has just answered, so the number in its file is its own.

        As its user, not as root: that user could have written any number there.
        """
        with contextlib.suppress(FileNotFoundError):  # it has ended since
            number = (self._directory.cluster / "postmaster.pid").read_text().split("\n", 1)[0]
            if number.isdecimal():
                kill = ["/bin/sh", "-c", 'kill -INT "$0"', number]
                done = subprocess.run(kill, capture_output=True, cwd="/", check=False, **account.identity)
                return done.returncode == 0
        return False

    @property
    def has_long_log(self) -> bool:
        """Whether `trim_log` has work to do."""
        try:
            return self._directory.log.stat().st_size > LOG_BYTES_MAX
        except FileNotFoundError:
            return False

    def trim_log(self) -> None:
        """Keep the log bounded; the server appends, so it goes on at the new end."""
        if self.has_long_log:
            shutil.copyfile(self._directory.log, self._directory.log.with_name("postgres.log.1"))
            os.truncate(self._directory.log, 0)
