"""The partition of a session: Kafka's default partitioner, or librdkafka's, from their descriptions."""


def partition_of(tenant: str, session_id: str, partitions: int, partitioner: str = "murmur2") -> int:
    key = f"{tenant}/{session_id}".encode()
    return {"murmur2": murmur2, "crc32": crc32}[partitioner](key) % partitions


def crc32(key: bytes) -> int:
    """Return the CRC-32 of IEEE 802.3, bit by bit: librdkafka's consistent partitioner."""
    state = 0xFFFFFFFF
    for byte in key:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0xEDB88320 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Return murmur2 of the key with the seed 0x9747b28c, the sign bit cleared: Kafka's default partitioner."""
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    state = 0x9747B28C ^ len(key)
    while len(key) >= 4:
        word = int.from_bytes(key[:4], "little") * factor & mask
        word ^= word >> 24
        state = (state * factor & mask) ^ (word * factor & mask)
        key = key[4:]
    if key:
        state = (state ^ int.from_bytes(key, "little")) * factor & mask
    state = (state ^ state >> 13) * factor & mask
    state ^= state >> 15
    return state & 0x7FFFFFFF
