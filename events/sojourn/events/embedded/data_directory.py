"""The data directory: its layout, its locks, who owns what in it, and the making of the PostgreSQL cluster."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sojourn.events.embedded.binaries import (
    SYSTEM_DIR,
    Account,
    Binaries,
    account_of,
    find_binaries,
    make_public,
    unprivileged_account,
)
from sojourn.events.embedded.configuration import CONFIGURATION, HBA, ident, write_file
from sojourn.events.errors import SojournError, Unreachable

LAYOUT = 1  # of the files in the data directory; PostgreSQL's tables have versions of their own

CLUSTERS_DIR = SYSTEM_DIR / "clusters"  # of data directories that the server's account cannot reach
SOCKETS_DIR = Path("/tmp")  # noqa: S108 – short and there for every process; what we find in it is verified
SOCKET_PATH_BYTES_MAX = 90  # the kernel takes 107 with the NUL, of which `/.s.PGSQL.5432` needs 15
INITDB_SECONDS_MAX = 300  # a second on any disk; a stalled one must not hold the lock for ever
POLL_SECONDS = 0.02  # a start takes 0.1 s, of which this wastes little


class Patience:
    """How long a blocking step may wait; `stop` ends the wait from another thread."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def pause(self) -> bool:
        """Wait for one poll; return False when the time is over."""
        if self._stopped.wait(POLL_SECONDS):
            raise Unreachable("the start of PostgreSQL was given up")
        return time.monotonic() < self._until


