"""Topic names, and the rule that puts one session into one partition."""

import struct

LIFECYCLE = "sojourn.lifecycle"
HEARTBEATS = "sojourn.heartbeats"
COMMANDS = "sojourn.commands"

PARTITIONS_DEFAULT = 12  # twelve workers can share them evenly as 1, 2, 3, 4, 6 or 12


def session_key(tenant: str, session_id: str) -> bytes:
    """Return the record key of a session."""
    return f"{tenant}/{session_id}".encode()


def batch_key(source: str) -> bytes:
    """Return the record key of heartbeats for many sessions, which name their partition explicitly."""
    return f"~batch/{source}".encode()


def session_partition(tenant: str, session_id: str, partitions: int) -> int:
    """Return the partition of a session, as Kafka's default partitioner computes it (murmur2, sign bit cleared)."""
    return (murmur2(session_key(tenant, session_id)) & 0x7FFFFFFF) % partitions


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
