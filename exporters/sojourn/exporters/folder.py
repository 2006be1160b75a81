"""The folder that an export goes to: it shows nothing before everything is there, and a failed one can be tried again.

All is written into a locked folder within it, whose files do not look like any. Then what belongs there moves up: the
data, then `_manifest.json`, then `_SUCCESS`. Not a sibling that replaces it, since it may be a mount point.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sojourn.events.errors import SojournError
from sojourn.exporters.files import UNFINISHED, FileEntry

MANIFEST: Final = "_manifest.json"
SUCCESS: Final = "_SUCCESS"

SYNCS_AT_ONCE_MAX: Final = 16  # a file system writes its journal once for all of them; one by one costs milliseconds
_PUBLISHED: Final = re.compile(r"tenant=[\w-]+|(current|history)\.csv|_manifest\.json")
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


class ExportFailed(SojournError):
    """the export did not succeed; its folder shows nothing"""


class OutputFolder:
    """A folder to fill; `staging` is where to write."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.staging = out / UNFINISHED
        self._moved: list[Path] = []

    def publish(self, files: Sequence[FileEntry], manifest: bytes) -> None:
        """Bring the files to the disk, let them appear, and say last that they are complete."""
        for entry in files:
            place = self.staging / entry.path
            place.with_name(place.name + UNFINISHED).rename(place)
        with ThreadPoolExecutor(SYNCS_AT_ONCE_MAX) as threads:
            for _ in threads.map(_sync, self.staging.rglob("*")):
                pass  # its error is raised here
        for name in sorted({Path(entry.path).parts[0] for entry in files}):
            self._move_up(name)
        _sync(self.out)  # a power cut must not leave a manifest whose files never came
        for name, content in ((MANIFEST, manifest), (SUCCESS, b"")):
            place = self.staging / name
            place.write_bytes(content)
            _sync(place)
            self._move_up(name)
            _sync(self.out)

    def clear(self) -> None:
        """Remove what this export left."""
        for place in (*self._moved, self.staging):
            _remove(place)

    def _move_up(self, name: str) -> None:
        self._moved.append(self.out / name)
        (self.staging / name).rename(self.out / name)


@contextmanager
def output_folder(out: Path) -> Iterator[OutputFolder]:
    """Hold the folder `out`, made if need be; if nothing is published in the end, it is as it was.

    Raises `ExportFailed`, also for what goes wrong on the disk meanwhile.
    """
    with _explained(out), _made(out), _locked(out):
        folder = OutputFolder(out)
        try:
            yield folder
        except BaseException:
            folder.clear()
            raise
        shutil.rmtree(folder.staging, ignore_errors=True)  # empty folders only, and the export is complete


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ExportFailed(f"no space is left for the export; free some and run it again: {out}") from error
        if error.errno in _FORBIDDEN:
            raise ExportFailed(
                f"this user may not write there; name another folder: {error.filename or out}"
            ) from error
        raise ExportFailed(f"cannot write the export ({error.strerror or error}): {error.filename or out}") from error


@contextmanager
def _made(out: Path) -> Iterator[None]:
    """Make the folder and its parents, and remove them again when that was for nothing."""
    if out.is_symlink():
        raise ExportFailed(f"an export goes into no symbolic link; name the folder itself: {out}")
    if out.exists() and not out.is_dir():
        raise ExportFailed(f"an export needs a folder, and this is none: {out}")
    missing = [place for place in (out, *out.parents) if not place.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # somebody else has put something there
            for place in missing:
                place.rmdir()
        raise


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make the staging folder, or take over that of an export that was killed."""
    staging = out / UNFINISHED
    killed = staging.is_dir() and not staging.is_symlink()
    _leftovers(out, killed=killed)
    if not killed:
        staging.mkdir()
    lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportFailed(f"another export is being written here; name another folder: {out}") from None
        for place in (*_leftovers(out, killed=killed), *staging.iterdir()):
            _remove(place)
        yield
    finally:
        os.close(lock)


def _leftovers(out: Path, *, killed: bool) -> list[Path]:
    """Return what an export left that was killed while its files appeared; raise `ExportFailed` for anything else."""
    there = [place for place in sorted(out.iterdir()) if place.name != UNFINISHED]
    if any(place.name == SUCCESS for place in there):
        raise ExportFailed(f"a complete export is here already; name another folder, or remove it: {out}")
    for place in there:
        if not (killed and _PUBLISHED.fullmatch(place.name)):
            raise ExportFailed(f"an export needs an empty folder; name another than that of: {place}")
    return there


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
