"""Where exports may go besides the console: folders that the operator of the machine names, with one for each tenant.

Nobody who asks for an export names a folder, and no symbolic link is followed.
"""

import os
import threading
from pathlib import Path
from typing import Final, NamedTuple

from sojourn.console.jobs.folders import FolderRefused, made, remove
from sojourn.exporters.folder import MANIFEST

_OPEN: Final = 0o777  # less the umask of who runs Sojourn: others come for these files
_CHUNK_BYTES: Final = 1 << 20  # copied in milliseconds


class Copied(NamedTuple):
    """A dataset that is complete in a destination and need only appear under its name."""

    staging: Path
    place: Path


def copy(
    dataset: Path, destination: Path, tenant: str, name: str, attempt: int, stopping: threading.Event
) -> Copied | None:
    """Copy a complete dataset beside where it will appear; blocks until that is done or, with None, it is stopping."""
    if not destination.is_dir() or destination.is_symlink():
        raise FolderRefused(f"this destination is no folder: {destination}")
    tenants = made(destination, tenant, mode=_OPEN)
    for left in tenants.glob(f".{name}.*"):  # of attempts that were killed
        remove(left)
    staging = made(tenants, f".{name}.{attempt}", mode=_OPEN)
    try:
        for path in sorted(dataset.rglob("*")):
            place = staging / path.relative_to(dataset)
            if path.is_dir():
                place.mkdir()
            elif not _copy_file(path, place, stopping):
                remove(staging)
                return None
        for folder in (staging, *(path for path in staging.rglob("*") if path.is_dir())):
            _sync(folder)
    except BaseException:
        remove(staging)
        raise
    return Copied(staging, tenants / name)


def appear(copied: Copied) -> None:
    """Let a copied dataset appear; one of an attempt that was killed gives way."""
    if copied.place.is_symlink():
        raise FolderRefused(f"an export takes the place of no symbolic link: {copied.place}")
    if copied.place.exists():
        if (copied.place / MANIFEST).read_bytes() == (copied.staging / MANIFEST).read_bytes():
            remove(copied.staging)
            return
        old = copied.staging.with_name(copied.staging.name + ".old")
        copied.place.rename(old)
        copied.staging.rename(copied.place)
        remove(old)
    else:
        copied.staging.rename(copied.place)
    _sync(copied.place.parent)


def _copy_file(path: Path, place: Path, stopping: threading.Event) -> bool:
    with path.open("rb") as source, place.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            if stopping.is_set():
                return False
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return True


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
