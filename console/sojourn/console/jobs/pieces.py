"""What a download is made of: pieces whose sizes are known before they are read, so that one can begin anywhere."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

CHUNK_BYTES: Final = 1 << 18  # a quarter of a megabyte: an answer holds one at a time

Open = Callable[[], int]  # gives a new descriptor to read from


class Piece(NamedTuple):
    """Some bytes of a download; `read` gives those of [start, end) in it, and blocks."""

    size: int
    read: Callable[[int, int], Iterator[bytes]]


def bytes_piece(size: int, make: Callable[[], bytes]) -> Piece:
    """Return bytes that are made when they are needed."""

    def read(start: int, end: int) -> Iterator[bytes]:
        yield make()[start:end]

    return Piece(size, read)


def file_piece(size: int, open_file: Open) -> Piece:
    """Return a file."""

    def read(start: int, end: int) -> Iterator[bytes]:
        return read_file(open_file, start, end)

    return Piece(size, read)


def read_file(open_file: Open, start: int, end: int) -> Iterator[bytes]:
    """Yield [start, end) of a file; raises OSError where it is shorter than it was."""
    with os.fdopen(open_file(), "rb", buffering=0) as file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise OSError("a file of an export is shorter than its manifest says")
            start += len(chunk)
            yield chunk


def size_of(pieces: Sequence[Piece]) -> int:
    """Return how many bytes there are."""
    return sum(piece.size for piece in pieces)


def read_pieces(pieces: Sequence[Piece], start: int, end: int) -> Iterator[bytes]:
    """Yield [start, end) of them all; blocks."""
    begin = 0
    for piece in pieces:
        first, last = max(start - begin, 0), min(end - begin, piece.size)
        if first < last:
            yield from piece.read(first, last)
        begin += piece.size
