"""How commands write: JSON lines for scripts, aligned columns for people."""

import base64
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.cells import cell_len

from sojourn.events.errors import SojournError

_SAMPLE_ROWS: Final = 200  # columns are as wide as these need; lists are streamed, so later rows may stand out

_MEGABYTE: Final = 1_000_000


def instant(value: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with milliseconds."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    return instant(value) if isinstance(value, datetime) else value


class OutputFailed(SojournError):
    """the result cannot be written to the standard output"""


def write_line(text: str) -> None:
    """Write one line to standard output; raises `OutputFailed`, or BrokenPipeError when the reader has gone."""
    with _explained():
        sys.stdout.write(text + "\n")


def flush() -> None:
    """Let what was written arrive; raises as `write_line` does."""
    with _explained():
        sys.stdout.flush()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputFailed(f"cannot write to the standard output: {reason}") from error


def write_json(row: dict[str, Any]) -> None:
    """Write one JSON object on a line of its own."""
    plain = {name: _plain(value) for name, value in row.items()}
    write_line(msgspec.json.encode(plain).decode())


def readable(value: bytes | None) -> Any:
    """Return bytes as text, or as base64 where they are no UTF-8."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def cell(value: Any) -> str:
    """Return a value as a person reads it; control characters would move the cursor, so they show as ?."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def seconds(value: float | None) -> str:
    """Return a duration as `2 h 42 m` or `12 s`."""
    if value is None:
        return "–"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} m"
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Return a number of bytes as `4.2 kB` or `1.3 MB`."""
    return f"{count / 1e6:.1f} MB" if count >= _MEGABYTE else f"{count / 1e3:.1f} kB"


class Columns:
    """Writes rows under a header, in columns that fit the first rows; `close` writes what waits for that."""

    def __init__(self, header: Sequence[str], right: Sequence[str] = ()) -> None:
        self._header, self._right = header, set(right)
        self._waiting: list[Sequence[str]] = []
        self._widths: list[int] | None = None

    def write(self, row: Sequence[str]) -> None:
        """Write a row, or keep it until the widths are known."""
        if self._widths is not None:
            self._line(row)
            return
        self._waiting.append(row)
        if len(self._waiting) >= _SAMPLE_ROWS:
            self.close()

    def close(self) -> None:
        """Fix the widths and write the rows that waited; nothing for no rows."""
        if self._widths is None and self._waiting:
            rows = [self._header, *self._waiting]
            self._widths = [max(cell_len(row[i]) for row in rows) for i in range(len(self._header))]
            for row in rows:
                self._line(row)

    def _line(self, row: Sequence[str]) -> None:
        assert self._widths is not None
        parts = []
        for name, text, width in zip(self._header, row, self._widths, strict=True):
            pad = " " * (width - cell_len(text))
            parts.append(pad + text if name in self._right else text + pad)
        write_line("  ".join(parts).rstrip())