class DataDirectory:
    """One data directory; nothing is touched before `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.log = self.path / "postgres.log"
        self._cluster = self.path / "postgres"

    def open(self) -> None:
        """Make the directory when there is none, and refuse one that a newer Sojourn has written."""
        with explained(self.path):
            try:
                self.path.mkdir(mode=0o700, parents=True)
            except FileExistsError:
                if not self.path.is_dir():
                    raise SojournError(f"the data directory is a file: {self.path}") from None
            layout = self.path / "layout"
            if layout.exists():
                self._check_layout(layout.read_text(errors="replace").strip())
            elif not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _check_layout(self, found: str) -> None:
        if not (found.isascii() and found.isdigit()):
            raise SojournError(f"the file `layout` should hold the number {LAYOUT}, not {found[:20]!r}: {self.path}")
        if int(found) > LAYOUT:
            raise SojournError(
                f"a newer Sojourn wrote this data directory (layout {found}, this one reads {LAYOUT}); "
                f"run: pip install --upgrade 'sojourn[server]': {self.path}"
            )

    @contextlib.contextmanager
    def locked(self, patience: Patience) -> Iterator[None]:
        """Be the only process that starts or stops the server."""
        with self._lock_file("start.lock") as lock:
            while not try_lock(lock, fcntl.LOCK_EX):
                if not patience.pause():
                    raise Unreachable(f"another process has been starting or stopping PostgreSQL in: {self.path}")
            yield

    def join(self) -> int:
        """Count as a user of the server until the returned descriptor is closed; call it under `locked`."""
        with explained(self.path):
            users = os.open(self.path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        return users

    def has_users(self) -> bool:
        """Return whether any process uses the server; call it under `locked`."""
        with self._lock_file("server.lock") as users:
            return not try_lock(users, fcntl.LOCK_EX)

    @contextlib.contextmanager
    def life(self) -> Iterator[int | None]:
        """Yield a locked descriptor for a new server to inherit, or None while processes of an old one live.

        Every process that PostgreSQL forks inherits it and only death lets go of it, so this knows orphans from
        zombies and from strangers with a reused process id, also across containers.
        """
        with self._lock_file("postgres.lock") as lock:
            yield lock if try_lock(lock, fcntl.LOCK_EX) else None

    @contextlib.contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        with explained(self.path):
            lock = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)

    @property
    def exists(self) -> bool:
        """Whether there is a cluster to start."""
        return (self._cluster / "PG_VERSION").exists()

    def account(self) -> Account:
        """Return who runs the server: the owner of the cluster, and of a new one ourselves or, for root, nobody."""
        if os.geteuid() != 0:
            return account_of(os.geteuid())
        owner = self._cluster.stat().st_uid if self._cluster.exists() else 0
        return account_of(owner) if owner else unprivileged_account()

    def create(self) -> None:
        """Make the cluster when there is none; call it under `locked`."""
        with explained(self.path):
            account = self.account()
            if self._cluster.is_symlink() and not self._cluster.exists():
                raise SojournError(
                    f"the PostgreSQL cluster of this data directory is gone; restore {self._cluster.readlink()}, "
                    f"or remove the link to it to start empty: {self._cluster}"
                )
            binaries = find_binaries(account)
            if self._cluster.exists():
                self._check_version(binaries)
                return
            self._make_cluster(account, binaries)
            write_file(self.path / "layout", f"{LAYOUT}\n")

    def _check_version(self, binaries: Binaries) -> None:
        found = (self._cluster / "PG_VERSION").read_text().strip()
        if found != str(binaries.major):
            raise SojournError(
                f"PostgreSQL {found} made this data directory and this Sojourn brings PostgreSQL {binaries.major}; "
                f"use a Sojourn with PostgreSQL {found}, or move the data over with its pg_dump: {self.path}"
            )

    def _make_cluster(self, account: Account, binaries: Binaries) -> None:
        """Build beside and rename, so that a kill in the middle leaves nothing that looks like a cluster."""
        unfinished = self.path / "postgres.new"
        self._discard(unfinished)
        place = unfinished
        if self._is_ours_to_open() and account.is_other:
            self.path.chmod(self.path.stat().st_mode | 0o011)
        if account.is_other and not account.can_enter(self.path):
            make_public(SYSTEM_DIR)
            make_public(CLUSTERS_DIR)
            place = CLUSTERS_DIR / secrets.token_hex(8)
            unfinished.symlink_to(place)
        place.mkdir(mode=0o700)
        if account.is_other:
            if not account.can_enter(place.parent):
                raise SojournError(
                    f"PostgreSQL runs as the user {account.name}, who must be able to enter the parents of: {place}"
                )
            os.chown(place, account.uid, account.gid)
        options = ["--username=sojourn", "--encoding=UTF8", "--locale=C", "--auth=peer", "--no-instructions"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(account, [str(binaries.folder / "initdb"), f"--pgdata={place}", *options], "")
        single = ["--single", "-D", str(place), "-c", "exit_on_error=on", "postgres"]
        self._run(account, [str(binaries.folder / "postgres"), *single], "CREATE DATABASE sojourn")
        sync_folder(place.parent)
        unfinished.rename(self._cluster)
        sync_folder(self.path)
        sync_folder(self.path.parent)

    def _is_ours_to_open(self) -> bool:
        found = self.path.stat()
        entries = {entry.name for entry in self.path.iterdir()}
        return found.st_uid == os.geteuid() and entries <= {"layout", "start.lock", "server.lock", "postgres.lock"}

    def _discard(self, unfinished: Path) -> None:
        if unfinished.is_symlink():
            place = unfinished.readlink()
            if place.parent == CLUSTERS_DIR:
                shutil.rmtree(place, ignore_errors=True)
            unfinished.unlink()
        elif unfinished.exists():
            shutil.rmtree(unfinished)

    def _run(self, account: Account, command: list[str], text: str) -> None:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=ENVIRONMENT,
            timeout=INITDB_SECONDS_MAX,
            check=False,
            **as_account(account),
        )
        if done.returncode != 0:
            raise self.failure("set up", done.stdout + done.stderr)

    def failure(self, what: str, output: str) -> SojournError:
        """Turn what PostgreSQL printed into the one line that helps; a full disk often cannot even be logged."""
        free = shutil.disk_usage(self._cluster if self._cluster.exists() else self.path).free
        if free < DISK_BYTES_MIN or os.strerror(errno.ENOSPC) in output:
            return SojournError(f"PostgreSQL needs more space on the disk; free some for: {self.path}")
        lines = [line for line in output.splitlines() if line.strip()]
        telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line or "error:" in line]
        said = (telling or lines or ["it said nothing"])[-1]
        for mark in ("FATAL:", "PANIC:", "error:"):
            said = said.rpartition(mark)[2]
        return SojournError(f"PostgreSQL could not be {what} ({said.strip()}); see {self.log.name} in: {self.path}")
