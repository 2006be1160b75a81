"""Several files as one .zip: stored, since Parquet is compressed, and the same bytes every time, so one can resume.

The checksum of a file is found by reading it just before it is sent; all readers understand that, unlike descriptors
behind stored files. The layout is that of PKWARE's APPNOTE 6.3.9, with its zip64 records only where sizes need them.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple

from sojourn.console.jobs.pieces import Open, Piece, bytes_piece, file_piece, read_file

LARGE: Final = 0xFFFF_FFFF  # a size or place from here on stands in a zip64 record
MANY: Final = 0xFFFF  # as many files, too

_VERSION: Final = 45  # of readers, which know zip64
_UNIX: Final = 3 << 8
_UTF8: Final = 0x0800
_DAY: Final = (1 << 5) | 1  # 1980-01-01, the first that a zip can say: the time of a file is no part of an export
_MODE: Final = 0o100644 << 16


class Entry(NamedTuple):
    """A file of the archive."""

    name: str
    size: int
    open_file: Open


def zip_pieces(entries: Sequence[Entry]) -> list[Piece]:
    """Return the archive."""
    pieces: list[Piece] = []
    places: list[int] = []
    place = 0
    checksums = [_checksum(entry) for entry in entries]
    for entry, checksum in zip(entries, checksums, strict=True):
        places.append(place)
        head = bytes_piece(len(_head(entry, 0)), _made(_head, entry, checksum))
        pieces += [head, file_piece(entry.size, entry.open_file)]
        place += head.size + entry.size

    def directory(sums: Sequence[int]) -> bytes:
        listed = b"".join(map(_listed, entries, sums, places))
        return listed + _end(len(entries), len(listed), place)

    size = len(directory([0] * len(entries)))
    return [*pieces, bytes_piece(size, lambda: directory([checksum() for checksum in checksums]))]


def _made(make: Callable[[Entry, int], bytes], entry: Entry, checksum: Callable[[], int]) -> Callable[[], bytes]:
    return lambda: make(entry, checksum())


def _checksum(entry: Entry) -> Callable[[], int]:
    @cache
    def find() -> int:
        found = 0
        for chunk in read_file(entry.open_file, 0, entry.size):
            found = zlib.crc32(chunk, found)
        return found

    return find


def _head(entry: Entry, checksum: int) -> bytes:
    name = entry.name.encode()
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size) if entry.size >= LARGE else b""
    size = min(entry.size, LARGE)
    fixed = struct.pack(
        "<IHHHHHIIIHH", 0x04034B50, _VERSION, _UTF8, 0, 0, _DAY, checksum, size, size, len(name), len(extra)
    )
    return fixed + name + extra


def _listed(entry: Entry, checksum: int, place: int) -> bytes:
    name = entry.name.encode()
    large = [entry.size, entry.size] if entry.size >= LARGE else []
    large += [place] if place >= LARGE else []
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    size = min(entry.size, LARGE)
    fixed = struct.pack(
        "<IHHHHHHIIIHHHHHII",
        *(0x02014B50, _UNIX | _VERSION, _VERSION, _UTF8, 0, 0, _DAY, checksum, size, size, len(name), len(extra)),
        *(0, 0, 0, _MODE, min(place, LARGE)),
    )
    return fixed + name + extra


def _end(count: int, size: int, place: int) -> bytes:
    record = b""
    if count >= MANY or size >= LARGE or place >= LARGE:
        end = place + size
        record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, _VERSION, _VERSION, 0, 0, count, count, size, place)
        record += struct.pack("<IIQI", 0x07064B50, 0, end, 1)
    some = min(count, MANY)
    return record + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, some, some, min(size, LARGE), min(place, LARGE), 0)
