"""Sojourn's topics on real Apache Kafka: how they are made, and what is said about those that are wrong."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from sojourn.events.errors import SojournError
from sojourn.events.kafka.log import KafkaLog
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.kafka.topics import TOPICS, TopicRefused, TopicState, check_topics, create_topics
from sojourn.events.log import Append
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE
from tests.contract.kafka_steps import add, administering, delete
from tests.kafka_server import KafkaServer

pytestmark = pytest.mark.xdist_group("kafka-log")

HOUR_MS = timedelta(hours=1) // timedelta(milliseconds=1)


@pytest.fixture
def settings(kafka: KafkaServer) -> KafkaSettings:
    return KafkaSettings(kafka.bootstrap_servers)


@pytest.fixture
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Administer a cluster without Sojourn's topics, which has them again afterwards."""
    async with administering(settings.bootstrap_servers) as admin:
        await delete(admin, TOPICS)
        yield admin
        await delete(admin, TOPICS)
    await create_topics(settings)


async def settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, Any]:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = response.resources
    return {name: value for name, value, *_ in entries}


def by_name(states: list[TopicState]) -> dict[str, TopicState]:
    return {state.name: state for state in states}


async def test_missing_topics_are_made_with_what_sojourn_relies_on(
    admin: AIOKafkaAdminClient, settings: KafkaSettings
) -> None:
    states = await create_topics(settings)

    assert states == [TopicState(topic, 12, 1, created=True, wrong=[], warnings=[]) for topic in TOPICS]
    for topic, kept in ((LIFECYCLE, "-1"), (HEARTBEATS, str(6 * HOUR_MS)), (COMMANDS, str(24 * HOUR_MS))):
        found = await settings_of(admin, topic)
        assert found["retention.ms"] == kept
        assert found["cleanup.policy"] == "delete"
        assert found["message.timestamp.type"] == "LogAppendTime"
        assert found["max.message.bytes"] == str(8 << 20)


async def test_creating_again_changes_nothing(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> None:
    await create_topics(settings, 3)
    before = [await settings_of(admin, topic) for topic in TOPICS]

    states = await create_topics(settings)

    assert states == [TopicState(topic, 3, 1, created=False, wrong=[], warnings=[]) for topic in TOPICS]
    assert [await settings_of(admin, topic) for topic in TOPICS] == before
    assert await check_topics(settings) == states


async def test_a_missing_topic_gets_as_many_partitions_as_the_others_have(
    admin: AIOKafkaAdminClient, settings: KafkaSettings
) -> None:
    await create_topics(settings, 5)
    await delete(admin, [HEARTBEATS])

    states = by_name(await create_topics(settings))

    assert states[HEARTBEATS] == TopicState(HEARTBEATS, 5, 1, created=True, wrong=[], warnings=[])
    assert not states[LIFECYCLE].created


@pytest.mark.usefixtures("admin")
async def test_topics_that_are_missing_are_wrong_and_a_check_makes_none(settings: KafkaSettings) -> None:
    for _ in range(2):
        states = await check_topics(settings)

        assert [state.wrong for state in states] == [
            [f"{topic} does not exist; create it: sojourn topics create"] for topic in TOPICS
        ]


@pytest.mark.parametrize(
    ("topic", "config", "wrong"),
    [
        (
            LIFECYCLE,
            {"message.timestamp.type": "CreateTime"},
            "producers' times.* message.timestamp.type=LogAppendTime",
        ),
        (
            HEARTBEATS,
            {"message.timestamp.type": "CreateTime"},
            "producers' times.* message.timestamp.type=LogAppendTime",
        ),
        (LIFECYCLE, {"cleanup.policy": "compact"}, r"compacted \(compact\).* cleanup.policy=delete"),
        (COMMANDS, {"cleanup.policy": "compact,delete"}, r"compacted \(compact,delete\).* cleanup.policy=delete"),
        (LIFECYCLE, {"max.message.bytes": "1048588"}, "takes 1048588 bytes at once.* max.message.bytes=8388608"),
        (LIFECYCLE, {"min.insync.replicas": "2"}, "has 1 replicas.* fewer than 2.* min.insync.replicas=1"),
    ],
)
async def test_a_wrong_setting_is_said_in_one_line_with_the_command_that_mends_it(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, topic: str, config: dict[str, str], wrong: str
) -> None:
    right = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(8 << 20), "retention.ms": "-1"}
    await add(admin, topic, {**right, **config})

    states = by_name(await create_topics(settings))

    (line,) = states[topic].wrong
    mend = f"--entity-type topics --entity-name {topic} --alter --add-config"
    assert re.fullmatch(f"{re.escape(topic)} [^\n]*{wrong}", line)
    assert mend in line
    assert all(not state.wrong for name, state in states.items() if name != topic)


