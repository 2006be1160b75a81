"""Where the files of jobs lie: DATA_DIR/exports/TENANT/JOB/ATTEMPT, for nobody but the user that runs Sojourn.

Every attempt has its own folder, so that a worker that was only slow writes into none that another one shows.
"""

import os
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from sojourn.events.errors import SojournError
from sojourn.exporters.folder import SUCCESS

EXPORTS: Final = "exports"

_MODE: Final = 0o700


class FolderRefused(SojournError):
    """an export is written into no such place"""


def made(parent: Path, *names: str, mode: int = _MODE) -> Path:
    """Make folders below a folder and return the last; raises `FolderRefused` for a symbolic link on the way."""
    place = parent
    for name in names:
        place = place / name
        place.mkdir(mode=mode, exist_ok=True)
        if place.is_symlink():
            raise FolderRefused(f"an export goes through no symbolic link: {place}")
    return place


def attempt_folder(data_dir: Path, tenant: str, job_id: UUID, attempt: int) -> Path:
    """Return where an attempt writes, which is not there yet unless an earlier attempt was complete: then it is this.

    What other attempts left is gone. Blocks.
    """
    job = made(data_dir, EXPORTS, tenant, str(job_id))
    wanted = job / str(attempt)
    complete = [place for place in job.iterdir() if not place.is_symlink() and (place / SUCCESS).is_file()]
    for place in job.iterdir():
        if place not in complete[:1]:
            remove(place)
    if complete and complete[0] != wanted:
        complete[0].rename(wanted)
    return wanted


def remove_job(data_dir: Path, tenant: str, job_id: UUID) -> None:
    """Remove all files of a job; blocks."""
    remove(data_dir / EXPORTS / tenant / str(job_id))


def remove_attempt(data_dir: Path, tenant: str, job_id: UUID, attempt: int) -> None:
    """Remove what an attempt wrote; blocks."""
    remove(data_dir / EXPORTS / tenant / str(job_id) / str(attempt))


def known_jobs(data_dir: Path) -> dict[UUID, str]:
    """Return the jobs that have a folder here, and whose they are; blocks."""
    root = data_dir / EXPORTS
    found: dict[UUID, str] = {}
    for place in root.glob("*/*") if root.is_dir() else ():
        with suppress(ValueError):  # somebody else's
            found[UUID(place.name)] = place.parent.name
    return found


def open_file(data_dir: Path, tenant: str, job_id: UUID, attempt: int, path: str) -> int:
    """Return a descriptor for reading a file of a job; raises OSError, also for a link or a way out on the path."""
    names = [EXPORTS, tenant, str(job_id), str(attempt), *path.split("/")]
    if any(name in {"", ".", ".."} for name in names):
        raise FileNotFoundError(path)
    with ExitStack() as stack:
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, folder)
        for name in names[:-1]:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            stack.callback(os.close, folder)
        return os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


def remove(place: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
