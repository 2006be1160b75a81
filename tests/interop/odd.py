"""Records that Kafka allows and few publish: no key, no value, headers without a value, two megabytes."""

from collections.abc import Callable
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message

from sojourn.events.topics import LIFECYCLE, PARTITIONS_DEFAULT, session_partition
from tests.interop.clients import flush, librdkafka
from tests.interop.sessions import TENANT, Publication, day

LARGE_BYTES: Final = 2 << 20


class Place(NamedTuple):
    """Where a record stands in lifecycle."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{LIFECYCLE}@{self.partition}:{self.offset}"


def send_odd_records(servers: str) -> dict[str, Place]:
    """Publish them and return their places: one without a key, with null headers, without a value, and a large one."""
    events = [one for one in day("odd") if one.document["type"].endswith(".established.v1")]
    producer, places = librdkafka(servers), dict[str, Place]()

    def told(name: str) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            places[name] = Place(partition, offset)

        return delivered

    first, second = events[:2]
    producer.produce(LIFECYCLE, first.value, partition=_partition(first), on_delivery=told("no key"))
    producer.produce(
        LIFECYCLE,
        second.value,
        second.key,
        _partition(second),
        headers=[("trace", None), ("", b""), ("trace", b"\xff")],
        on_delivery=told("null header"),
    )
    producer.produce(LIFECYCLE, None, f"{TENANT}/gone", headers=[("trace", None)], on_delivery=told("no value"))
    producer.produce(LIFECYCLE, b" " * LARGE_BYTES, f"{TENANT}/large", on_delivery=told("large"))
    flush(producer)
    return places


def _partition(publication: Publication) -> int:
    document = publication.document
    return session_partition(document["tenant"], document["subject"], PARTITIONS_DEFAULT)
