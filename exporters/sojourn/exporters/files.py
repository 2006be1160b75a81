"""What the writers of all formats share: the port, and files that are counted and hashed as they are written."""

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Struct

UNFINISHED: Final = ".unfinished"  # ends the name of a file that must not look like one yet


class FileEntry(Struct, frozen=True):
    """One file of a dataset, as its manifest lists it; `path` is relative and without `UNFINISHED`."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Writer(Protocol):
    """What an export asks of a format. `tests/contract/writer_contract.py` holds every one to it."""

    def write(self, batch: Any) -> None:
        """Add a record batch; rows come in the order of the dataset, and ordered by tenant before that."""

    def close(self) -> list[FileEntry]:
        """Finish all files and return them."""

    def abort(self) -> None:
        """Let go of open files; what was written is of no use."""


class OutputFile(io.RawIOBase):
    """A new file that knows its size and digest; `rows` is for its writer to count."""

    def __init__(self, folder: Path, path: str) -> None:
        super().__init__()
        place = folder / (path + UNFINISHED)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = place.open("xb")
        except FileExistsError:
            raise ValueError(f"rows out of order, this file was finished before: {path}") from None
        self._digest = hashlib.sha256()
        self._path = path
        self._bytes = 0
        self._abandoned = False
        self.rows = 0

    def writable(self) -> bool:
        """Tell Arrow that this is for writing."""
        return True

    def write(self, chunk: Any) -> int:
        """Write all of the chunk."""
        size = memoryview(chunk).nbytes
        if self._abandoned:
            return size
        self._file.write(chunk)
        self._digest.update(chunk)
        self._bytes += size
        return size

    def tell(self) -> int:
        """Return how much was written."""
        return self._bytes

    def finish(self) -> FileEntry:
        """Close the file."""
        self._file.close()
        return FileEntry(self._path, self.rows, self._bytes, self._digest.hexdigest())

    def abandon(self) -> None:
        """Close the file; what is still written goes nowhere, since Arrow's writers insist on their end."""
        self._abandoned = True
        with suppress(OSError):  # the disk is full: what is buffered does not matter any more
            self._file.close()