async def test_everything_that_is_wrong_is_said(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> None:
    finite = {"cleanup.policy": "compact", "retention.ms": "604800000", "retention.bytes": "1000000"}
    await add(admin, LIFECYCLE, finite, partitions=4)
    await add(admin, HEARTBEATS, {}, partitions=3)

    states = by_name(await create_topics(settings, 6))

    assert len(states[LIFECYCLE].wrong) == 4  # count, times, compaction, size
    assert [re.sub(r"[;,] so that.*|;.*", "", line) for line in states[HEARTBEATS].wrong] == [
        "sojourn.heartbeats has 3 partitions, and 6 were asked for",
        "sojourn.heartbeats has 3 partitions and sojourn.lifecycle 4",
        "sojourn.heartbeats keeps the producers' times",
        "sojourn.heartbeats takes 1048588 bytes at once, and Sojourn appends up to 8388608",
    ]
    assert [re.findall(r"\((.*?)\)", line) for line in states[LIFECYCLE].warnings] == [
        ["retention.ms=604800000"],
        ["retention.bytes=1000000"],
    ]
    assert states[COMMANDS] == TopicState(COMMANDS, 6, 1, created=True, wrong=[], warnings=[])


async def test_unclean_elections_are_worth_a_warning(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> None:
    await add(admin, COMMANDS, {"unclean.leader.election.enable": "true"})

    states = by_name(await check_topics(settings))

    assert any("unclean.leader.election.enable=false" in line for line in states[COMMANDS].warnings)


@pytest.mark.usefixtures("admin")
async def test_a_topic_that_kafka_will_not_make_is_an_error_in_one_line(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.events.kafka.topics.CLUSTER_DEFAULT", 3)

    with pytest.raises(TopicRefused, match=r"^Kafka refuses to create a topic \([^\n]*replic[^\n]*\): sojourn\.\w+$"):
        await create_topics(settings)


@pytest.mark.usefixtures("admin")
async def test_a_log_whose_topics_are_missing_says_how_to_make_them(settings: KafkaSettings) -> None:
    log = KafkaLog(settings)

    with pytest.raises(
        SojournError, match=r"^Kafka has no such topic; `sojourn topics create` .*: 'sojourn\.lifecycle'$"
    ):
        await log.append([Append(LIFECYCLE, 0, None, b"x")])

    assert [(state.created, state.wrong) for state in await create_topics(settings)] == [(True, [])] * 3
    assert await log.append([Append(LIFECYCLE, 0, None, b"x")]) == [0]
    await log.close()


async def test_records_larger_than_the_topic_takes_are_refused_with_the_setting(
    admin: AIOKafkaAdminClient, settings: KafkaSettings
) -> None:
    await add(admin, LIFECYCLE, {"max.message.bytes": "2000"})
    log = KafkaLog(settings)

    with pytest.raises(
        SojournError, match=r"^Kafka refuses \d+ bytes at once; .*max\.message\.bytes: sojourn\.lifecycle$"
    ):
        await log.append([Append(LIFECYCLE, 0, None, bytes(3000))])

    assert await log.append([Append(LIFECYCLE, 0, None, b"x")]) == [0]
    await log.close()
