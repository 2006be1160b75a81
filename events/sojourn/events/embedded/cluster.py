"""Makes a new PostgreSQL cluster, in one step as others see it."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from sojourn.events.embedded.binaries import SYSTEM_DIR, Account, Binaries, make_public
from sojourn.events.embedded.configuration import ENVIRONMENT, sync_folder
from sojourn.events.embedded.data_directory import DataDirectory
from sojourn.events.errors import SojournError

CLUSTERS_DIR = SYSTEM_DIR / "clusters"  # of data directories that the server's account cannot reach

_INITDB_SECONDS_MAX = 300  # it takes one; a stalled disk must not hold the lock for ever
_OURS = frozenset({"layout", "start.lock", "server.lock", "postgres.lock", "postgres.new", "up.lock"})
_INITDB = (
    "--username=sojourn",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=peer",
    "--no-instructions",
)


def create_cluster(directory: DataDirectory, account: Account, binaries: Binaries, life: int) -> None:
    """Build it beside and rename, so that a kill in the middle leaves nothing that looks like a cluster.

    PostgreSQL's programs inherit the lock `life`, so the next process waits for the end of what a killed one started.
    """
    unfinished = directory.path / "postgres.new"
    _discard(unfinished)
    place = _choose_place(directory.path, account, unfinished)
    place.mkdir(mode=0o700)
    os.chown(place, account.uid, account.gid)
    steps = (
        (["initdb", f"--pgdata={place}", *_INITDB], ""),
        (["postgres", "--single", "-D", str(place), "-c", "exit_on_error=on", "postgres"], "CREATE DATABASE sojourn\n"),
    )
    for (program, *options), text in steps:
        done = subprocess.run(
            [str(binaries.folder / program), *options],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            env=ENVIRONMENT,
            pass_fds=(life,),
            timeout=_INITDB_SECONDS_MAX,
            check=False,
            **account.identity,
        )
        if done.returncode != 0:
            failure = directory.failure("set up", done.stdout)
            _discard(unfinished)
            raise failure
    sync_folder(place.parent)
    unfinished.rename(directory.cluster_link)
    sync_folder(directory.path)
    sync_folder(directory.path.parent)


def _choose_place(path: Path, account: Account, unfinished: Path) -> Path:
    """Return the data directory's own folder or, behind a link, one that the server's account can reach."""
    if not account.is_other:
        return unfinished
    if path.stat().st_uid == os.geteuid() and {entry.name for entry in path.iterdir()} <= _OURS:
        path.chmod(path.stat().st_mode | 0o011)
    if account.can_enter(path):
        return unfinished
    make_public(SYSTEM_DIR)
    make_public(CLUSTERS_DIR)
    if not account.can_enter(CLUSTERS_DIR):
        raise SojournError(
            f"PostgreSQL runs as {account.name}, who can enter neither {path} nor, "
            f"until others may (chmod o+x) enter its parents: {CLUSTERS_DIR}"
        )
    place = CLUSTERS_DIR / secrets.token_hex(8)
    unfinished.symlink_to(place)
    return place


def _discard(unfinished: Path) -> None:
    if unfinished.is_symlink():
        place = unfinished.readlink()
        if place.parent == CLUSTERS_DIR:
            shutil.rmtree(place, ignore_errors=True)
        unfinished.unlink()
    elif unfinished.exists():
        shutil.rmtree(unfinished)
