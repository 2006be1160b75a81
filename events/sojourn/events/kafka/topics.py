"""Sojourn's topics on Kafka: made with the settings that it relies on, and checked where they exist already."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from aiokafka import errors
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from sojourn.events.errors import SojournError
from sojourn.events.kafka.brokers import NOT_ALLOWED, REQUEST_SECONDS_MAX, Brokers, raise_for
from sojourn.events.kafka.settings import KafkaSettings
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT

TOPICS: Final = (LIFECYCLE, HEARTBEATS, COMMANDS)
BATCH_BYTES_MAX: Final = 8 << 20  # eight of the largest events; hosted clusters allow no more
HEARTBEATS_KEPT: Final = timedelta(hours=6)  # a night shift can mend a stopped projector without a gap
COMMANDS_KEPT: Final = timedelta(days=1)  # a command expires in minutes; a day lets people look
SEGMENT: Final = timedelta(hours=1)  # records go by whole segments
CLUSTER_DEFAULT: Final = -1  # how many replicas

_TOPIC: Final = 2  # Kafka's number for a resource that is a topic
_FOR_EVER: Final = "-1"


class TopicState(NamedTuple):
    """One topic as it is, with what is wrong and what is worth a warning: one line each, with how to mend it."""

    name: str
    partitions: int
    replicas: int
    created: bool
    wrong: list[str]
    warnings: list[str]


class TopicRefused(SojournError):
    """Kafka refuses to create a topic"""


class _Found(NamedTuple):
    partitions: int
    replicas: int
    led: bool  # every partition has a leader
    config: Mapping[str, str]


def configuration(topic: str) -> dict[str, str]:
    """Return the settings that a topic is made with."""
    kept = {
        LIFECYCLE: {"retention.ms": _FOR_EVER, "retention.bytes": _FOR_EVER},
        HEARTBEATS: {"retention.ms": _milliseconds(HEARTBEATS_KEPT), "segment.ms": _milliseconds(SEGMENT)},
        COMMANDS: {"retention.ms": _milliseconds(COMMANDS_KEPT), "segment.ms": _milliseconds(SEGMENT)},
    }
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(BATCH_BYTES_MAX),
        **kept[topic],
    }


async def create_topics(settings: KafkaSettings, partitions: int | None = None) -> list[TopicState]:
    """Create the topics that are missing, change nothing that exists, and return how all are."""
    brokers, created = Brokers(settings), set[str]()

    async def attempt() -> dict[str, _Found]:
        before = await _describe(brokers)
        missing = [topic for topic in TOPICS if topic not in before]
        if missing:
            created.update(await _create(brokers, missing, partitions or _partitions_of(before)))
        return await _describe_all(brokers)

    try:
        found = await brokers.patiently(attempt)
    finally:
        await brokers.close()
    return [_judged(settings, topic, found, partitions)._replace(created=topic in created) for topic in TOPICS]


async def check_topics(settings: KafkaSettings) -> list[TopicState]:
    """Return how the topics are; one that is missing has no partitions."""
    brokers = Brokers(settings)
    try:
        found = await brokers.patiently(lambda: _describe(brokers))
    finally:
        await brokers.close()
    return [_judged(settings, topic, found, None) for topic in TOPICS]


def _partitions_of(found: Mapping[str, _Found]) -> int:
    """Return how many partitions a missing topic gets: as many as the one that it must match."""
    return next((found[topic].partitions for topic in TOPICS if topic in found), PARTITIONS_DEFAULT)


async def _create(brokers: Brokers, topics: list[str], partitions: int) -> list[str]:
    """Create topics and return those that nobody else did at the same time."""
    requests: list[Any] = [
        (topic, partitions, CLUSTER_DEFAULT, [], list(configuration(topic).items())) for topic in topics
    ]
    timeout_ms = int(REQUEST_SECONDS_MAX * 1000)
    response = await brokers.send_to_any(CreateTopicsRequest(requests, timeout_ms, validate_only=False))
    created = []
    for topic, code, message in response.topic_errors:
        error = errors.for_code(code)
        if error is errors.NoError:
            created.append(topic)
        if error in (errors.NoError, errors.TopicAlreadyExistsError):
            continue
        if error.retriable or error in NOT_ALLOWED:
            raise error(message)
        raise TopicRefused(f"Kafka refuses to create a topic ({_one_line(message or error.__name__)}): {topic}")
    return created


async def _describe_all(brokers: Brokers) -> dict[str, _Found]:
    """Describe all topics once all can be used; creation takes a moment to reach every broker."""
    found = await _describe(brokers)
    if len(found) < len(TOPICS):
        raise errors.UnknownTopicOrPartitionError
    if not all(topic.led for topic in found.values()):
        raise errors.LeaderNotAvailableError
    return found


async def _describe(brokers: Brokers) -> dict[str, _Found]:
    """Return the topics that exist, with their settings."""
    response = await brokers.send_to_any(MetadataRequest(list(TOPICS), allow_auto_topic_creation=False))
    sizes: dict[str, tuple[int, int, bool]] = {}
    for code, topic, _, partitions in response.topics:
        if errors.for_code(code) is errors.UnknownTopicOrPartitionError:
            continue
        raise_for(code)
        led = all(leader >= 0 for _, _, leader, *_ in partitions)
        sizes[topic] = len(partitions), min(len(replicas) for _, _, _, replicas, *_ in partitions), led
    if not sizes:
        return {}
    response = await brokers.send_to_any(DescribeConfigsRequest([(_TOPIC, topic, None) for topic in sizes]))
    found = {}
    for code, _, _, topic, entries in response.resources:
        raise_for(code)
        found[topic] = _Found(*sizes[topic], {name: value or "" for name, value, *_ in entries})
    return found


def _judged(settings: KafkaSettings, topic: str, found: Mapping[str, _Found], demanded: int | None) -> TopicState:
    here = found.get(topic)
    if here is None:
        missing = f"{topic} does not exist; create it: sojourn topics create"
        return TopicState(topic, 0, 0, created=False, wrong=[missing], warnings=[])
    alter = (
        f"kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --entity-type topics "
        f"--entity-name {topic} --alter --add-config"
    )
    wrong = [*_wrong_partitions(topic, found, demanded), *_wrong_settings(topic, here, alter)]
    return TopicState(
        topic, here.partitions, here.replicas, created=False, wrong=wrong, warnings=_warnings(topic, here, alter)
    )


def _wrong_partitions(topic: str, found: Mapping[str, _Found], demanded: int | None) -> list[str]:
    count = found[topic].partitions
    wrong = []
    if demanded is not None and count != demanded:
        wrong.append(
            f"{topic} has {count} partitions, and {demanded} were asked for; a log that is in use keeps its "
            f"partitions, since sessions would move: leave out --partitions, or begin with new topics"
        )
    lifecycle = found.get(LIFECYCLE)
    if topic == HEARTBEATS and lifecycle is not None and count != lifecycle.partitions:
        wrong.append(
            f"{topic} has {count} partitions and {LIFECYCLE} {lifecycle.partitions}, so that a session's heartbeats "
            f"miss its partition; delete {topic}, which is kept for hours only, and create it: sojourn topics create"
        )
    return wrong


def _wrong_settings(topic: str, here: _Found, alter: str) -> list[str]:
    config, wrong = here.config, []
    if config["message.timestamp.type"] != "LogAppendTime":
        wrong.append(
            f"{topic} keeps the producers' times, so that their clocks would decide who is lost; mend it: "
            f"{alter} message.timestamp.type=LogAppendTime"
        )
    if config["cleanup.policy"] != "delete":
        wrong.append(
            f"{topic} is compacted ({config['cleanup.policy']}), which drops records; mend it: "
            f"{alter} cleanup.policy=delete"
        )
    if int(config["max.message.bytes"]) < BATCH_BYTES_MAX:
        wrong.append(
            f"{topic} takes {config['max.message.bytes']} bytes at once, and Sojourn appends up to {BATCH_BYTES_MAX}; "
            f"mend it: {alter} max.message.bytes={BATCH_BYTES_MAX}"
        )
    if int(config["min.insync.replicas"]) > here.replicas:
        wrong.append(
            f"{topic} has {here.replicas} replicas and takes no records with fewer than "
            f"{config['min.insync.replicas']}; mend it: {alter} min.insync.replicas={here.replicas}"
        )
    return wrong


def _warnings(topic: str, here: _Found, alter: str) -> list[str]:
    config = here.config
    warnings = [
        f"{topic} drops old records ({name}={config[name]}), and what is gone before it is archived cannot be "
        f"proven again; keep all: {alter} {name}={_FOR_EVER}"
        for name in ("retention.ms", "retention.bytes")
        if topic == LIFECYCLE and config[name] != _FOR_EVER
    ]
    if here.replicas > 2 and config["min.insync.replicas"] == "1":  # noqa: PLR2004 - two of three must have it
        warnings.append(
            f"{topic} acknowledges what one broker alone has, and its loss would be lost records; "
            f"keep two: {alter} min.insync.replicas=2"
        )
    if config.get("unclean.leader.election.enable") == "true":
        warnings.append(
            f"{topic} may be led by a broker that missed records, which are lost then; "
            f"forbid it: {alter} unclean.leader.election.enable=false"
        )
    return warnings


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))


def _one_line(text: str) -> str:
    return " ".join(text.split())
