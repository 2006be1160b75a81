"""Sessions as columns: decoded from what PostgreSQL sends, joined, and one kind of row taken out again."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sojourn.projections.statistics.instants import SECOND, Ints

_HEADER_BYTES: Final = 20  # of an array of one dimension: dimensions, flags, type, length, lower bound
_SEPARATOR: Final = "\x1f"  # no id holds a control character

Codes = NDArray[np.int32]


class Columns(NamedTuple):
    """A row is a session: when it began and between which instants it ended, and numbers of what `Names` holds.

    `login` is UNKNOWN where only the end is known; `online` are the microseconds that the history shows.
    """

    login: Ints
    ends_first: Ints
    ends_last: Ints
    online: Ints
    user: Codes
    desktop: Codes
    address: Codes
    kind: Codes

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.login)

    def where(self, which: NDArray[Any]) -> "Columns":
        """Return some rows, by a mask or by their numbers."""
        return Columns(*(column[which] for column in self))


class Kind(NamedTuple):
    """What sessions have in common; outcome and reason are empty while a session is open."""

    terminal_type: str
    access: str
    outcome: str
    reason: str
    broker: str
    terminal_os: str


class Named(NamedTuple):
    """A user or a desktop under one name."""

    id: str
    name: str


class Numbers:
    """Gives each text that comes a number, and splits it into its parts."""

    def __init__(self) -> None:
        self.parts: list[list[str]] = []
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        """The texts by number."""
        return list(self._numbers)

    def of(self, texts: Any) -> Codes:
        """Return the number of each text of an Arrow array."""
        encoded = texts.dictionary_encode()
        codes: Codes = self.known(encoded.dictionary)[elements(encoded.indices)]
        return codes

    def known(self, texts: Any) -> Codes:
        """Return the numbers of different texts."""
        return np.array([self._number(text) for text in texts.to_pylist()], dtype=np.int32)

    def _number(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.parts)
            self.parts.append(text.split(_SEPARATOR))
        return number


class Names:
    """What the numbers in columns stand for; it only grows, so that columns stay what they are."""

    def __init__(self) -> None:
        self._users, self._desktops, self._addresses, self._kinds = Numbers(), Numbers(), Numbers(), Numbers()
        self._numbers = (self._users, self._desktops, self._addresses, self._kinds)

    @property
    def users(self) -> list[Named]:
        """The users by number; one whose name changed has several."""
        return [_named(parts) for parts in self._users.parts]

    @property
    def desktops(self) -> list[Named]:
        """The desktops by number, like users."""
        return [_named(parts) for parts in self._desktops.parts]

    @property
    def addresses(self) -> list[str]:
        """The addresses of clients by number."""
        return [parts[0] for parts in self._addresses.parts]

    @property
    def kinds(self) -> list[Kind]:
        """The kinds by number."""
        return [Kind._make([*parts[:5], _SEPARATOR.join(parts[5:])]) for parts in self._kinds.parts]

    @property
    def texts(self) -> list[list[str]]:
        """What the numbers of users, desktops, addresses and kinds stand for."""
        return [each.texts for each in self._numbers]

    def take(self, parts: Sequence[Columns], texts: Sequence[Sequence[Any]]) -> list[Columns]:
        """Return columns that were numbered by texts of their own, each part by its four arrays of them."""
        if not parts:
            return []
        numbered = [self._taken(each, place, parts, texts) for place, each in enumerate(self._numbers)]
        return [Columns(*part[:4], *codes) for part, *codes in zip(parts, *numbered, strict=True)]

    def _taken(
        self, numbers: Numbers, place: int, parts: Sequence[Columns], texts: Sequence[Sequence[Any]]
    ) -> list[Codes]:
        # Arrow finds equal texts of many parts ten times as fast as a loop over them would.
        own = [
            pa.DictionaryArray.from_arrays(_array(part[4 + place]), each[place])
            for part, each in zip(parts, texts, strict=True)
        ]
        unified = pa.chunked_array(own).unify_dictionaries()
        known = numbers.known(unified.chunk(0).dictionary)
        return [known[elements(chunk.indices)] for chunk in unified.chunks]

    def decode(self, sent: Sequence[Any]) -> Columns:
        """Return what a row of sql/statistics_columns.sql says."""
        count, login, ends_first, ends_last, online, *texts, _appended = sent
        if count == 0:
            return EMPTY
        codes = [each.of(_texts(*texts[place * 2 : place * 2 + 2])) for place, each in enumerate(self._numbers)]
        seconds = _elements(online, ">f8")
        return Columns(
            _elements(login, ">i8").astype(np.int64),
            _elements(ends_first, ">i8").astype(np.int64),
            _elements(ends_last, ">i8").astype(np.int64),
            np.rint(seconds * SECOND).astype(np.int64),
            *codes,
        )


def elements(array: Any) -> NDArray[Any]:
    """Return an Arrow array of numbers without nulls; its own `to_numpy` imports pandas, where there is one."""
    return np.from_dlpack(array)


def _array(codes: NDArray[Any]) -> Any:
    """Return numbers as an Arrow array, which `pyarrow.array` imports pandas for."""
    return pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(np.ascontiguousarray(codes))])


def appended_of(sent: Sequence[Any]) -> Ints:
    """Return when the record of each row of sql/statistics_columns.sql was appended."""
    return _elements(sent[-1], ">i8").astype(np.int64) if sent[0] else EMPTY.login


def _named(parts: list[str]) -> Named:
    return Named(parts[0], _SEPARATOR.join(parts[1:]))


def _elements(sent: bytes, kind: str) -> NDArray[Any]:
    """Return the elements of an array without nulls, each of which comes behind its length."""
    return np.frombuffer(sent, [("length", ">i4"), ("value", kind)], offset=_HEADER_BYTES)["value"]


def _texts(lengths: bytes, joined: str) -> Any:
    """Return the texts that were joined, as an Arrow array."""
    ends = np.cumsum(_elements(lengths, ">i4"), dtype=np.int64)
    offsets = np.concatenate(([0], ends))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined.encode())]
    return pa.Array.from_buffers(pa.large_string(), len(ends), buffers)


def joined(parts: Iterable[Columns]) -> Columns:
    """Return the rows of all parts."""
    filled = [part for part in parts if part.rows]
    if len(filled) == 1:
        return filled[0]
    return Columns(*map(np.concatenate, zip(*filled, strict=True))) if filled else EMPTY


def by_login(columns: Columns) -> Columns:
    """Return the rows in the order of their logins."""
    if not (columns.login[1:] < columns.login[:-1]).any():
        return columns
    return columns.where(np.argsort(columns.login, kind="stable"))


def without(columns: Columns, removed: Columns) -> Columns:
    """Take out one row for each that is removed and says the same; rows that say the same are alike to every number."""
    if not removed.rows:
        return columns
    asked = Counter(zip(*(column.tolist() for column in removed), strict=True))
    keep = np.ones(columns.rows, dtype=bool)
    suspects = np.flatnonzero(np.isin(columns.login, removed.login) & np.isin(columns.ends_first, removed.ends_first))
    rows = zip(*(column[suspects].tolist() for column in columns), strict=True)
    for place, row in zip(suspects.tolist(), rows, strict=True):
        if asked.get(row, 0):
            asked[row] -= 1
            keep[place] = False
    assert not any(asked.values()), "a correction is about a revision of the history"
    return columns.where(keep)


_NO_INTS: Final = np.zeros(0, np.int64)
_NO_CODES: Final = np.zeros(0, np.int32)
EMPTY: Final = Columns(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_CODES, _NO_CODES, _NO_CODES, _NO_CODES)
