"""A transactional producer (confluent-kafka's): what it commits counts, what it aborts stays in the log unseen."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final

from confluent_kafka import Producer

from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from tests.interop.clients import Murmur2, flush, librdkafka, send
from tests.interop.sessions import Publication

TRANSACTION_SECONDS_MAX: Final = 30.0  # a broker on this machine takes milliseconds
PER_TRANSACTION: Final = 7  # so that a session begins in one transaction and ends in another


def send_in_transactions(servers: str, committed: Sequence[Publication], aborted: Sequence[Publication]) -> None:
    """Commit some publications while other transactions, open around each commit, come to nothing."""
    committing, aborting = transactional(servers, "commits"), transactional(servers, "aborts")
    for start in range(0, len(committed), PER_TRANSACTION):
        aborting.begin_transaction()
        committing.begin_transaction()
        send(aborting, aborted[start : start + PER_TRANSACTION])
        send(committing, committed[start : start + PER_TRANSACTION])
        committing.commit_transaction(TRANSACTION_SECONDS_MAX)
        aborting.abort_transaction(TRANSACTION_SECONDS_MAX)


def abort_at_the_end_of_every_partition(servers: str, values: Iterable[bytes]) -> None:
    """Leave an aborted transaction as the last thing in each partition of both topics."""
    producer = transactional(servers, "ends")
    producer.begin_transaction()
    for topic, partition, value in product((LIFECYCLE, HEARTBEATS), range(PARTITIONS_DEFAULT), values):
        producer.produce(topic, value, partition=partition)
    flush(producer)
    producer.abort_transaction(TRANSACTION_SECONDS_MAX)


def transactional(servers: str, name: str) -> Producer:
    """Return a transactional producer."""
    producer = librdkafka(servers, transactional_id=name, **Murmur2)
    producer.init_transactions(TRANSACTION_SECONDS_MAX)
    return producer
