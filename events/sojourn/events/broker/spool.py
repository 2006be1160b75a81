"""The spool: events on disk, in order, from before the caller is told until the log acknowledges them."""

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sojourn.events.broker.files import Cursor, Tail, read_from, sync_folder, write_whole
from sojourn.events.broker.frames import HEADER_BYTES, frame, frames, was_synced
from sojourn.events.codec import VALUE_BYTES_MAX
from sojourn.events.errors import SojournError

SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024  # what is read at the start, and what stays on disk after it was sent
SEGMENTS_MIN: Final = 8  # so small a part of a spool is taken by events that were sent already
REJECTED: Final = "rejected.ndjson"

_SUFFIX: Final = ".events"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_logger: Final = structlog.get_logger()


class SpoolFull(SojournError):
    """the spool is full: the log has been away for too long, or too much was rejected"""


class SpoolTaken(SojournError):
    """another process uses the spool"""


class SpoolDamaged(SojournError):
    """the spool does not hold what was written to it"""


class _State(msgspec.Struct):
    """What is remembered of the events before the one with this number."""

    number: int = 0
    memory: msgspec.Raw = msgspec.Raw(b"null")


class _Segment:
    """One file: the events from number `first` on, `count` of them in `size` bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.first, self.count, self.size = path, int(path.stem), 0, 0

    @property
    def end(self) -> int:
        """Return the number of the event after the last."""
        return self.first + self.count


class Spool:
    """Owns a folder; any thread may call. Events are numbered: `head` is the next to send, `tail` the next to come.

    `memory` is what `remember` returned when the newest file was begun; `since` are the events spooled after that.
    """

    head: int
    memory: bytes
    since: list[bytes]
    _segments: list[_Segment]
    _offset: int
    _file: Tail
    _cursor: Cursor

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self.folder, self._bytes_max = folder, bytes_max
        self._segment_bytes_max = min(SEGMENT_BYTES_MAX, bytes_max // SEGMENTS_MIN)
        self._calls = threading.Lock()
        self._broken: OSError | None = None
        self._state_path = folder / "state.json"
        self._ends: list[int] = []  # where each of the events read last ends in its file
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            self._recover()
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, values: Sequence[bytes], remember: Callable[[], bytes]) -> None:
        """Put a group of events onto the disk: all are there when it returns, none is sent when it raises.

        `remember` returns, as JSON, what must be known of all events before these when their files are gone.
        """
        with self._calls:
            if self._broken is not None:
                raise SojournError(f"the spool must be opened again after an error ({self._broken}): {self.folder}")
            group = b"".join(frame(self.tail + place, place, value) for place, value in enumerate(values))
            last = self._segments[-1]
            try:
                if last.size and last.size + len(group) > self._segment_bytes_max:
                    last = self._begin_segment(remember())
                if self.bytes_used + len(group) > self._bytes_max:
                    raise SpoolFull(f"{SpoolFull.__doc__}, see `docs/brokers.md`: {self.folder}")
                self._file.add(last.size, group)
            except OSError as error:
                self._undo(error)
                kind, what = (SpoolFull, "grow") if error.errno in _NO_ROOM else (SojournError, "be written")
                raise kind(f"the spool cannot {what} ({error.strerror}): {self.folder}") from error
            last.size += len(group)
            last.count += len(values)

    def read(self, events_max: int, bytes_max: int) -> list[bytes]:
        """Return the next events to send, the same until they are acknowledged; none when all were sent."""
        with self._calls:
            segment, values = self._segments[0], list[bytes]()
            self._ends = []
            room = max(bytes_max, HEADER_BYTES + VALUE_BYTES_MAX)
            content = read_from(segment.path, self._offset, min(room, segment.size - self._offset))
            for found in frames(content, 0, self.head):
                if len(values) == events_max or (values and found.end > bytes_max):
                    break
                values.append(found.value)
                self._ends.append(self._offset + found.end)
            if content and not values:
                raise SpoolDamaged(f"{SpoolDamaged.__doc__}, from byte {self._offset} on: {segment.path}")
            return values

    def acknowledge(self, count: int) -> None:
        """Take it that the log has the first `count` events of those read last; a crash may forget it."""
        with self._calls:
            self._offset = self._ends[count - 1]
            self._ends = []
            self.head += count
            with contextlib.suppress(OSError):  # there may be no room: it is as if this was forgotten
                self._cursor.write(self.head)
            self._forget_sent()

    @property
    def tail(self) -> int:
        """Return the number that the next event will have."""
        return self._segments[-1].end

    @property
    def bytes_used(self) -> int:
        """Return how many bytes of the disk its files take, with what was rejected."""
        rejected = self.folder / REJECTED
        return sum(segment.size for segment in self._segments) + (rejected.stat().st_size if rejected.exists() else 0)

    def close(self) -> None:
        """Let another process use it."""
        with self._calls:
            self._cursor.sync()
            self._cursor.close()
            self._file.close()
            os.close(self._lock)

    def _begin_segment(self, memory: bytes) -> _Segment:
        """Begin a file; the memory is on the disk before, since it is all that stays of files that are dropped."""
        state = _State(self.tail, msgspec.Raw(memory))
        write_whole(self._state_path, msgspec.json.encode(state))
        segment = _Segment(self.folder / f"{self.tail:020}{_SUFFIX}")
        try:
            file = Tail(segment.path)
            sync_folder(self.folder)
        except OSError:
            segment.path.unlink(missing_ok=True)  # the last file may grow after all, and would not end where this began
            raise
        self._file.close()
        self._file = file
        self._segments.append(segment)
        self._forget_sent()
        return segment

    def _forget_sent(self) -> None:
        while len(self._segments) > 1 and self.head == self._segments[0].end:
            self._segments.pop(0).path.unlink()
            self._offset = 0

    def _undo(self, error: OSError) -> None:
        """Cut off what a failed write left; after a failed sync nobody knows what is on the disk."""
        try:
            self._file.cut(self._segments[-1].size)
        except OSError:
            self._broken = error

    def _recover(self) -> None:
        """Find out what the files hold after whatever ended the last process."""
        paths = sorted(self.folder.glob(f"*{_SUFFIX}"))
        if not self._state_path.exists():
            if paths:
                raise SpoolDamaged(f"{SpoolDamaged.__doc__}, it should hold: {self._state_path}")
            write_whole(self._state_path, msgspec.json.encode(_State()))
        try:
            state = msgspec.json.decode(self._state_path.read_bytes(), type=_State)
        except msgspec.DecodeError as error:
            raise SpoolDamaged(f"{SpoolDamaged.__doc__} ({error}): {self._state_path}") from error
        self.memory, self.since = bytes(state.memory), list[bytes]()
        self._segments = [_Segment(path) for path in paths or [self.folder / f"{state.number:020}{_SUFFIX}"]]
        self._file = Tail(self._segments[-1].path)
        self._cursor = Cursor(self.folder / "cursor")
        for segment in self._segments:
            self._scan(segment, state.number)
        sync_folder(self.folder)
        self._set_head()

    def _scan(self, segment: _Segment, remembered: int) -> None:
        content = segment.path.read_bytes()
        for found in frames(content, 0, segment.first):
            if segment.end >= remembered:
                self.since.append(found.value)
            segment.count += 1
            segment.size = found.end
        index = self._segments.index(segment)
        is_last = index == len(self._segments) - 1
        whole = segment.size == len(content)
        if is_last:
            if segment.end < remembered or (not whole and was_synced(content, segment.size, segment.end)):
                raise SpoolDamaged(f"{SpoolDamaged.__doc__}, from byte {segment.size} on: {segment.path}")
            if not whole:  # nobody was told that these are spooled
                _logger.warning("torn_spool_cut", path=str(segment.path), bytes=len(content) - segment.size)
            # What a killed process wrote may not be on the disk yet, and is about to be sent.
            self._file.cut(segment.size)
        elif not whole or segment.end != self._segments[index + 1].first:
            raise SpoolDamaged(f"{SpoolDamaged.__doc__}, from byte {segment.size} on: {segment.path}")

    def _set_head(self) -> None:
        """Go on where the log acknowledged, as far as the cursor knows: what is sent again is a duplicate."""
        told = self._cursor.read()
        self.head = max(self._segments[0].first, min(told, self.tail))
        if told > self.tail:  # the numbers after the tail will be used again
            self._cursor.write(self.head)
            self._cursor.sync()
        while len(self._segments) > 1 and self.head >= self._segments[0].end:
            self._segments.pop(0).path.unlink()
        content = self._segments[0].path.read_bytes()
        places = frames(content, 0, self._segments[0].first)
        self._offset = 0
        for _ in range(self.head - self._segments[0].first):
            self._offset = next(places).end


def _lock(folder: Path) -> int:
    """Take the folder for this process, or say which one has it."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(file)
        raise SpoolTaken(f"one process uses a spool, and process {holder} does already: {folder}") from None
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file
