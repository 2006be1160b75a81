"""A log file read to its end again and again, across rotation, truncation and restarts of whoever reads it."""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

READ_BYTES_MAX: Final = 4 << 20  # of one look: sesman writes 3 KB per login, so thousands of logins
LINE_BYTES_MAX: Final = 64 << 10  # without a line break this is no log; what is longer is skipped
HEAD_BYTES_MAX: Final = 128  # the first line has a time and a process id: enough to know a file again


class Place(Struct, frozen=True):
    """How far a file was read; `inode` and its first bytes tell whether it is still the same."""

    inode: int
    offset: int
    head: bytes


class Tail:
    """Reads the whole lines that were added to a file, which need not exist yet."""

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self.path, self._saved = path, place
        self._file: BinaryIO | None = None
        self._offset, self._inode, self._head = 0, 0, b""

    @property
    def place(self) -> Place | None:
        """Where to go on after a restart: behind the last whole line that was read."""
        return Place(self._inode, self._offset, self._head) if self._file is not None else self._saved

    def lines(self) -> list[str]:
        """Return what was added, in order; a renamed file is read to its end before its successor."""
        file = self._file or self._open()
        if file is None:
            return []
        found = self._rest(file)
        if self._was_replaced() and not self._has_more(file):
            self.close()
            self._saved = None
            file = self._open()
            found += self._rest(file) if file is not None else []
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._saved = self.place
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO | None:
        for path in (self._renamed(), self.path):
            if path is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                self._file = path.open("rb")
                break
        if self._file is None:
            return None
        self._inode = os.fstat(self._file.fileno()).st_ino
        head = self._file.read(HEAD_BYTES_MAX)
        saved, self._saved = self._saved, None
        same = saved is not None and saved.inode == self._inode and head.startswith(saved.head)
        self._offset = saved.offset if saved and same else 0
        self._head = saved.head if saved and same else b""
        return self._file

    def _renamed(self) -> Path | None:
        """Return where the file that was being read lies now, if logrotate has moved it and did not compress it."""
        if self._saved is None:
            return None
        other = self.path.with_name(f"{self.path.name}.1")
        for path in (self.path, other):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == self._saved.inode:
                    return path
        return None

    def _was_replaced(self) -> bool:
        try:
            return self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False  # it will be there again; until then the old one may still be written

    def _has_more(self, file: BinaryIO) -> bool:
        """Tell whether whole lines are left, since one look reads no more than a bound."""
        file.seek(self._offset)
        return b"\n" in file.read(LINE_BYTES_MAX)

    def _rest(self, file: BinaryIO) -> list[str]:
        if os.fstat(file.fileno()).st_size < self._offset or not self._begins_as_before(file):
            self._offset, self._head = 0, b""  # truncated in place, as logrotate's copytruncate does
        file.seek(self._offset)
        block = file.read(READ_BYTES_MAX)
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) > LINE_BYTES_MAX:
            whole = block
        self._offset += len(whole)
        if len(self._head) < HEAD_BYTES_MAX:
            file.seek(0)
            self._head = file.read(min(HEAD_BYTES_MAX, self._offset))
        return [line.decode(errors="replace") for line in whole.split(b"\n") if 0 < len(line) <= LINE_BYTES_MAX]

    def _begins_as_before(self, file: BinaryIO) -> bool:
        file.seek(0)
        return file.read(len(self._head)) == self._head
