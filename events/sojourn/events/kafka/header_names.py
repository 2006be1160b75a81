"""Header names that are no UTF-8: Kafka keeps them, aiokafka cannot read them, and they must not stop a partition."""

import struct
from collections.abc import Callable
from typing import Any, Final

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

# Places in a record batch of format 2 (Kafka's documentation, "Record Batch").
_LENGTH: Final = struct.Struct(">qi")  # base offset, and the length of what follows
_ATTRIBUTES: Final = struct.Struct(">h")
_ATTRIBUTES_AT: Final = 21
_COUNT_AT: Final = 57
_RECORDS_AT: Final = 61
_CODEC: Final = 0x07  # of the attributes

_DECODERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: bytes,
    1: gzip_decode,
    2: snappy_decode,
    3: lz4_decode,
    4: zstd_decode,
}


def with_readable_names(fetched: bytes, base_offset: int) -> Any:
    """Return aiokafka's batch of that offset, in which header names that are no UTF-8 have ? for what is no ASCII."""
    batch = _find(fetched, base_offset)
    (attributes,) = _ATTRIBUTES.unpack_from(batch, _ATTRIBUTES_AT)
    records = bytearray(_DECODERS[attributes & _CODEC](batch[_RECORDS_AT:]))
    (count,) = struct.unpack_from(">i", batch, _COUNT_AT)
    position = 0
    for _ in range(count):
        length, position = decode_varint(records, position)
        _mend(records, position)
        position += length
    plain = (
        _LENGTH.pack(base_offset, _RECORDS_AT - _LENGTH.size + len(records))
        + batch[_LENGTH.size : _ATTRIBUTES_AT]
        + _ATTRIBUTES.pack(attributes & ~_CODEC)
        + batch[_ATTRIBUTES_AT + _ATTRIBUTES.size : _RECORDS_AT]
        + bytes(records)
    )
    return MemoryRecords(plain).next_batch()


def _find(fetched: bytes, base_offset: int) -> bytes:
    position = 0
    while position + _RECORDS_AT <= len(fetched):
        found, length = _LENGTH.unpack_from(fetched, position)
        end = position + _LENGTH.size + length
        if found == base_offset:
            return fetched[position:end]
        position = end
    raise CorruptRecordException(f"no batch begins at offset {base_offset}")


def _mend(records: bytearray, position: int) -> None:
    """Mend the header names of the record whose attributes stand at `position`; no length changes."""
    _, position = decode_varint(records, position + 1)  # time
    _, position = decode_varint(records, position)  # offset
    for _ in ("key", "value"):
        length, position = decode_varint(records, position)
        position += max(length, 0)
    count, position = decode_varint(records, position)
    for _ in range(count):
        length, position = decode_varint(records, position)
        name = bytes(records[position : position + length])
        try:
            name.decode()
        except UnicodeDecodeError:
            records[position : position + length] = name.decode("ascii", "replace").replace("\ufffd", "?").encode()
        position += length
        length, position = decode_varint(records, position)
        position += max(length, 0)
