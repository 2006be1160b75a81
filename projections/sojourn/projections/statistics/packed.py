"""Columns as bytes that last: an Arrow stream of differences, which are small and often the same, compressed."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from sojourn.projections.statistics.columns import Codes, Columns, Names, elements
from sojourn.projections.statistics.instants import Ints

_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))  # a third of lz4's size, half its speed
_INSTANTS: Final = ("login", "ends_first", "ends_last", "online")
_NUMBERED: Final = ("user", "desktop", "address", "kind")
_NONE: Final = np.zeros(0, np.int64)


class Packed(NamedTuple):
    """Columns whose numbers stand for texts of their own; `appended` is when each row's record was, if it was told."""

    columns: Columns
    texts: Sequence[Any]
    appended: Ints


def pack(columns: Columns, names: Names, appended: Ints = _NONE) -> bytes:
    """Return columns as bytes, with the texts that their numbers stand for."""
    # Differences that overflow do so both ways, so they are exact also where a login is UNKNOWN.
    arrays = {
        "login": np.diff(columns.login, prepend=0),
        "ends_first": columns.ends_first - columns.login,
        "ends_last": columns.ends_last - columns.ends_first,
        "online": columns.online - (columns.ends_first - columns.login),
    }
    if len(appended):
        arrays["appended"] = appended
    texts = zip(_NUMBERED, columns[4:], names.texts, strict=True)
    numbered = {name: _numbered(codes, known) for name, codes, known in texts}
    batch = pa.record_batch({**arrays, **numbered})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_OPTIONS) as writer:
        writer.write_batch(batch)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _numbered(codes: Codes, texts: Sequence[str]) -> Any:
    """Return an Arrow array of the texts that the numbers stand for, each kept once and no other."""
    used, places = np.unique(codes, return_inverse=True)
    known = pa.array([texts[number] for number in used.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), known)


def unpack(sent: bytes) -> Packed:
    """Return what was packed."""
    with pa.ipc.open_stream(sent) as reader:
        batch = reader.read_next_batch()
    login, ends_first, ends_last, online = (elements(batch.column(name)) for name in _INSTANTS)
    login = np.cumsum(login)
    ends_first_at = login + ends_first
    numbered = [batch.column(name) for name in _NUMBERED]
    columns = Columns(
        login,
        ends_first_at,
        ends_first_at + ends_last,
        online + ends_first,
        *(elements(column.indices) for column in numbered),
    )
    appended = elements(batch.column("appended")) if "appended" in batch.schema.names else _NONE
    return Packed(columns, [column.dictionary for column in numbered], appended)
