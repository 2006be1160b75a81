"""Topic names, and the rule that puts one session into one partition."""

import struct
import zlib
from typing import Final

from sojourn.events.fields import Partitioner

LIFECYCLE: Final = "sojourn.lifecycle"
HEARTBEATS: Final = "sojourn.heartbeats"
COMMANDS: Final = "sojourn.commands"

PARTITIONS_DEFAULT: Final = 12  # twelve workers can share them evenly as 1, 2, 3, 4, 6 or 12


def session_key(tenant: str, session_id: str) -> bytes:
    """Return the record key of a session."""
    return f"{tenant}/{session_id}".encode()


def batch_key(source: str) -> bytes:
    """Return the record key of heartbeats for many sessions, which name their partition explicitly."""
    return f"~batch/{source}".encode()


def session_partition(tenant: str, session_id: str, partitions: int, partitioner: Partitioner = "murmur2") -> int:
    """Return the partition of a session: by Kafka's own default (murmur2, sign bit cleared), or librdkafka's (crc32).

    librdkafka calls it consistent_random; its rd_crc32 is the CRC-32 of zlib.
    """
    key = session_key(tenant, session_id)
    return (zlib.crc32(key) if partitioner == "crc32" else murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """Return the 32-bit MurmurHash2 of `key` with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).

    Our own, since aiokafka's loops over single bytes: see docs/why.md, "the partitioner".
    """
    whole = len(key) & ~3
    mixed = 0x9747B28C ^ len(key)
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        stirred = word * 0x5BD1E995 & 0xFFFFFFFF
        stirred = (stirred ^ stirred >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        mixed = (mixed * 0x5BD1E995 & 0xFFFFFFFF) ^ stirred
    if whole < len(key):
        mixed = (mixed ^ int.from_bytes(key[whole:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return mixed ^ mixed >> 15
