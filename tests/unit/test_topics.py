"""The rule that puts a session into a partition, against Kafka's own numbers, aiokafka's code and librdkafka's."""

import ctypes
import random
from pathlib import Path

import confluent_kafka
import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from sojourn.events.fields import Partitioner
from sojourn.events.topics import PARTITIONS_DEFAULT, batch_key, murmur2, session_key, session_partition

# org.apache.kafka.common.utils.UtilsTest, testMurmur2: signed 32-bit numbers.
KAFKAS_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", KAFKAS_VECTORS)
def test_murmur2_gives_the_numbers_of_kafkas_own_test(key: bytes) -> None:
    assert murmur2(key) == KAFKAS_VECTORS[key] & 0xFFFFFFFF


@given(st.binary(max_size=70))
def test_murmur2_agrees_with_aiokafka_for_any_bytes(key: bytes) -> None:
    assert murmur2(key) == aiokafka_murmur2(key)


def test_murmur2_agrees_with_aiokafka_at_every_length_and_sign() -> None:
    draw = random.Random(1)
    keys = [draw.randbytes(length) for length in range(300)]

    hashes = [murmur2(key) for key in keys]

    assert hashes == [aiokafka_murmur2(key) for key in keys]
    assert {number >> 31 for number in hashes} == {0, 1}


@pytest.mark.parametrize("partitions", [1, 3, PARTITIONS_DEFAULT, 4096])
def test_a_session_is_where_kafkas_default_partitioner_puts_its_key(partitions: int) -> None:
    for number in range(500):
        key = session_key("acme", f"s-{number}")

        assert session_partition("acme", f"s-{number}", partitions) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions


@pytest.fixture(scope="module")
def librdkafka() -> ctypes.CDLL:
    """Load the library that confluent-kafka brings; its partitioners need no broker."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    return ctypes.CDLL(str(next(folder.glob("librdkafka-*"))))


@pytest.mark.parametrize("partitions", [1, 3, PARTITIONS_DEFAULT, 4096])
@pytest.mark.parametrize(("ours", "theirs"), [("crc32", "consistent_random"), ("murmur2", "murmur2_random")])
def test_a_session_is_where_librdkafkas_partitioners_put_its_key(
    librdkafka: ctypes.CDLL, partitions: int, ours: Partitioner, theirs: str
) -> None:
    choose = librdkafka[f"rd_kafka_msg_partitioner_{theirs}"]

    for number in range(500):
        key = session_key("acme", f"š-{number}")

        assert session_partition("acme", f"š-{number}", partitions, ours) == choose(
            None, key, ctypes.c_size_t(len(key)), partitions, None, None
        )


def test_sessions_of_one_id_in_two_tenants_have_keys_of_their_own() -> None:
    assert session_key("acme", "s-1") == b"acme/s-1"
    assert session_key("globex", "žluť") == "globex/žluť".encode()
    assert batch_key("/brokers/eu-1") == b"~batch//brokers/eu-1"


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_sessions_spread_evenly_over_the_partitions(partitioner: Partitioner) -> None:
    counts = [0] * PARTITIONS_DEFAULT
    for number in range(12_000):
        counts[session_partition("acme", f"s-{number}", PARTITIONS_DEFAULT, partitioner)] += 1

    assert min(counts) > 850
    assert max(counts) < 1150
