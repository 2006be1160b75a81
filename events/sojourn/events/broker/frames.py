"""How events stand in the files of a spool: numbered, and with a checksum, so that a torn end is seen."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

SEARCHED_MAX: Final = 64  # events; what is damaged for longer than this looks like a torn end

_LENGTH: Final = struct.Struct(">II")  # of the value, and the checksum of all that follows
_NUMBER: Final = struct.Struct(">Q")  # how many events were ever spooled before this one
_PLACE: Final = struct.Struct(">H")  # within its group, from 0 on

HEADER_BYTES: Final = _LENGTH.size + _NUMBER.size + _PLACE.size
GROUP_EVENTS_MAX: Final = 1000  # their places take two bytes; more would be written for longer than a sync takes


class Frame(NamedTuple):
    """One event as it stands in a file; a group begins with place 0, and the next frame stands at `end`."""

    value: bytes
    place: int
    end: int


def frame(number: int, place: int, value: bytes) -> bytes:
    """Return the bytes of one event."""
    checked = _NUMBER.pack(number) + _PLACE.pack(place) + value
    return _LENGTH.pack(len(value), zlib.crc32(checked)) + checked


def frames(content: bytes, offset: int, number: int) -> Iterator[Frame]:
    """Yield the frames from `offset` on, numbered from `number` on, up to the first that is not whole."""
    while offset + HEADER_BYTES <= len(content):
        length, checksum = _LENGTH.unpack_from(content, offset)
        start, end = offset + HEADER_BYTES, offset + HEADER_BYTES + length
        checked = content[offset + _LENGTH.size : end]
        is_whole = end <= len(content) and zlib.crc32(checked) == checksum
        if not is_whole or not checked.startswith(_NUMBER.pack(number)):
            return
        (place,) = _PLACE.unpack_from(content, start - _PLACE.size)
        yield Frame(content[start:end], place, end)
        offset, number = end, number + 1


def was_synced(content: bytes, offset: int, number: int) -> bool:
    """Tell whether a later group follows the bad frame at `offset`: then that one was whole once, and is no torn end.

    A group is written when the one before it is on the disk.
    """
    for later in range(number + 1, number + 1 + SEARCHED_MAX):
        found = content.find(_NUMBER.pack(later), offset + _LENGTH.size)
        while found >= 0:
            if any(one.place == 0 for one in frames(content, found - _LENGTH.size, later)):
                return True
            found = content.find(_NUMBER.pack(later), found + 1)
    return False
