"""What other people's clients publish to a real Kafka is read right, and what Sojourn publishes they can read."""

import json
import re
import shutil
import zlib
from collections.abc import Sequence
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from sojourn.events.topics import HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT, session_partition
from tests.interop.clients import demand, java
from tests.interop.conftest import BOUND, COMPRESSIONS, TOO_EARLY, UNBOUND, Published
from tests.interop.odd import LARGE_BYTES, Place
from tests.interop.sessions import (
    ONLINE_SECONDS,
    TENANT,
    USER_NAME,
    Publication,
    day,
    ended_sessions,
    open_sessions,
)

pytestmark = [
    pytest.mark.xdist_group("kafka-interop"),
    pytest.mark.timeout(300),  # the first one waits for Kafka, seven programs and the worker
]

WATERMARK_SECONDS_MAX: Final = 10  # a broker on this machine answers at once
NEEDS: Final = {
    "kcat": ("kcat", "kcat"),
    "java-structured": ("javac", "openjdk-17-jdk-headless"),
    "java-binary": ("javac", "openjdk-17-jdk-headless"),
}
CLIENTS: Final = (*NEEDS, *COMPRESSIONS, "python-structured", "python-binary", "transactional", "sojourn-publish")


@pytest.mark.parametrize("client", CLIENTS)
def test_the_sessions_of_every_client_are_those_that_it_published(published: Published, client: str) -> None:
    if client in NEEDS:
        demand(*NEEDS[client])

    rows = [row for row in published.history if row["broker"] == f"/{client}"]

    assert_sessions(rows, open_sessions(client), ended_sessions(client))


def test_every_heartbeat_counts_but_those_in_other_partitions(published: Published) -> None:
    clients = [BOUND, *(client for client in CLIENTS if client not in NEEDS or shutil.which(NEEDS[client][0]))]
    right = [is_right(one) for one in of_topic(HEARTBEATS, UNBOUND)]

    counted = published.status[-1]["heartbeats"]

    applied = sum(len(open_sessions(client)) for client in clients) + right.count(True)
    assert counted == {"applied": applied, "misrouted": right.count(False)}


def test_what_a_transaction_aborts_is_in_neither_list_nor_a_dead_letter(published: Published) -> None:
    told = json.dumps([published.history, published.dead_letters])

    assert "transactional" in told
    assert "aborted" not in told


def test_positions_reach_the_very_end_behind_aborted_transactions(published: Published) -> None:
    consumer = Consumer({"bootstrap.servers": published.servers, "group.id": "watermarks"})
    rows = {(row["topic"], row["partition"]): row for row in published.status if "topic" in row}

    ends = {place: consumer.get_watermark_offsets(TopicPartition(*place), WATERMARK_SECONDS_MAX)[1] for place in rows}
    consumer.close()

    assert len(rows) == 2 * PARTITIONS_DEFAULT
    assert {place: row["position"] for place, row in rows.items()} == ends
    assert {row["lag_records"] for row in rows.values()} == {0}


def test_records_without_key_and_with_null_headers_are_read_by_their_value(published: Published) -> None:
    rows = [row for row in published.history if row["broker"] == "/odd"]

    assert len(rows) == len({"no key", "null header"})


def test_a_record_without_value_and_one_of_two_megabytes_are_dead_letters(published: Published) -> None:
    reasons = {(row["partition"], row["offset"]): row["reason"] for row in published.dead_letters}

    (shown,) = published.command.rows("dead-letters", "show", str(published.odd["no value"]))

    assert reasons[published.odd["no value"]] == "not_json"
    assert reasons[published.odd["large"]] == "too_large"
    assert shown["key"] == f"{TENANT}/gone"


def test_an_auditor_reads_every_record_as_it_stands_in_the_log(published: Published) -> None:
    rows = {Place(row["partition"], row["offset"]): row for row in published.command.rows("log", "read")}

    gone, large, null_header = (rows[published.odd[name]] for name in ("no value", "large", "null header"))

    assert (gone["key"], gone["value"], gone["headers"]) == (f"{TENANT}/gone", "", [["trace", ""]])
    assert large["value"] == " " * LARGE_BYTES
    assert null_header["headers"] == [["trace", ""], ["", ""], ["trace", {"base64": "/w=="}]]
    assert rows[published.odd["no key"]]["key"] is None
    assert not [row for row in rows.values() if "aborted" in (row["key"] or "")]


def test_dead_letters_of_the_default_partitioner_say_how_to_mend_it(published: Published) -> None:
    letters = [row for row in published.dead_letters if row["reason"] == "wrong_partition"]

    advice = {re.sub(r"^.*?, where ", "", row["detail"]) for row in letters}

    events = of_topic(LIFECYCLE, UNBOUND) + of_topic(LIFECYCLE, BOUND, TOO_EARLY)
    wrong = [one.document["subject"] for one in events if not is_right(one)]
    assert sorted(row["session_id"] for row in letters) == sorted(wrong)
    assert advice == {
        "crc32 would put it: set partitioner=murmur2_random in a producer of librdkafka, or run "
        f"`sojourn brokers set /{client} --partitioner crc32`"
        for client in (UNBOUND, BOUND)
    }


def test_sessions_of_the_default_partitioner_are_right_once_sojourn_is_told(published: Published) -> None:
    begun, ended = open_sessions(BOUND), ended_sessions(BOUND)

    rows = [row for row in published.history if row["session_id"] in begun | ended]

    assert_sessions(rows, begun, ended)


def test_the_strictest_sdk_reads_what_sojourn_publishes_and_decides(published: Published) -> None:
    demand(*NEEDS["java-structured"])
    expected = of_topic(LIFECYCLE, "sojourn-publish")

    ours, decided = (
        [line.split("\t") for line in java("read", published.servers, LIFECYCLE, source).splitlines()]
        for source in ("/sojourn-publish", "/sojourn")
    )

    names = ("source", "type", "id", "subject", "tenant")
    assert {tuple(row[:4] + row[5:6]): json.loads(row[6]) for row in ours} == {
        tuple(one.document[name] for name in names): one.document["data"] for one in expected
    }
    assert len(ours) == len(expected)
    assert [row[1] for row in decided] == ["sojourn.broker.source_bound.v1"] * PARTITIONS_DEFAULT


def assert_sessions(rows: Sequence[dict[str, Any]], open_ids: set[str], ended_ids: set[str]) -> None:
    """Hold what is told of one client to the day that it published."""
    ended = [row for row in rows if row["logout_at"] is not None]
    assert {row["session_id"] for row in rows if row["logout_at"] is None} == open_ids
    assert {row["session_id"] for row in ended} == ended_ids
    assert len(rows) == len(open_ids) + len(ended_ids)
    assert {row["user_name"] for row in rows} == {USER_NAME}
    assert {(row["reason"], row["online_seconds"], row["revision"]) for row in ended} == {
        ("network", ONLINE_SECONDS, 2)
    }


def of_topic(topic: str, client: str, name: str = "") -> list[Publication]:
    return [one for one in day(client, name) if one.topic == topic]


def is_right(publication: Publication) -> bool:
    """Tell whether librdkafka's default partitioner happens to choose the partition of the session."""
    chosen = zlib.crc32(publication.key.encode()) % PARTITIONS_DEFAULT
    return chosen == session_partition(TENANT, publication.document["subject"], PARTITIONS_DEFAULT)
