"""Files that a crash leaves whole: how the spool writes them."""

import os
import struct
import zlib
from pathlib import Path
from typing import Final

_CURSOR: Final = struct.Struct(">QI")  # a number and its checksum


def sync_folder(folder: Path) -> None:
    """Put on the disk which files the folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old content or the new."""
    beside = path.with_suffix(".new")
    with open(beside, "wb", opener=for_its_user) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def for_its_user(path: str, flags: int) -> int:
    """Open a file that, if it is new, nobody else may read: it holds names of people."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def read_from(path: Path, offset: int, length: int) -> bytes:
    """Return up to `length` bytes of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


class Tail:
    """The end of a file that grows: what `add` returned for stays."""

    def __init__(self, path: Path) -> None:
        self._file = for_its_user(str(path), os.O_WRONLY | os.O_CREAT)

    def add(self, offset: int, content: bytes) -> None:
        """Put bytes at `offset`, where the file has ended so far, onto the disk."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._file, rest, offset)
            rest, offset = rest[written:], offset + written
        os.fdatasync(self._file)

    def cut(self, size: int) -> None:
        """End the file after `size` bytes, and put that onto the disk."""
        os.ftruncate(self._file, size)
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class Cursor:
    """A number in a file. It is not synced each time: after a power cut it may be an old one, or none."""

    def __init__(self, path: Path) -> None:
        self._file = for_its_user(str(path), os.O_RDWR | os.O_CREAT)

    def read(self) -> int:
        """Return the number, or 0 where none was written whole."""
        content = os.pread(self._file, _CURSOR.size, 0)
        if len(content) < _CURSOR.size:
            return 0
        number, checksum = _CURSOR.unpack(content)
        return int(number) if checksum == zlib.crc32(content[:8]) else 0

    def write(self, number: int) -> None:
        os.pwrite(self._file, _CURSOR.pack(number, zlib.crc32(number.to_bytes(8, "big"))), 0)

    def sync(self) -> None:
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)
