"""The data directory: its layout, its locks, and the PostgreSQL cluster in it or, for root, behind a link."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sojourn.events.embedded.binaries import Account, account_of, unprivileged_account
from sojourn.events.embedded.configuration import write_file
from sojourn.events.errors import SojournError

LAYOUT = 1  # of the files in the data directory; PostgreSQL's tables have versions of their own

_SOCKETS_DIR = Path("/tmp")  # noqa: S108 - short, the same for every process; what is found there is verified
_SOCKET_FOLDER_BYTES_MAX = 90  # the kernel takes 108 with the NUL, of which `/.s.PGSQL.5432` needs 15
_SOCKET_FOLDER_FORBIDDEN = frozenset(',"\\\n')  # libpq or postgresql.conf would read these as syntax
_DISK_BYTES_MIN = 32 << 20  # a start writes up to two WAL segments of 16 MB
_UPGRADE = "pip install --upgrade 'sojourn[server]'"


class DataDirectory:
    """One data directory; nothing is touched before `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.cluster_link = self.path / "postgres"
        self.log = self.path / "postgres.log"

    def open(self) -> None:
        """Make the directory when there is none, and refuse one that a newer Sojourn has written."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700, parents=True)
        if not self.path.is_dir():
            raise SojournError(f"the data directory must be a directory: {self.path}")
        layout = self.path / "layout"
        if not layout.exists():
            return
        found = layout.read_text(errors="replace").strip()
        if not (found.isascii() and found.isdigit()):
            raise SojournError(f"the file should hold a number, not {found[:20]!r}: {layout}")
        if int(found) > LAYOUT:
            raise SojournError(
                f"a newer Sojourn wrote this data directory (layout {found}, this one knows {LAYOUT}); "
                f"run {_UPGRADE}: {self.path}"
            )

    def mark(self) -> None:
        """Write which layout this directory has."""
        if not (self.path / "layout").exists():
            write_file(self.path / "layout", f"{LAYOUT}\n")

    @contextlib.contextmanager
    def lock_file(self, name: str) -> Iterator[int]:
        """Yield an open lock file; closing it lets go of the lock unless another process inherited it."""
        lock = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def life(self) -> Iterator[int | None]:
        """Yield a locked descriptor for a new server to inherit, or None while a process of an old one lives.

        PostgreSQL's processes inherit it and only their death lets go of it. So it tells orphans from zombies and
        from strangers with a reused process id, in other containers too. Call it under `start.lock`.
        """
        with self.lock_file("postgres.lock") as lock:
            yield lock if try_lock(lock) else None

    def has_users(self) -> bool:
        """Return whether a process uses the server; call it under `start.lock`."""
        with self.lock_file("server.lock") as lock:
            return not try_lock(lock)

    @property
    def cluster(self) -> Path:
        """Where the cluster really is."""
        return self.cluster_link.resolve()

    def has_cluster(self, major: int) -> bool:
        """Return whether there is a cluster; refuse one of another PostgreSQL, and one that was there and is gone."""
        if self.cluster_link.is_symlink() and not self.cluster.exists():
            raise SojournError(
                f"the PostgreSQL cluster of this data directory is gone; restore {self.cluster}, "
                f"or start empty by removing the link: {self.cluster_link}"
            )
        if not self.cluster_link.exists():
            return False
        found = (self.cluster / "PG_VERSION").read_text(errors="replace").strip()
        if found != str(major):
            raise SojournError(
                f"PostgreSQL {found} wrote this data directory and this Sojourn brings PostgreSQL {major}; "
                f"use the Sojourn that wrote it, or run {_UPGRADE}: {self.path}"
            )
        return True

    def account(self) -> Account:
        """Return who runs the server: the owner of the cluster; of a new one ourselves or, for root, nobody."""
        if os.geteuid() != 0:
            return account_of(os.geteuid())
        owner = self.cluster.stat().st_uid if self.cluster.exists() else 0
        return account_of(owner) if owner else unprivileged_account()

    @property
    def sockets(self) -> Path:
        """The folder of the server's socket: in the cluster, or a short one where the path would be too long."""
        inside = self.cluster / "socket"
        text = str(inside)
        if len(os.fsencode(inside)) <= _SOCKET_FOLDER_BYTES_MAX and not _SOCKET_FOLDER_FORBIDDEN & set(text):
            return inside
        return _SOCKETS_DIR / f"sojourn-{hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]}"

    def make_sockets(self, account: Account) -> None:
        """Make the folder of the socket, and refuse one that somebody else has put there."""
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if self.sockets.lstat().st_uid == os.geteuid():
            os.chown(self.sockets, account.uid, account.gid, follow_symlinks=False)
        found = self.sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o77:
            raise SojournError(f"this should be a folder that only {account.name} can enter; remove it: {self.sockets}")

    def remove_sockets(self) -> None:
        """Remove the folder of a stopped server's socket, so that none is left outside the data directory."""
        shutil.rmtree(self.sockets, ignore_errors=True)

    def is_full(self, output: str) -> bool:
        """Return whether PostgreSQL failed for want of space; on a full disk it often cannot log so."""
        free = shutil.disk_usage(self.cluster if self.cluster.exists() else self.path).free
        return free < _DISK_BYTES_MIN or os.strerror(errno.ENOSPC) in output

    def failure(self, what: str, output: str) -> SojournError:
        """Turn what PostgreSQL printed into the line that helps."""
        if self.is_full(output):
            return SojournError(f"PostgreSQL needs more space on the disk; free some for: {self.path}")
        said = (telling(output) or output.split("\n"))[-1].strip() or "it said nothing"
        return SojournError(f"PostgreSQL cannot be {what} ({said}); more may stand in {self.log.name} in: {self.path}")


def try_lock(file: int) -> bool:
    """Lock an open file for this process alone, if nobody has a lock on it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def telling(output: str) -> list[str]:
    """Return what PostgreSQL gave as the reasons of its end."""
    marks = ("FATAL:", "PANIC:", "error:")
    return [line.rpartition(mark)[2].strip() for line in output.splitlines() for mark in marks if mark in line]


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's refusals into one line that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise SojournError(
            f"no permission ({error.filename or 'denied'}); name another directory by --data-dir or "
            f"SOJOURN_DATA_DIR, or run as the owner of: {path}"
        ) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise SojournError(f"no space left on the disk; free some for: {path}") from error
        reason = (error.strerror or str(error)).lower()
        raise SojournError(
            f"the data directory cannot be used ({reason}); name another by --data-dir: {path}"
        ) from error
